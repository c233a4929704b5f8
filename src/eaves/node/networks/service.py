"""The loop that holds the node's networks as desired. Owned by ``manager``; asked by the apps' keepers whether they are connected."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from msgspec.structs import replace

from eaves.kit.errors import EavesError
from eaves.kit.retry import Backoff
from eaves.node.desired.model import DesiredNetwork, DesiredNode
from eaves.node.errors import as_fault
from eaves.node.guard import keep_running
from eaves.node.instance import Instance
from eaves.node.networks import apply, failover, layout, observe, plan, recheck, switching
from eaves.node.networks.connection import Connection as Connection
from eaves.node.networks.connection import Tap as Tap
from eaves.node.networks.connection import want_connection, want_network_status
from eaves.node.networks.dhcpclient import DhcpClients
from eaves.node.networks.dnsmasq import NameServers
from eaves.node.networks.hostnames import HostNames
from eaves.node.networks.iproute import remove_link
from eaves.node.networks.model import Layout, NetworkState, Port, Problem, SeenHost, WantedBridge
from eaves.node.networks.ports import want_link_faults
from eaves.node.networks.probing import PROBE_EVERY_S, Prober
from eaves.node.networks.routing import Ways, network_table
from eaves.node.networks.snooping import Snooper
from eaves.node.networks.switch_table import SwitchTable
from eaves.node.networks.switches import release_port
from eaves.node.networks.watch import KernelWatch
from eaves.node.observed import Fault, NetworkStatus, Observations
from eaves.node.statefile import StateFile

log = logging.getLogger(__name__)

RESYNC_S = 60.0
"""The kernel tells of changes; this is for what it does not tell."""
_ROUNDS = 3
_TROUBLE = (EavesError, OSError)


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
        self._observations = observations
        self._ports = ports
        self._pid_of = pid_of
        self._is_in_use = is_in_use
        self._on_change = on_change
        self._file = StateFile(instance.state_dir / "networks.json", NetworkState)
        self._state = NetworkState()
        self._desired: DesiredNode | None = None
        self._wanted = DesiredNode("", "", "")
        self._layout = Layout()
        self._applied: Layout | None = None
        self._table = ""
        self._default_uplink = ""
        self._connections: dict[str, Connection] = {}
        self._faults: dict[str, Fault] = {}
        self._soft: set[str] = set()
        """Ids of objects that are there in spite of their fault."""
        self._up_since: dict[str, float] = {}
        self._wake = asyncio.Event()
        self._servers = NameServers(instance, self._wake.set)
        self._switch_table = SwitchTable(instance)
        self._snooper = Snooper(self._wake.set)
        self._clients = DhcpClients(instance)
        self._resolvers: dict[str, str] = {}
        """App id → lines for its resolv.conf, from the DHCP of a switch."""
        self._prober = Prober(self._wake.set, every_s=probe_every_s)
        self._guest_routes: dict[str, tuple[tuple[str, str], ...]] = {}
        """App id → routes that this daemon has set in its namespace."""
        self._hostnames = HostNames(instance)
        self._unchecked: frozenset[str] = frozenset()
        """Links of interfaces whose open connections were not yet held against their new rules."""
        self._backoff = Backoff(1.0, 60.0)

    async def open(self) -> None:
        self._state = await self._file.load()
        self._snooper.load(self._state.learned)

    def set_desired(self, desired: DesiredNode) -> None:
        self._desired = desired
        self._wake.set()

    def wake(self) -> None:
        """Look again: an app's container came or went."""
        self._wake.set()

    def connection(self, app_id: str) -> Connection | None:
        """How the app is connected, or None while it is not."""
        return self._connections.get(app_id)

    def fault(self, app_id: str) -> Fault | None:
        """Why the app is not, or not completely, connected."""
        return self._faults.get(app_id)

    async def run(self) -> None:
        with KernelWatch(self._wake.set):
            names = asyncio.create_task(keep_running("host names", self._hostnames.run), name="host names")
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
                self._snooper.close()
                self._servers.close()

    async def teardown(self) -> None:
        """Remove every trace from the host."""
        await self._servers.remove_others(set())
        await apply.remove_table(self._instance)
        seen = await observe.observe_host_network(self._instance)
        await apply.remove_routing(seen)
        await self._clients.remove_others(())
        await self._switch_table.remove()
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
        delay_s = self._backoff.next_s() if self._faults else RESYNC_S
        try:
            async with asyncio.timeout(delay_s):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    async def _reconcile(self) -> None:
        try:
            seen = await self._observe()
            former = self._applied
            await self._plan(seen)
            self._default_uplink = seen.default_uplink
            seen, faults = await self._apply_links(seen)
            faults |= await self._apply_routing(seen)
            faults |= await self._apply_table(seen, faults)
            await self._leave_failed(former, seen)
            faults |= await self._apply_switches(faults)
            faults |= await self._apply_names(faults)
            self._hostnames.set_layout(_without(self._layout, faults))
            await self._end_forbidden()
            await self._want_accounting()
        except _TROUBLE as error:
            faults = {network.id: self._as_fault(network.id, error) for network in self._wanted.networks}
        self._settle(self._wanted, faults)
        if self._applied is not None:
            self._on_layout(self._applied)
        if self._metadata is not None and self._applied is not None:
            texts = {object_id: fault.message for object_id, fault in self._faults.items()}
            await self._metadata.set_layout(self._wanted, self._applied, texts)

    async def _plan(self, seen: SeenHost) -> None:
        self._wanted = self._desired or self._wanted
        wanted, state = layout.plan_layout(
            self._wanted,
            self._state,
            seen,
            self._instance,
            Ways(self._ports, self._prober.faults()),
            self._applied,
        )
        self._prober.set_targets(wanted.targets, want_link_faults(wanted.targets, seen), dict(wanted.marks))
        if wanted.bridges and not seen.has_forwarding and not state.earlier_forwarding:
            state.earlier_forwarding = await apply.load_forwarding()
        state.raised = switching.want_raised(wanted.switches, seen, state.raised)
        state.learned = self._snooper.learned()
        # What is remembered must be on disk before it is used, else a crash could give an address to two apps.
        await self._file.save(state)
        self._state = state
        if wanted.bridges and not seen.has_forwarding:
            await apply.write_forwarding("1")
        self._layout = self._keep_leaving(wanted)
        # From here on namespaces of others are removed: nobody may start in one.
        here = {netns.app_id for netns in self._layout.netns}
        self._connections = {app_id: found for app_id, found in self._connections.items() if app_id in here}

    def _keep_leaving(self, wanted: Layout) -> Layout:
        """Apps that are no longer desired stay connected until their container has stopped."""
        here = {netns.app_id for netns in wanted.netns}
        links = {made.link for made in wanted.networks}
        former = self._applied.netns if self._applied else ()
        taken = {vif.address for vif in wanted.vifs}
        leaving = tuple(
            netns
            for netns in former
            if netns.app_id not in here
            and self._is_in_use(netns.app_id)
            and all(vif.bridge in links and (vif.is_switched or vif.address not in taken) for vif in netns.vifs)
        )
        return replace(wanted, netns=(*wanted.netns, *leaving))

    async def _apply_links(self, seen: SeenHost) -> tuple[SeenHost, dict[str, Fault]]:
        """Bring links in line; a step can show more to do (a new namespace has no interfaces yet), so look again after it."""
        faults: dict[str, Fault] = {}
        for _ in range(_ROUNDS):
            steps = plan.plan_links(self._layout, seen)
            if not steps:
                return seen, faults
            faults = {}
            for step in steps:
                object_id = _owner(step)
                if object_id in faults:
                    continue
                try:
                    await apply.apply_step(step, self._instance, self._pid_of)
                    self._note_routes(step)
                except _TROUBLE as error:
                    log.warning("network step failed: step=%s error=%s", type(step).__name__, error)
                    faults[object_id] = self._as_fault(object_id, error)
            seen = await self._observe()
        for step in plan.plan_links(self._layout, seen):
            object_id = _owner(step)
            faults.setdefault(object_id, Fault("NetworkUnsettled", f"{type(step).__name__} does not take effect"))
        return seen, faults

    async def _observe(self) -> SeenHost:
        seen = await observe.observe_host_network(self._instance)
        vlans = await observe.observe_vlans() if self._layout.vlans else {}
        raised = frozenset(self._state.raised)
        return replace(seen, guest_routes=self._guest_routes, vlans=vlans, raised=raised)

    def _note_routes(self, step: plan.Step) -> None:
        """Looking into every namespace would cost a process each, so what was set there is remembered."""
        match step:
            case plan.MakeVifs(netns) | plan.SetGuestRoutes(netns):
                self._guest_routes = self._guest_routes | {netns.app_id: netns.routes}
            case plan.MakeNetns(app_id) | plan.RemoveNetns(app_id):
                self._guest_routes = {known: found for known, found in self._guest_routes.items() if known != app_id}

    async def _apply_routing(self, seen: SeenHost) -> dict[str, Fault]:
        faults: dict[str, Fault] = {}
        base = self._instance.routing_table
        owners = {network_table(base, number): network_id for network_id, number in self._state.bridges.items()}
        for step in plan.plan_routing(self._layout, seen):
            try:
                await apply.apply_step(step, self._instance, self._pid_of)
            except _TROUBLE as error:
                log.warning("routing failed: table=%d error=%s", step.table, error)
                if network_id := owners.get(step.table):
                    faults[network_id] = self._as_fault(network_id, error)
        return faults

    async def _apply_table(self, seen: SeenHost, faults: Mapping[str, Fault]) -> dict[str, Fault]:
        live = await self._with_metadata(_without(self._layout, faults))
        if live == self._applied and seen.table == self._table and self._table:
            return {}
        if not live.bridges:
            await apply.remove_table(self._instance)
            self._table, self._applied = "", live
            return {}
        former = self._applied if seen.table == self._table else None
        try:
            self._table = await apply.apply_ruleset(live, self._instance, former)
        except _TROUBLE as error:
            log.warning("firewall table failed: error=%s details=%s", error, getattr(error, "details", ""))
            self._applied = None
            return {bridge.network_id: self._as_fault(bridge.network_id, error) for bridge in live.bridges}
        self._unchecked |= {vif.link for vif in recheck.list_changed(self._applied, live)}
        self._applied = live
        return {}

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
        if self._applied is None or not any(bridge.flow_log for bridge in self._applied.bridges):
            return
        now = await apply.load_accounting()
        if now == "1":
            return
        if now and not self._state.earlier_accounting:
            self._state.earlier_accounting = now
            await self._file.save(self._state)
        await apply.write_accounting("1")

    async def _end_forbidden(self) -> None:
        """Only after the table is in place: a connection that was ended before could come back by the old rules."""
        if self._applied is None or not self._unchecked:
            return
        vifs = [vif for vif in self._applied.vifs if vif.link in self._unchecked]
        resolved = await self._hostnames.load(rule.host.lower() for vif in vifs for rule in vif.acls if rule.host)
        try:
            ended = await recheck.end_forbidden(vifs, self._applied, resolved)
        except OSError as error:
            log.warning("open connections were not held against the new rules, again later: error=%s", error)
            return
        self._unchecked = frozenset()
        if ended:
            log.info("connections ended that rules forbid now: count=%d", ended)

    async def _apply_switches(self, faults: Mapping[str, Fault]) -> dict[str, Fault]:
        """Access rules, the addresses that apps use, and DHCP for containers."""
        live = _without(self._layout, faults)
        found: dict[str, Fault] = {}
        try:
            await self._switch_table.apply(live.switch_vifs)
        except _TROUBLE as error:
            log.warning("rules of switches failed: error=%s details=%s", error, getattr(error, "details", ""))
            found = {switch.network_id: self._as_fault(switch.network_id, error) for switch in live.switches}
        self._snooper.set_links({vif.link: vif.mac for vif in live.switch_vifs})
        clients = [
            (netns, vif) for netns in live.netns if not netns.is_virtual for vif in netns.vifs if vif.is_switched
        ]
        for netns, vif in clients:
            try:
                await self._clients.apply(netns, vif)
            except _TROUBLE as error:
                log.warning("DHCP client failed: app=%s error=%s", netns.app_id, error)
                found[netns.app_id] = self._as_fault(netns.app_id, error)
        await self._clients.remove_others({vif.link for _, vif in clients})
        leases = {netns.app_id: await self._clients.load(vif.link) for netns, vif in reversed(clients)}
        self._resolvers = {app_id: lease.resolver for app_id, lease in leases.items()}
        return found

    async def _apply_names(self, faults: Mapping[str, Fault]) -> dict[str, Fault]:
        found: dict[str, Fault] = {}
        bridges = [bridge for bridge in self._layout.bridges if bridge.network_id not in faults]
        for bridge in bridges:
            try:
                await self._servers.apply(bridge, self._layout)
            except _TROUBLE as error:
                log.warning("name server failed: bridge=%s error=%s", bridge.link, error)
                found[bridge.network_id] = self._as_fault(bridge.network_id, error)
        await self._servers.remove_others({bridge.link for bridge in self._layout.bridges})
        return found

    def _settle(self, desired: DesiredNode, faults: dict[str, Fault]) -> None:
        """Publish what came out and tell the apps."""
        for problem in self._layout.problems:
            faults.setdefault(problem.object_id, self._problem_fault(problem))
        if not faults:
            self._backoff.reset()
        soft = {problem.object_id for problem in self._layout.problems if not problem.is_blocking}
        self._faults, self._soft = faults, soft
        self._connections = {
            netns.app_id: want_connection(
                netns,
                self._layout,
                path=str(self._instance.netns_dir / netns.app_id),
                addresses=self._snooper.addresses,
                resolver=self._resolvers.get(netns.app_id, ""),
                fault=faults.get(netns.app_id),
            )
            for netns in self._layout.netns
            if (netns.app_id not in faults or netns.app_id in soft)
            and not any(vif.network_id in faults.keys() - soft for vif in netns.vifs)
        }
        wanted = {network.id for network in desired.networks}
        for status in list(self._observations.each(NetworkStatus)):
            if status.id not in wanted:
                self._observations.remove(NetworkStatus, status.id)
                self._up_since.pop(status.id, None)
        for network in desired.networks:
            self._observations.publish(self._want_status(network))
        self._on_change()

    def _want_status(self, network: DesiredNetwork) -> NetworkStatus:
        fault = self._faults.get(network.id)
        is_made = network.id in {made.network_id for made in self._layout.networks}
        if is_made and (fault is None or network.id in self._soft):
            self._up_since.setdefault(network.id, time.time())
        else:
            self._up_since.pop(network.id, None)
        return want_network_status(
            network,
            self._layout,
            table=network_table(self._instance.routing_table, self._state.bridges.get(network.id, 0)),
            addresses=self._snooper.addresses,
            host_uplink=self._default_uplink,
            up_since=self._up_since.get(network.id, 0.0),
            fault=fault,
        )

    def _as_fault(self, object_id: str, error: BaseException) -> Fault:
        known = self._faults.get(object_id)
        return as_fault(error, since=known.since if known else time.time())

    def _problem_fault(self, problem: Problem) -> Fault:
        known = self._faults.get(problem.object_id)
        since = known.since if known else time.time()
        return Fault(problem.code, problem.message, problem.resolution, since)


def _owner(step: plan.Step) -> str:
    """The network or app that a failure of the step is told for."""
    match step:
        case plan.MakeBridge(bridge):
            return bridge.network_id
        case plan.MakeSwitch(switch):
            return switch.network_id
        case plan.TakePort(network_id):
            return network_id
        case plan.ReleasePort(link) | plan.SetVlans(link):
            return link
        case plan.MakeNetns(app_id) | plan.RemoveNetns(app_id):
            return app_id
        case plan.MakeVifs(netns) | plan.SetGuestRoutes(netns):
            return netns.app_id
        case plan.SetRouting():
            return ""
        case plan.MakeTaps(app_id):
            return app_id
        case plan.TunePort(vif):
            return vif.app_id
        case plan.RemoveLink(link):
            return link


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
