"""The loop that holds the node's networks as desired. Owned by ``manager``; asked by the apps' keepers whether they are connected."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from msgspec.structs import replace

from eaves.kit.retry import Backoff
from eaves.node.desired.model import DesiredNode
from eaves.node.guard import keep_running
from eaves.node.instance import Instance
from eaves.node.networks import apply, failover, layout, observe, switching
from eaves.node.networks.connection import Connection as Connection
from eaves.node.networks.connection import Tap as Tap
from eaves.node.networks.dnsmasq import NameServers
from eaves.node.networks.firewall import Firewall
from eaves.node.networks.iproute import remove_link
from eaves.node.networks.leaving import keep_leaving
from eaves.node.networks.linking import Linking
from eaves.node.networks.model import Layout, NetworkState, Port, SeenHost, WantedBridge
from eaves.node.networks.ports import want_link_faults
from eaves.node.networks.probing import PROBE_EVERY_S, Prober
from eaves.node.networks.routing import Ways, network_table
from eaves.node.networks.standing import TROUBLE, Learned, Standing
from eaves.node.networks.switch_side import SwitchSide
from eaves.node.networks.switches import release_port
from eaves.node.networks.watch import KernelWatch
from eaves.node.observed import Fault, Observations
from eaves.node.statefile import StateFile

log = logging.getLogger(__name__)

RESYNC_S = 60.0
"""The kernel tells of changes; this is for what it does not tell."""


class Metadata(Protocol):
    """The server that apps ask about themselves; ``eaves.node.metadata`` is one."""

    async def listen(self, bridges: Iterable[WantedBridge]) -> Mapping[str, int]:
        """Serve exactly these bridges; answers link → port on the gateway's address."""

    async def set_layout(self, desired: DesiredNode, layout: Layout, faults: Mapping[str, str]) -> None:
        """Who may ask, and what there is to tell."""

    def close(self) -> None: ...


