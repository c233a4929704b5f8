"""Desired networks and apps → the wanted layout of this node. Pure; everything impossible becomes a problem beside the good rest."""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Iterable, Mapping

import msgspec

from eaves.node.desired.model import AppKind, DesiredApp, DesiredInterface, DesiredNetwork, DesiredNode, NetworkKind
from eaves.node.desired.vm_model import Isolation
from eaves.node.instance import Instance
from eaves.node.networks import acls, adapters, addressing, ports, routing, switching
from eaves.node.networks.errors import NetworkImpossibleError
from eaves.node.networks.model import (
    Layout,
    NetworkState,
    ProbeTarget,
    Problem,
    SeenHost,
    WantedBridge,
    WantedNetns,
    WantedSwitch,
    WantedVif,
)
from eaves.node.networks.portmaps import want_port_maps
from eaves.node.networks.routing import NetworkWays, Ways

_DEFAULT_MTU = 1500
_LOWEST_MTU = 1280
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


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
    addresses, address_problems = _want_addresses(apps, desired.networks, bridges, state)
    blocked = {problem.object_id for problem in address_problems}
    names = _want_names(apps)
    gateways = _list_gateways(desired.networks)
    namespaces = []
    for app in apps:
        if app.id in blocked:
            continue
        problem = _check_app(app, bridges, switches)
        if problem is not None:
            address_problems.append(problem)
            continue
        vifs = tuple(
            _want_vif(app, index, interface, bridges[interface.network_id], addresses, instance, gateways)
            if interface.network_id in bridges
            else _want_switch_vif(app, index, interface, switches[interface.network_id], instance)
            for index, interface in enumerate(app.interfaces)
        )
        namespaces.append(
            WantedNetns(
                app.id,
                want_hostname(app),
                names[app.id],
                vifs,
                _want_gateway(vifs, bridges),
                is_virtual=app.kind is AppKind.VIRTUAL_MACHINE or app.isolation is Isolation.VM,
                routes=_want_guest_routes(vifs, bridges),
            )
        )
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
            *address_problems,
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
    hosts = {name.lower(): tuple(filter(_is_address, found)) for name, found in network.static_hosts.items()}
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
        domain=network.domain if _is_domain(network.domain) else "",
        dns_servers=network.dns_servers,
        ntp_servers=tuple(filter(_is_address, network.ntp_servers)),
        flow_log=network.flow_log,
        static_hosts=tuple(sorted((name, found) for name, found in hosts.items() if _is_domain(name))),
    )


def _want_addresses(
    apps: list[DesiredApp], networks: Iterable[DesiredNetwork], bridges: Mapping[str, WantedBridge], state: NetworkState
) -> tuple[dict[str, str], list[Problem]]:
    """``network id/app id/interface`` → address."""
    addresses: dict[str, str] = {}
    problems: list[Problem] = []
    for network in networks:
        if network.id not in bridges:
            continue
        members = [
            (app.id, app.name, interface)
            for app in sorted(apps, key=lambda app: app.id)
            for interface in app.interfaces
            if interface.network_id == network.id
        ]
        found, failed = addressing.Addresses(network, state).assign(members)
        addresses |= {f"{network.id}/{key}": address for key, address in found.items()}
        problems += failed
    return addresses, problems


def _check_app(
    app: DesiredApp, bridges: Mapping[str, WantedBridge], switches: Mapping[str, WantedSwitch]
) -> Problem | None:
    names = Counter(interface.name for interface in app.interfaces)
    for interface in app.interfaces:
        if interface.network_id not in bridges and interface.network_id not in switches:
            return Problem(
                app.id,
                "NetworkNotReady",
                f"app {app.name}: interface {interface.name} needs a network that cannot be made here",
                "see the network's own fault",
            )
        if names[interface.name] > 1:
            return Problem(app.id, "InterfaceTwice", f"app {app.name}: two interfaces are named {interface.name}")
        try:
            for rule in interface.acls:
                acls.check_rule(rule, is_switched=interface.network_id in switches)
        except NetworkImpossibleError as error:
            message = f"app {app.name}, interface {interface.name}: {error.message}"
            return Problem(app.id, "RuleInvalid", message, "correct the app's network rules")
    return None


