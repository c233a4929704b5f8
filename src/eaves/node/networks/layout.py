"""Desired networks and apps → the wanted layout of this node. Pure; everything impossible becomes a problem beside the good rest."""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Iterable, Mapping

import msgspec

from eaves.node.desired.model import AppKind, DesiredApp, DesiredInterface, DesiredNetwork, DesiredNode
from eaves.node.instance import Instance
from eaves.node.networks import acls, addressing
from eaves.node.networks.errors import NetworkImpossibleError
from eaves.node.networks.model import (
    Layout,
    NetworkState,
    PortMap,
    Problem,
    SeenHost,
    WantedBridge,
    WantedNetns,
    WantedVif,
)

_DEFAULT_MTU = 1500
_LOWEST_MTU = 1280
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def plan_layout(
    desired: DesiredNode,
    state: NetworkState,
    seen: SeenHost,
    instance: Instance,
    uplinks: Mapping[str, str],
    former: Layout | None = None,
) -> tuple[Layout, NetworkState]:
    """The layout and the state to remember. ``uplinks``: port label → host interface, for labels that the node's settings name.

    Port maps of the ``former`` layout stay even if a host program meanwhile listens on the port.
    """
    state = msgspec.convert(msgspec.to_builtins(state), NetworkState)
    addressing.forget_networks(state, [network.id for network in desired.networks])
    bridges, problems = _want_bridges(desired.networks, state, seen, instance, uplinks)
    apps = list(desired.apps)
    addresses, address_problems = _want_addresses(apps, desired.networks, bridges, state)
    blocked = {problem.object_id for problem in address_problems}
    names = _want_names(apps)
    namespaces = []
    for app in apps:
        if app.id in blocked:
            continue
        problem = _check_app(app, bridges)
        if problem is not None:
            address_problems.append(problem)
            continue
        vifs = tuple(
            _want_vif(app, index, interface, bridges[interface.network_id], addresses, instance)
            for index, interface in enumerate(app.interfaces)
        )
        namespaces.append(
            WantedNetns(
                app.id,
                want_hostname(app),
                names[app.id],
                vifs,
                _want_gateway(vifs, bridges),
                is_virtual=app.kind is AppKind.VIRTUAL_MACHINE,
            )
        )
    active = {app.id: app for app in apps if app.activate}
    held = {(held.app_id, held.protocol, held.node_port) for held in former.port_maps} if former else set()
    port_maps, port_problems = _want_port_maps(active, namespaces, seen.listening, held, dict(uplinks))
    layout = Layout(
        bridges=tuple(bridges.values()),
        netns=tuple(namespaces),
        port_maps=port_maps,
        problems=(*problems, *address_problems, *port_problems),
    )
    return layout, state


def _want_bridges(
    networks: Iterable[DesiredNetwork],
    state: NetworkState,
    seen: SeenHost,
    instance: Instance,
    uplinks: Mapping[str, str],
) -> tuple[dict[str, WantedBridge], list[Problem]]:
    bridges: dict[str, WantedBridge] = {}
    problems = []
    used = {ipaddress.IPv4Network(text): "an interface of the node" for text in seen.subnets}
    for network in networks:
        if not network.activate:
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
        bridges[network.id] = _want_bridge(network, state, seen, instance, uplinks)
    return bridges, problems


def _want_bridge(
    network: DesiredNetwork, state: NetworkState, seen: SeenHost, instance: Instance, uplinks: Mapping[str, str]
) -> WantedBridge:
    subnet = ipaddress.IPv4Network(network.subnet, strict=False)
    uplink = uplinks.get(network.port_label, "")
    mtu = network.mtu or seen.uplinks.get(uplink or seen.default_uplink, _DEFAULT_MTU)
    hosts = {name.lower(): tuple(filter(_is_address, found)) for name, found in network.static_hosts.items()}
    return WantedBridge(
        network_id=network.id,
        link=f"{instance.bridge_prefix}{addressing.want_bridge_number(state, network.id)}",
        address=f"{addressing.want_gateway(network)}/{subnet.prefixlen}",
        subnet=str(subnet),
        mtu=max(mtu, _LOWEST_MTU),
        air_gapped=not network.port_label,
        uplink=uplink,
        domain=network.domain if _is_domain(network.domain) else "",
        dns_servers=network.dns_servers,
        ntp_servers=tuple(filter(_is_address, network.ntp_servers)),
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


def _check_app(app: DesiredApp, bridges: Mapping[str, WantedBridge]) -> Problem | None:
    names = Counter(interface.name for interface in app.interfaces)
    for interface in app.interfaces:
        if interface.network_id not in bridges:
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
                acls.check_rule(rule)
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
) -> WantedVif:
    return WantedVif(
        app_id=app.id,
        name=interface.name,
        inside=f"eth{index}",
        link=addressing.derive_link(instance.veth_prefix, app.id, interface.name),
        network_id=bridge.network_id,
        bridge=bridge.link,
        address=addresses[f"{bridge.network_id}/{app.id}/{interface.name}"],
        prefix_length=bridge.prefix_length,
        gateway=bridge.gateway,
        mac=interface.mac.lower() or addressing.derive_mac(app.id, bridge.network_id, interface.name),
        mtu=bridge.mtu,
        acls=interface.acls,
    )


def want_hostname(app: DesiredApp) -> str:
    """The app's name if it can be a host name, else one made from its id."""
    name = app.name.lower()
    return name if _LABEL.fullmatch(name) else f"app-{app.id[:8]}"


def _want_gateway(vifs: tuple[WantedVif, ...], bridges: Mapping[str, WantedBridge]) -> str:
    """The default route goes by the first network that leads anywhere."""
    open_first = sorted(vifs, key=lambda vif: bridges[vif.network_id].air_gapped)
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


def _want_port_maps(
    apps: Mapping[str, DesiredApp],
    namespaces: Iterable[WantedNetns],
    listening: frozenset[tuple[str, int]],
    held: set[tuple[str, str, int]],
    uplinks: dict[str, str],
) -> tuple[tuple[PortMap, ...], list[Problem]]:
    """A node port belongs to the first app that asks for it, and never to one when a program of the host listens on it."""
    port_maps: list[PortMap] = []
    problems: list[Problem] = []
    holders: dict[tuple[str, int], str] = {}
    for netns in namespaces:
        app = apps.get(netns.app_id)
        if app is None:
            continue
        for port_map in (found for vif in netns.vifs for found in acls.want_port_maps(app, vif, uplinks)):
            key = (port_map.protocol, port_map.node_port)
            holder = holders.setdefault(key, app.id)
            where = f"node port {port_map.node_port}/{port_map.protocol}"
            if holder != app.id:
                message = f"app {app.name}: {where} belongs to app {apps[holder].name}"
                problems.append(
                    Problem(app.id, "PortInUse", message, "give each app its own node port", is_blocking=False)
                )
            elif key in listening and (app.id, *key) not in held:
                message = f"app {app.name}: a program of the node listens on {where}"
                remedy = "choose another node port or stop that program"
                problems.append(Problem(app.id, "PortInUse", message, remedy, is_blocking=False))
            else:
                port_maps.append(port_map)
    return tuple(port_maps), problems


def _is_domain(name: str) -> bool:
    return 0 < len(name) <= 253 and all(_LABEL.fullmatch(label) for label in name.lower().split("."))


def _is_address(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True
