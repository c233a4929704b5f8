"""What switches need beside their links: spanning trees, access rules, the addresses that apps use, and DHCP for containers."""

from __future__ import annotations

import logging
from collections.abc import Callable

from eaves.node.instance import Instance
from eaves.node.networks.dhcpclient import DhcpClients
from eaves.node.networks.model import Layout
from eaves.node.networks.snooping import Snooper
from eaves.node.networks.standing import TROUBLE, Standing
from eaves.node.networks.switch_table import SwitchTable
from eaves.node.networks.trees import SpanningTrees
from eaves.node.networks.treeview import Tree
from eaves.node.observed import Fault

log = logging.getLogger(__name__)


class SwitchSide:
    """``on_change`` is called when an app was seen to use another address, or got a lease."""

    def __init__(self, instance: Instance, standing: Standing, on_change: Callable[[], None]) -> None:
        self._standing = standing
        self._table = SwitchTable(instance)
        self._clients = DhcpClients(instance, on_change)
        self._trees = SpanningTrees(instance, on_change)
        self.tree_of: dict[str, Tree] = {}
        """Link of a switch → how its spanning tree stands."""
        self._resolvers: dict[str, str] = {}
        """App id → lines for its resolv.conf, from the DHCP of a switch."""
        self.snooper = Snooper(on_change)

    def resolver_of(self, app_id: str) -> str:
        return self._resolvers.get(app_id, "")

    async def apply(self, live: Layout, wanted: Layout) -> dict[str, Fault]:
        """``live``: what of ``wanted`` could be made. Answers the faults by the id of the network or the app."""
        found: dict[str, Fault] = {}
        try:
            await self._table.apply(live.switch_vifs, _list_tree_ports(wanted))
        except TROUBLE as error:
            log.warning("rules of switches failed: error=%s details=%s", error, getattr(error, "details", ""))
            found = {switch.network_id: self._standing.as_fault(switch.network_id, error) for switch in live.switches}
        self.snooper.set_links({vif.link: vif.mac for vif in live.switch_vifs})
        return found | await self._apply_trees(live, wanted) | await self._apply_clients(live)

    async def _apply_trees(self, live: Layout, wanted: Layout) -> dict[str, Fault]:
        found: dict[str, Fault] = {}
        for switch in (switch for switch in live.switches if switch.has_tree):
            try:
                await self._trees.apply(switch)
            except TROUBLE as error:
                log.warning("spanning tree failed: bridge=%s error=%s", switch.link, error)
                found[switch.network_id] = self._standing.as_fault(switch.network_id, error)
        # Also of a switch that something else is wrong with: its open ports need somebody who speaks for them.
        links = [switch.link for switch in wanted.switches if switch.has_tree]
        await self._trees.remove_others(links)
        self.tree_of = {link: await self._trees.load(link) for link in links}
        return found

    async def _apply_clients(self, live: Layout) -> dict[str, Fault]:
        found: dict[str, Fault] = {}
        clients = [
            (netns, vif) for netns in live.netns if not netns.is_virtual for vif in netns.vifs if vif.is_switched
        ]
        for netns, vif in clients:
            try:
                await self._clients.apply(netns, vif)
            except TROUBLE as error:
                log.warning("DHCP client failed: app=%s error=%s", netns.app_id, error)
                found[netns.app_id] = self._standing.as_fault(netns.app_id, error)
        await self._clients.remove_others({vif.link for _, vif in clients})
        leases = {netns.app_id: await self._clients.load(vif.link) for netns, vif in reversed(clients)}
        self._resolvers = {app_id: lease.resolver for app_id, lease in leases.items()}
        return found

    def close(self) -> None:
        self.snooper.close()
        self._clients.close()
        self._trees.close()

    async def remove(self) -> None:
        """Remove every trace from the host."""
        await self._trees.remove_others(())
        await self._clients.remove_others(())
        await self._table.remove()


def _list_tree_ports(wanted: Layout) -> tuple[str, ...]:
    """Interfaces on switches that have a spanning tree, those of apps too."""
    trees = {switch.link: switch for switch in wanted.switches if switch.has_tree}
    ports = [port.interface for switch in trees.values() for port in switch.ports]
    return (*ports, *(vif.link for vif in wanted.switch_vifs if vif.bridge in trees))
