"""Routing tables and rules of our own for networks that name ports or routes. Pure.

The host's tables stay as they are. A network with ports or static routes has a table of its own, an uplink has one that holds its
default route. What a packet from a bridge meets, in order of priority:

====================  ==================================================================================================
29000 + network       the network's table without its default route: networks of this node, subnets of its ports, static routes
29300 + uplink        connections that already use an uplink stay with it (by their mark)
29400 + network       the network's default route: by the chosen uplink, or by an app
29700 + network       nothing: a network that names ports never leaves by another way
====================  ==================================================================================================

A mark is the uplink's number in the highest byte of the connection's mark; the other bits are not ours.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from eaves.node.desired.model import DesiredNetwork
from eaves.node.desired.network_model import DesiredRoute
from eaves.node.networks.model import (
    Layout,
    NetworkState,
    Port,
    ProbeTarget,
    Problem,
    Route,
    Rule,
    SeenHost,
    WantedBridge,
)
from eaves.node.networks.ports import Choice, choose_port, find_ports, follows_host

DEFAULT = "0.0.0.0/0"
PRIORITIES = range(29000, 30000)
SPECIFIC, MARKED, GENERAL, NOWHERE = 29000, 29300, 29400, 29700
MARK_SHIFT = 24
MARK_MASK = 0xFF << MARK_SHIFT
ROUTE_PROTOCOL = 229
"""Who made a route, as the kernel keeps it beside each (rtnetlink(7)); a number that no routing daemon uses."""
MOST_NETWORKS = 192
_NETWORK_TABLES = 64
_MOST_PORTS = _NETWORK_TABLES - 1


class Ways(Struct, frozen=True):
    """The node's labelled ports, and which probes fail now (target → why)."""

    ports: tuple[Port, ...] = ()
    faults: Mapping[ProbeTarget, str] = {}


class NetworkWays(Struct, frozen=True):
    """How one network's packets leave. ``choices``: destination → port; ``uplinks``: interfaces they may leave by.

    ``is_open``: it leads out at all. ``by_host``: the host's own routes decide.
    """

    choices: Mapping[str, Choice] = {}
    uplinks: tuple[str, ...] = ()
    is_open: bool = False
    by_host: bool = False
    problems: tuple[Problem, ...] = ()

    @property
    def default(self) -> Choice | None:
        return self.choices.get(DEFAULT)


def network_table(base: int, number: int) -> int:
    return base + _NETWORK_TABLES + number


def uplink_table(base: int, number: int) -> int:
    return base + number


def choose_ways(network: DesiredNetwork, ways: Ways, seen: SeenHost, former: Layout | None, table: int) -> NetworkWays:
    """Choose a port for each destination. ``former`` tells which one is in use."""
    if not network.port_label:
        return NetworkWays()
    if follows_host(network.port_label, ways.ports):
        return NetworkWays(is_open=True, by_host=True)
    candidates = find_ports(network.port_label, ways.ports, seen)
    problems = []
    if not candidates:
        problems.append(_port_missing(network, network.port_label, ways))
    in_use = {route.destination: route.link for route in former.routes if route.table == table} if former else {}
    own = {route.destination: route for route in network.routes}
    wanted = {DEFAULT: DesiredRoute(DEFAULT, port_label=network.port_label)} | own
    choices: dict[str, Choice] = {}
    allowed = {port.interface for port in candidates}
    for destination, route in wanted.items():
        if route.gateway:
            continue
        label = route.port_label or network.port_label
        found = find_ports(label, ways.ports, seen)
        if not found and label != network.port_label:
            problems.append(_port_missing(network, label, ways))
        allowed |= {port.interface for port in found}
        choices[destination] = choose_port(found, seen, route.probe, ways.faults, in_use.get(destination, ""))
    uplinks = tuple(sorted(allowed))
    return NetworkWays(choices, uplinks, is_open=bool(uplinks), problems=tuple(problems))


def want_numbers(state: NetworkState, interfaces: Iterable[str]) -> dict[str, int]:
    """Numbers of uplinks, remembered so that the marks of open connections keep their meaning. Interfaces past 63 get none."""
    for interface in sorted(set(interfaces)):
        taken = set(state.ports.values())
        free = next((number for number in range(1, _MOST_PORTS + 1) if number not in taken), 0)
        if interface not in state.ports and free:
            state.ports[interface] = free
    return dict(state.ports)


class Routing(Struct, frozen=True):
    """What :func:`plan_routing` answers."""

    routes: tuple[Route, ...] = ()
    rules: tuple[Rule, ...] = ()
    marks: tuple[tuple[str, int], ...] = ()
    problems: tuple[Problem, ...] = ()


