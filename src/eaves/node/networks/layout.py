"""Desired networks and apps → the wanted layout of this node. Pure; everything impossible becomes a problem beside the good rest."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping

import msgspec

from eaves.node.desired.model import DesiredNetwork, DesiredNode, NetworkKind
from eaves.node.instance import Instance
from eaves.node.networks import adapters, addressing, ports, routing, switching
from eaves.node.networks.members import Places, want_members
from eaves.node.networks.model import (
    Layout,
    NetworkState,
    ProbeTarget,
    Problem,
    SeenHost,
    WantedBridge,
    WantedNetns,
    WantedSwitch,
)
from eaves.node.networks.naming import is_address, is_domain
from eaves.node.networks.portmaps import want_port_maps
from eaves.node.networks.routing import NetworkWays, Ways

_DEFAULT_MTU = 1500
_LOWEST_MTU = 1280


def plan_layout(
    desired: DesiredNode,
    state: NetworkState,
    seen: SeenHost,
    instance: Instance,
    ways: Ways,
    former: Layout | None = None,
) -> tuple[Layout, NetworkState]:
    """The layout and the state to remember. ``ways``: ports that the node's settings and config label, and how they do.

    Port maps of the ``former`` layout stay even if a host program meanwhile listens on the port; an uplink in use stays while it is
    as good as another.
    """
    state = msgspec.convert(msgspec.to_builtins(state), NetworkState)
    addressing.forget_networks(state, [network.id for network in desired.networks])
    ways = Ways(ports.merge_ports(ways.ports, desired.ports), ways.faults)
    bridges, found_ways, problems = _want_bridges(desired.networks, state, seen, instance, ways, former)
    apps = [adapters.resolve_adapters(app, ways.ports, seen) for app in desired.apps]
    for network in desired.networks:
        addressing.want_bridge_number(state, network.id)
    switches, switch_problems = switching.want_switches(
        desired.networks, apps, state.bridges, ways.ports, seen, instance
    )
    namespaces, member_problems = want_members(apps, desired.networks, Places(bridges, switches), state, instance)
    active = {app.id: app for app in apps if app.activate}
    held = {(held.app_id, held.protocol, held.node_port) for held in former.port_maps} if former else set()
    port_maps, port_problems = want_port_maps(
        active, namespaces, seen.listening, held, lambda label: ports.list_interfaces(label, ways.ports, seen)
    )
    numbers = routing.want_numbers(state, [name for way in found_ways.values() for name in way.uplinks])
    routed = routing.plan_routing(
        desired.networks, bridges, found_ways, seen, numbers, instance.routing_table, state.bridges
    )
    layout = Layout(
        bridges=tuple(bridges.values()),
        netns=tuple(namespaces),
        port_maps=port_maps,
        problems=(
            *problems,
            *switch_problems,
            *switching.check_addresses(apps, switches),
            *routed.problems,
            *member_problems,
            *port_problems,
        ),
        routes=routed.routes,
        rules=routed.rules,
        marks=routed.marks,
        targets=_list_targets(found_ways),
        switches=tuple(switches.values()),
        vlans=_want_vlans(switches.values(), namespaces),
    )
    return layout, state


def _want_bridges(
    networks: Iterable[DesiredNetwork],
    state: NetworkState,
    seen: SeenHost,
    instance: Instance,
    ways: Ways,
    former: Layout | None,
) -> tuple[dict[str, WantedBridge], dict[str, NetworkWays], list[Problem]]:
    bridges: dict[str, WantedBridge] = {}
    found: dict[str, NetworkWays] = {}
    problems = []
    used = {ipaddress.IPv4Network(text): "an interface of the node" for text in seen.subnets}
    for network in networks:
        if not network.activate or network.kind is not NetworkKind.LOCAL:
            continue
        problem = addressing.check_network(network)
        if problem is None:
            subnet = ipaddress.IPv4Network(network.subnet, strict=False)
            other = next((name for taken, name in used.items() if taken.overlaps(subnet)), None)
            if other is not None:
                message = f"network {network.name}: subnet {subnet} overlaps that of {other}"
                problem = Problem(network.id, "SubnetOverlap", message, "choose a subnet that is free at this site")
            used.setdefault(subnet, f"network {network.name}")
        if problem is not None:
            problems.append(problem)
            continue
        number = addressing.want_bridge_number(state, network.id)
        table = routing.network_table(instance.routing_table, number)
        found[network.id] = routing.choose_ways(network, ways, seen, former, table)
        problems += found[network.id].problems
        bridges[network.id] = _want_bridge(network, state, seen, instance, found[network.id])
    return bridges, found, problems


def _want_bridge(
    network: DesiredNetwork, state: NetworkState, seen: SeenHost, instance: Instance, ways: NetworkWays
) -> WantedBridge:
    subnet = ipaddress.IPv4Network(network.subnet, strict=False)
    chosen = ways.default.port if ways.default is not None else None
    names = [seen.default_uplink] if ways.by_host else ways.uplinks
    mtu = network.mtu or min((seen.ports[name].mtu for name in names if name in seen.ports), default=_DEFAULT_MTU)
    gateway = str(addressing.want_gateway(network))
    hosts = {name.lower(): tuple(filter(is_address, found)) for name, found in network.static_hosts.items()}
    return WantedBridge(
        network_id=network.id,
        link=f"{instance.bridge_prefix}{addressing.want_bridge_number(state, network.id)}",
        address=f"{gateway}/{subnet.prefixlen}",
        subnet=str(subnet),
        mtu=max(mtu, _LOWEST_MTU),
        air_gapped=not ways.is_open,
        uplink=chosen.interface if chosen is not None else "",
        uplinks=ways.uplinks,
        uplink_label=chosen.label if chosen is not None else "",
        uplink_reason=_say_reason(ways),
        guest_routes=routing.want_guest_routes(network, gateway, ways, seen),
        domain=network.domain if is_domain(network.domain) else "",
        dns_servers=network.dns_servers,
        ntp_servers=tuple(filter(is_address, network.ntp_servers)),
        flow_log=network.flow_log,
        static_hosts=tuple(sorted((name, found) for name, found in hosts.items() if is_domain(name))),
    )


def _list_targets(found: Mapping[str, NetworkWays]) -> tuple[ProbeTarget, ...]:
    return tuple(
        dict.fromkeys(
            target for ways in found.values() for choice in ways.choices.values() for target in choice.targets
        )
    )


def _say_reason(ways: NetworkWays) -> str:
    if ways.by_host:
        return "the host's own routes"
    return ways.default.reason if ways.default is not None else ""


def _want_vlans(
    switches: Iterable[WantedSwitch], namespaces: Iterable[WantedNetns]
) -> dict[str, frozenset[tuple[int, int, bool]]]:
    vifs = [vif for netns in namespaces for vif in netns.vifs if vif.is_switched]
    found: dict[str, frozenset[tuple[int, int, bool]]] = {}
    for switch in switches:
        own = {vif.link: vif.vlan for vif in vifs if vif.network_id == switch.network_id}
        found |= switching.want_vlans(switch, own)
    return found