class Networks:
    """``pid_of``: app id → pid of its running container (0 = none); ``is_in_use``: whether the app still has a container."""

    def __init__(
        self,
        instance: Instance,
        observations: Observations,
        *,
        ports: tuple[Port, ...],
        pid_of: Callable[[str], int],
        is_in_use: Callable[[str], bool],
        on_change: Callable[[], None],
        metadata: Metadata | None = None,
        probe_every_s: float = PROBE_EVERY_S,
        on_layout: Callable[[Layout], None] = lambda _: None,
    ) -> None:
        self._on_layout = on_layout
        self._instance = instance
        self._metadata = metadata
        self._ports = ports
        self._is_in_use = is_in_use
        self._on_change = on_change
        self._file = StateFile(instance.state_dir / "networks.json", NetworkState)
        self._state = NetworkState()
        self._desired: DesiredNode | None = None
        self._wanted = DesiredNode("", "", "")
        self._layout = Layout()
        self._default_uplink = ""
        self._wake = asyncio.Event()
        self._standing = Standing(instance, observations)
        self._linking = Linking(instance, self._standing, pid_of)
        self._firewall = Firewall(instance, self._standing)
        self._switches = SwitchSide(instance, self._standing, self._wake.set)
        self._servers = NameServers(instance, self._wake.set)
        self._prober = Prober(self._wake.set, every_s=probe_every_s)
        self._backoff = Backoff(1.0, 60.0)

    async def open(self) -> None:
        self._state = await self._file.load()
        self._switches.snooper.load(self._state.learned)

    def set_desired(self, desired: DesiredNode) -> None:
        self._desired = desired
        self._wake.set()

    def wake(self) -> None:
        """Look again: an app's container came or went."""
        self._wake.set()

    def connection(self, app_id: str) -> Connection | None:
        """How the app is connected, or None while it is not."""
        return self._standing.connection(app_id)

    def fault(self, app_id: str) -> Fault | None:
        """Why the app is not, or not completely, connected."""
        return self._standing.faults.get(app_id)

    async def run(self) -> None:
        with KernelWatch(self._wake.set):
            names = asyncio.create_task(keep_running("host names", self._firewall.hostnames.run), name="host names")
            probes = asyncio.create_task(keep_running("uplink probes", self._prober.run), name="uplink probes")
            try:
                while True:
                    await self._wait()
                    if self._desired is not None:
                        await self._reconcile()
            finally:
                names.cancel()
                if self._metadata is not None:
                    self._metadata.close()
                probes.cancel()
                self._switches.close()
                self._servers.close()

    async def teardown(self) -> None:
        """Remove every trace from the host."""
        await self._servers.remove_others(set())
        await apply.remove_table(self._instance)
        seen = await observe.observe_host_network(self._instance)
        await apply.remove_routing(seen)
        await self._switches.remove()
        for interface, port in seen.ports.items():
            if port.master in seen.links:
                await release_port(interface, was_down=interface in self._state.raised)
        for app_id in seen.netns:
            await apply.remove_netns(self._instance, app_id)
        for link in sorted(seen.links, key=lambda name: seen.links[name].kind == "bridge"):
            await remove_link(link)
        if self._state.earlier_forwarding and not await apply.has_other_instances(self._instance):
            await apply.write_forwarding(self._state.earlier_forwarding)
        if self._state.earlier_accounting and not await apply.has_other_instances(self._instance):
            await apply.write_accounting(self._state.earlier_accounting)
        self._state = NetworkState()
        await self._file.remove()

    async def _wait(self) -> None:
        delay_s = self._backoff.next_s() if self._standing.faults else RESYNC_S
        try:
            async with asyncio.timeout(delay_s):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    async def _reconcile(self) -> None:
        try:
            seen = await self._linking.observe(self._layout, self._state.raised)
            former = self._firewall.applied
            await self._plan(seen)
            self._default_uplink = seen.default_uplink
            seen, faults = await self._linking.apply(self._layout, seen, self._state.raised)
            faults |= await self._apply_routing(seen)
            live = await self._with_metadata(_without(self._layout, faults))
            faults |= await self._firewall.apply(live, seen.table)
            await self._leave_failed(former, seen)
            faults |= await self._switches.apply(_without(self._layout, faults), self._layout)
            faults |= await self._apply_names(faults)
            self._firewall.hostnames.set_layout(_without(self._layout, faults))
            await self._firewall.end_forbidden()
            await self._want_accounting()
        except TROUBLE as error:
            faults = {network.id: self._standing.as_fault(network.id, error) for network in self._wanted.networks}
        self._settle(faults)
        if self._firewall.applied is not None:
            self._on_layout(self._firewall.applied)
        if self._metadata is not None and self._firewall.applied is not None:
            texts = {object_id: fault.message for object_id, fault in self._standing.faults.items()}
            await self._metadata.set_layout(self._wanted, self._firewall.applied, texts)

    async def _plan(self, seen: SeenHost) -> None:
        self._wanted = self._desired or self._wanted
        wanted, state = layout.plan_layout(
            self._wanted,
            self._state,
            seen,
            self._instance,
            Ways(self._ports, self._prober.faults()),
            self._firewall.applied,
        )
        self._prober.set_targets(wanted.targets, want_link_faults(wanted.targets, seen), dict(wanted.marks))
        if wanted.bridges and not seen.has_forwarding and not state.earlier_forwarding:
            state.earlier_forwarding = await apply.load_forwarding()
        state.raised = switching.want_raised(wanted.switches, seen, state.raised)
        state.learned = self._switches.snooper.learned()
        # What is remembered must be on disk before it is used, else a crash could give an address to two apps.
        await self._file.save(state)
        self._state = state
        if wanted.bridges and not seen.has_forwarding:
            await apply.write_forwarding("1")
        former = self._firewall.applied.netns if self._firewall.applied else ()
        self._layout = keep_leaving(wanted, former, self._is_in_use)
        # From here on namespaces of others are removed: nobody may start in one.
        self._standing.keep_connections({netns.app_id for netns in self._layout.netns})

    async def _apply_routing(self, seen: SeenHost) -> dict[str, Fault]:
        owners = {self._table_of(network_id): network_id for network_id in self._state.bridges}
        failed = await self._linking.apply_routing(self._layout, seen)
        return {
            owners[table]: self._standing.as_fault(owners[table], error)
            for table, error in failed.items()
            if table in owners
        }

    async def _with_metadata(self, live: Layout) -> Layout:
        """A port for each bridge that is up: the table leads the apps' requests there."""
        if self._metadata is None:
            return live
        ports = await self._metadata.listen(live.bridges)
        bridges = tuple(replace(bridge, metadata_port=ports.get(bridge.link, 0)) for bridge in live.bridges)
        return replace(live, bridges=bridges)

    async def _leave_failed(self, former: Layout | None, seen: SeenHost) -> None:
        faulty = {target.interface for target in self._prober.faults()}
        failed = failover.list_failed(former, self._layout, faulty)
        if not failed:
            return
        try:
            ended = await failover.end_stranded(self._layout, failed, seen)
        except OSError as error:
            log.warning("connections of a failed uplink could not be ended: error=%s", error)
            return
        log.warning("uplink failed over: from=%s connections=%d", ",".join(sorted(set(failed.values()))), ended)

    async def _want_accounting(self) -> None:
        """Flow logs need counters of connections, which the kernel keeps for the whole host or not at all."""
        if self._firewall.applied is None or not any(bridge.flow_log for bridge in self._firewall.applied.bridges):
            return
        now = await apply.load_accounting()
        if now == "1":
            return
        if now and not self._state.earlier_accounting:
            self._state.earlier_accounting = now
            await self._file.save(self._state)
        await apply.write_accounting("1")

    async def _apply_names(self, faults: Mapping[str, Fault]) -> dict[str, Fault]:
        found: dict[str, Fault] = {}
        bridges = [bridge for bridge in self._layout.bridges if bridge.network_id not in faults]
        for bridge in bridges:
            try:
                await self._servers.apply(bridge, self._layout)
            except TROUBLE as error:
                log.warning("name server failed: bridge=%s error=%s", bridge.link, error)
                found[bridge.network_id] = self._standing.as_fault(bridge.network_id, error)
        await self._servers.remove_others({bridge.link for bridge in self._layout.bridges})
        return found

    def _settle(self, faults: Mapping[str, Fault]) -> None:
        """Publish what came out and tell the apps."""
        learned = Learned(
            self._switches.snooper.addresses,
            self._switches.resolver_of,
            self._table_of,
            self._default_uplink,
            self._switches.tree_of,
        )
        self._standing.settle(self._wanted, self._layout, faults, learned)
        if not self._standing.faults:
            self._backoff.reset()
        self._on_change()

    def _table_of(self, network_id: str) -> int:
        return network_table(self._instance.routing_table, self._state.bridges.get(network_id, 0))


def _without(wanted: Layout, faults: Mapping[str, Fault]) -> Layout:
    """The layout without the networks and apps that could not be made: their interfaces are not there to attach rules to."""
    bridges = tuple(bridge for bridge in wanted.bridges if bridge.network_id not in faults)
    switches = tuple(switch for switch in wanted.switches if switch.network_id not in faults)
    live = {made.network_id for made in wanted.networks if made.network_id not in faults}
    netns = tuple(
        found
        for found in wanted.netns
        if found.app_id not in faults and all(vif.network_id in live for vif in found.vifs)
    )
    apps = {found.app_id for found in netns}
    port_maps = tuple(port_map for port_map in wanted.port_maps if port_map.app_id in apps)
    return replace(wanted, bridges=bridges, switches=switches, netns=netns, port_maps=port_maps)