def plan_routing(
    networks: Iterable[DesiredNetwork],
    bridges: Mapping[str, WantedBridge],
    found: Mapping[str, NetworkWays],
    seen: SeenHost,
    numbers: Mapping[str, int],
    base: int,
    tables: Mapping[str, int],
) -> Routing:
    """``found`` and ``tables`` (the number of its bridge) by network id, ``numbers`` of uplinks by interface."""
    routes: list[Route] = []
    rules: list[Rule] = []
    problems: list[Problem] = []
    used: set[str] = set()
    for network in networks:
        bridge, ways = bridges.get(network.id), found.get(network.id)
        if bridge is None or ways is None or not (ways.uplinks or network.routes):
            continue
        number = tables[network.id]
        if number >= MOST_NETWORKS:
            message = f"network {network.name}: this node has routing tables for {MOST_NETWORKS} networks"
            problems.append(Problem(network.id, "TooManyNetworks", message, "remove networks", is_blocking=False))
            continue
        table = network_table(base, number)
        own, failed = _want_routes(network, bridge, ways, bridges, seen, table)
        routes += own
        problems += failed
        used |= set(ways.uplinks)
        rules.append(Rule(SPECIFIC + number, table, bridge.link, is_specific=True))
        if any(route.destination == DEFAULT for route in own):
            rules.append(Rule(GENERAL + number, table, bridge.link))
        if not ways.by_host:
            rules.append(Rule(NOWHERE + number, 0, bridge.link))
    marks = []
    for interface in sorted(used & numbers.keys()):
        number = numbers[interface]
        marks.append((interface, number << MARK_SHIFT))
        port = seen.ports.get(interface)
        if port is not None and port.is_up and port.gateway:
            table = uplink_table(base, number)
            routes.append(Route(table, DEFAULT, interface, port.gateway))
            rules.append(Rule(MARKED + number, table, mark=number << MARK_SHIFT))
    return Routing(tuple(routes), tuple(rules), tuple(marks), tuple(problems))


def want_guest_routes(
    network: DesiredNetwork, gateway: str, ways: NetworkWays, seen: SeenHost
) -> tuple[tuple[str, str], ...]:
    """What guests are told besides the default route: static routes, and the subnets of ports if asked for."""
    destinations = [route.destination for route in network.routes if route.destination != DEFAULT]
    if network.propagate_routes and ways.is_open:
        uplinks = [seen.default_uplink] if ways.by_host else ways.uplinks
        destinations += [subnet for name in uplinks for subnet in connected_subnets(seen, name)]
    return tuple((destination, gateway) for destination in dict.fromkeys(destinations))


def connected_subnets(seen: SeenHost, interface: str) -> list[str]:
    port = seen.ports.get(interface)
    addresses = port.addresses if port is not None and port.is_up else ()
    return list(dict.fromkeys(str(ipaddress.IPv4Interface(address).network) for address in addresses))


def _want_routes(
    network: DesiredNetwork,
    bridge: WantedBridge,
    ways: NetworkWays,
    bridges: Mapping[str, WantedBridge],
    seen: SeenHost,
    table: int,
) -> tuple[list[Route], list[Problem]]:
    found: dict[str, Route] = {}
    problems = []
    for other in bridges.values():
        if other.subnet:
            found[other.subnet] = Route(table, other.subnet, other.link)
    for interface in ways.uplinks:
        for subnet in connected_subnets(seen, interface):
            found.setdefault(subnet, Route(table, subnet, interface))
    for destination, choice in ways.choices.items():
        if choice.port is not None:
            found[destination] = Route(table, destination, choice.port.interface, choice.gateway)
    for route in network.routes:
        if not route.gateway:
            continue
        link = _find_link(route.gateway, bridge, ways, seen)
        if link:
            found[route.destination] = Route(table, route.destination, link, route.gateway)
        else:
            message = f"network {network.name}: gateway {route.gateway} of the route to {route.destination} is on none of its links"
            remedy = "give an address of an app on this network or of a router beside one of its ports"
            problems.append(Problem(network.id, "GatewayUnreachable", message, remedy, is_blocking=False))
    return list(found.values()), problems


def _find_link(gateway: str, bridge: WantedBridge, ways: NetworkWays, seen: SeenHost) -> str:
    address = ipaddress.IPv4Address(gateway)
    if address in ipaddress.IPv4Network(bridge.subnet):
        return bridge.link
    uplinks: Sequence[str] = [seen.default_uplink] if ways.by_host else ways.uplinks
    for interface in uplinks:
        if any(address in ipaddress.IPv4Network(subnet) for subnet in connected_subnets(seen, interface)):
            return interface
    return ""


def _port_missing(network: DesiredNetwork, label: str, ways: Ways) -> Problem:
    labels = sorted({name for port in ways.ports for name in (port.label, *port.shared_labels)})
    known = f"this node has {', '.join(labels)}" if labels else "this node has none that is labelled"
    return Problem(
        network.id,
        "PortMissing",
        f"network {network.name}: no port bears the label {label}; {known}",
        "label a port in the node's settings or in EdgeNode spec.uplinks, or name another label",
        is_blocking=False,
    )
