"""The apps' part of the layout: their addresses, names, namespaces and interfaces. Pure; an app that cannot be connected is a problem."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from eaves.node.desired.model import AppKind, DesiredApp, DesiredInterface, DesiredNetwork
from eaves.node.desired.vm_model import Isolation
from eaves.node.instance import Instance
from eaves.node.networks import acls, addressing
from eaves.node.networks.errors import NetworkImpossibleError
from eaves.node.networks.model import NetworkState, Problem, WantedBridge, WantedNetns, WantedSwitch, WantedVif
from eaves.node.networks.naming import is_domain, is_label


class Places(Struct, frozen=True):
    """What apps can be connected to, by the id of the network."""

    bridges: Mapping[str, WantedBridge]
    switches: Mapping[str, WantedSwitch]


def want_members(
    apps: Sequence[DesiredApp],
    networks: Sequence[DesiredNetwork],
    places: Places,
    state: NetworkState,
    instance: Instance,
) -> tuple[list[WantedNetns], list[Problem]]:
    """A namespace for each app that can be connected; ``state`` takes the addresses on."""
    addresses, problems = _want_addresses(apps, networks, places.bridges, state)
    blocked = {problem.object_id for problem in problems}
    names, gateways = _want_names(apps), _list_gateways(networks)
    namespaces = []
    for app in apps:
        if app.id in blocked:
            continue
        problem = _check_app(app, places)
        if problem is not None:
            problems.append(problem)
            continue
        vifs = tuple(
            _want_vif(app, index, interface, places.bridges[interface.network_id], addresses, instance, gateways)
            if interface.network_id in places.bridges
            else _want_switch_vif(app, index, interface, places.switches[interface.network_id], instance)
            for index, interface in enumerate(app.interfaces)
        )
        namespaces.append(
            WantedNetns(
                app.id,
                want_hostname(app),
                names[app.id],
                vifs,
                _want_gateway(vifs, places.bridges),
                is_virtual=app.kind is AppKind.VIRTUAL_MACHINE or app.isolation is Isolation.VM,
                routes=_want_guest_routes(vifs, places.bridges),
            )
        )
    return namespaces, problems


def _want_addresses(
    apps: Sequence[DesiredApp],
    networks: Iterable[DesiredNetwork],
    bridges: Mapping[str, WantedBridge],
    state: NetworkState,
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


def _check_app(app: DesiredApp, places: Places) -> Problem | None:
    names = Counter(interface.name for interface in app.interfaces)
    for interface in app.interfaces:
        if interface.network_id not in places.bridges and interface.network_id not in places.switches:
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
                acls.check_rule(rule, is_switched=interface.network_id in places.switches)
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
        flow_log=switch.flow_log,
        is_beside_host=switch.is_shared,
    )


def want_hostname(app: DesiredApp) -> str:
    """The app's name if it can be a host name, else one made from its id."""
    name = app.name.lower()
    return name if is_label(name) else f"app-{app.id[:8]}"


def _want_names(apps: Sequence[DesiredApp]) -> dict[str, tuple[str, ...]]:
    """DNS names of each app: ``name.namespace``, and ``name`` alone for the first app (by namespace) that bears it."""
    names: dict[str, tuple[str, ...]] = {}
    taken: set[str] = set()
    for app in sorted(apps, key=lambda app: (app.namespace, app.id)):
        name, namespace = app.name.lower(), app.namespace.lower()
        found = []
        if is_domain(name) and name not in taken:
            found.append(name)
            taken.add(name)
        if namespace and is_domain(full := f"{name}.{namespace}") and full not in taken:
            found.append(full)
            taken.add(full)
        names[app.id] = tuple(found)
    return names


def _list_gateways(networks: Iterable[DesiredNetwork]) -> dict[tuple[str, str], tuple[str, ...]]:
    """(network id, address) → subnets that are reached by it."""
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for network in networks:
        for route in network.routes:
            if route.gateway:
                key = (network.id, route.gateway)
                found[key] = (*found.get(key, ()), route.destination)
    return found


def _want_gateway(vifs: tuple[WantedVif, ...], bridges: Mapping[str, WantedBridge]) -> str:
    """The default route goes by the first network that leads anywhere."""
    local = [vif for vif in vifs if not vif.is_switched]
    open_first = sorted(local, key=lambda vif: bridges[vif.network_id].air_gapped)
    return open_first[0].gateway if open_first else ""


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
