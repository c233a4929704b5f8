"""How apps are connected, and what is published of networks: made from the layout and what was learned. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from eaves.node.desired.model import DesiredNetwork
from eaves.node.networks import dns
from eaves.node.networks.model import Layout, WantedBridge, WantedNetns, WantedVif
from eaves.node.networks.treeview import Tree, want_tree_status
from eaves.node.observed import Fault, InterfaceStatus, Lease, NetworkStatus, RouteStatus

AddressesOf = Callable[[str], tuple[str, ...]]
"""Link on a switch → the addresses that its app was seen to use."""


class Tap(Struct, frozen=True):
    """A persistent tap of a virtual machine, on its bridge and up. ``mac`` is the guest's; the guest gets its address by DHCP.

    ``name`` is the interface's name in the config, ``link`` the tap's on the host. A single queue; open it with
    ``-netdev tap,ifname=LINK,script=no,downscript=no``.
    """

    name: str
    link: str
    mac: str
    mtu: int


class Connection(Struct, frozen=True):
    """How an app is connected: ready to be used by its container or virtual machine.

    ``netns`` is the path of a container's namespace, empty for a virtual machine, which has ``taps`` in the order of its
    interfaces. ``resolv_conf`` and ``hosts`` are texts.
    """

    netns: str
    hostname: str
    resolv_conf: str
    hosts: str
    interfaces: tuple[InterfaceStatus, ...]
    fault: Fault | None = None
    taps: tuple[Tap, ...] = ()


def want_connection(
    netns: WantedNetns, layout: Layout, *, path: str, addresses: AddressesOf, resolver: str, fault: Fault | None
) -> Connection:
    """``path``: of the namespace; ``resolver``: lines for the resolv.conf of an app that has no Local network."""
    return Connection(
        netns="" if netns.is_virtual else path,
        hostname=netns.hostname,
        resolv_conf=dns.render_resolv_conf(netns, layout) or resolver,
        hosts=dns.render_app_hosts(netns, layout),
        interfaces=tuple(
            InterfaceStatus(vif.name, vif.network_id, vif.mac, _list_addresses(vif, addresses)) for vif in netns.vifs
        ),
        fault=fault,
        taps=tuple(Tap(vif.name, vif.link, vif.mac, vif.mtu) for vif in netns.vifs) if netns.is_virtual else (),
    )


def want_network_status(
    network: DesiredNetwork,
    layout: Layout,
    *,
    table: int,
    addresses: AddressesOf,
    host_uplink: str,
    up_since: float,
    fault: Fault | None,
    trees: Mapping[str, Tree],
) -> NetworkStatus:
    """``table``: the network's routing table; ``host_uplink``: where the host's own default route leads; ``up_since`` 0 = not up."""
    status = NetworkStatus(
        id=network.id,
        version=network.version,
        name=network.name,
        kind=network.kind,
        active=bool(up_since),
        leases=_list_leases(network.id, layout, addresses) if up_since else (),
        up_since=up_since,
        fault=fault,
    )
    if bridge := next((found for found in layout.bridges if found.network_id == network.id), None):
        uplink = _want_uplink(bridge, host_uplink)
        gateways = {vif.address: vif.app_id for vif in layout.vifs if vif.network_id == network.id}
        return replace(
            status,
            bridge=bridge.link,
            bridge_address=bridge.address,
            uplink=uplink,
            uplink_reason=bridge.uplink_reason,
            ports=tuple(filter(None, (bridge.uplink_label or uplink,))),
            routes=tuple(
                RouteStatus(
                    route.destination,
                    route.gateway,
                    "" if route.link == bridge.link else route.link,
                    gateways.get(route.gateway, ""),
                )
                for route in layout.routes
                if route.table == table
            ),
            mtu=bridge.mtu,
        )
    if switch := next((found for found in layout.switches if found.network_id == network.id), None):
        ports = tuple(port.label for port in switch.ports)
        tree = want_tree_status(switch, trees)
        return replace(status, bridge=switch.link, ports=ports, mtu=switch.mtu, tree=tree)
    return status


def _list_leases(network_id: str, layout: Layout, addresses: AddressesOf) -> tuple[Lease, ...]:
    vifs = [vif for netns in layout.netns for vif in netns.vifs if vif.network_id == network_id]
    return tuple(
        Lease(vif.app_id, vif.name, vif.mac, address)
        for vif in vifs
        for address in _list_addresses(vif, addresses) or ("",)
    )


def _list_addresses(vif: WantedVif, addresses: AddressesOf) -> tuple[str, ...]:
    return addresses(vif.link) if vif.is_switched else (vif.address,)


def _want_uplink(bridge: WantedBridge, host_uplink: str) -> str:
    if bridge.air_gapped:
        return ""
    return bridge.uplink if bridge.uplinks else host_uplink