def _want_vif(
    app: DesiredApp,
    index: int,
    interface: DesiredInterface,
    bridge: WantedBridge,
    addresses: Mapping[str, str],
    instance: Instance,
    gateways: Mapping[tuple[str, str], tuple[str, ...]],
) -> WantedVif:
    address = addresses[f"{bridge.network_id}/{app.id}/{interface.name}"]
    return WantedVif(
        app_id=app.id,
        name=interface.name,
        inside=f"eth{index}",
        link=addressing.derive_link(instance.veth_prefix, app.id, interface.name),
        network_id=bridge.network_id,
        bridge=bridge.link,
        address=address,
        prefix_length=bridge.prefix_length,
        gateway=bridge.gateway,
        mac=interface.mac.lower() or addressing.derive_mac(app.id, bridge.network_id, interface.name),
        mtu=bridge.mtu,
        acls=interface.acls,
        gateway_for=gateways.get((bridge.network_id, address), ()),
    )


def _list_gateways(networks: Iterable[DesiredNetwork]) -> dict[tuple[str, str], tuple[str, ...]]:
    """(network id, address) → subnets that are reached by it."""
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for network in networks:
        for route in network.routes:
            if route.gateway:
                key = (network.id, route.gateway)
                found[key] = (*found.get(key, ()), route.destination)
    return found


def _want_guest_routes(vifs: tuple[WantedVif, ...], bridges: Mapping[str, WantedBridge]) -> tuple[tuple[str, str], ...]:
    """Routes inside the app; a gateway knows by itself where it leads to. Of two to one place the first network's counts."""
    own = {destination for vif in vifs for destination in vif.gateway_for}
    found: dict[str, str] = {}
    for vif in vifs:
        if vif.is_switched:
            continue
        for destination, gateway in bridges[vif.network_id].guest_routes:
            if destination not in own:
                found.setdefault(destination, gateway)
    return tuple(found.items())


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


def _want_switch_vif(
    app: DesiredApp, index: int, interface: DesiredInterface, switch: WantedSwitch, instance: Instance
) -> WantedVif:
    return WantedVif(
        app_id=app.id,
        name=interface.name,
        inside=f"eth{index}",
        link=addressing.derive_link(instance.veth_prefix, app.id, interface.name),
        network_id=switch.network_id,
        bridge=switch.link,
        address="",
        prefix_length=0,
        gateway="",
        mac=interface.mac.lower() or addressing.derive_mac(app.id, switch.network_id, interface.name),
        mtu=switch.mtu,
        acls=interface.acls,
        is_switched=True,
        vlan=interface.vlan,
    )


def _want_vlans(
    switches: Iterable[WantedSwitch], namespaces: Iterable[WantedNetns]
) -> dict[str, frozenset[tuple[int, int, bool]]]:
    vifs = [vif for netns in namespaces for vif in netns.vifs if vif.is_switched]
    found: dict[str, frozenset[tuple[int, int, bool]]] = {}
    for switch in switches:
        own = {vif.link: vif.vlan for vif in vifs if vif.network_id == switch.network_id}
        found |= switching.want_vlans(switch, own)
    return found


def want_hostname(app: DesiredApp) -> str:
    """The app's name if it can be a host name, else one made from its id."""
    name = app.name.lower()
    return name if _LABEL.fullmatch(name) else f"app-{app.id[:8]}"


def _want_gateway(vifs: tuple[WantedVif, ...], bridges: Mapping[str, WantedBridge]) -> str:
    """The default route goes by the first network that leads anywhere."""
    local = [vif for vif in vifs if not vif.is_switched]
    open_first = sorted(local, key=lambda vif: bridges[vif.network_id].air_gapped)
    return open_first[0].gateway if open_first else ""


def _want_names(apps: list[DesiredApp]) -> dict[str, tuple[str, ...]]:
    """DNS names of each app: ``name.namespace``, and ``name`` alone for the first app (by namespace) that bears it."""
    names: dict[str, tuple[str, ...]] = {}
    taken: set[str] = set()
    for app in sorted(apps, key=lambda app: (app.namespace, app.id)):
        name, namespace = app.name.lower(), app.namespace.lower()
        found = []
        if _is_domain(name) and name not in taken:
            found.append(name)
            taken.add(name)
        if namespace and _is_domain(full := f"{name}.{namespace}") and full not in taken:
            found.append(full)
            taken.add(full)
        names[app.id] = tuple(found)
    return names


def _is_domain(name: str) -> bool:
    return 0 < len(name) <= 253 and all(_LABEL.fullmatch(label) for label in name.lower().split("."))


def _is_address(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True
