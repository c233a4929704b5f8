"""Wanted layout and seen host → steps. Pure.

Steps are small and independent where they can be: one that fails is reported for its network or app and the rest goes on.
"""

from __future__ import annotations

from msgspec import Struct

from eaves.node.networks.model import (
    Layout,
    Route,
    Rule,
    SeenHost,
    SeenLink,
    SwitchPort,
    WantedBridge,
    WantedNetns,
    WantedSwitch,
    WantedVif,
)


class MakeBridge(Struct, frozen=True, tag=True):
    """Make the bridge or bring an existing one into shape."""

    bridge: WantedBridge
    exists: bool
    stale_addresses: tuple[str, ...]
    is_filtered: bool


class MakeSwitch(Struct, frozen=True, tag=True):
    """Make the bridge of a switch or bring an existing one into shape."""

    switch: WantedSwitch
    exists: bool
    stale_addresses: tuple[str, ...]


class TakePort(Struct, frozen=True, tag=True):
    """Join a host interface to a switch. ``has_tree``: its spanning tree will open it; without, a port ``is_locked`` is opened."""

    network_id: str
    switch: str
    port: SwitchPort
    has_tree: bool = False
    is_new: bool = True
    is_locked: bool = False


class ReleasePort(Struct, frozen=True, tag=True):
    """Give an interface back to the host, down if it was down before."""

    interface: str
    was_down: bool


class SetVlans(Struct, frozen=True, tag=True):
    """The VLANs of one port of a switch: (first, last, untagged)."""

    link: str
    add: tuple[tuple[int, int, bool], ...]
    remove: tuple[tuple[int, int, bool], ...]


class RemoveLink(Struct, frozen=True, tag=True):
    link: str


class MakeNetns(Struct, frozen=True, tag=True):
    """Pin a network namespace for the app: that of its running container if there is one, else a new one."""

    app_id: str


class RemoveNetns(Struct, frozen=True, tag=True):
    app_id: str


class MakeVifs(Struct, frozen=True, tag=True):
    """Make these interfaces of one app (anew) and set its routes."""

    netns: WantedNetns
    vifs: tuple[WantedVif, ...]
    stale: tuple[str, ...]
    """Host ends to remove before."""
    is_filtered: bool


class MakeTaps(Struct, frozen=True, tag=True):
    """Make these interfaces of a virtual machine or bring existing ones into shape: a guest may hold them open."""

    app_id: str
    vifs: tuple[WantedVif, ...]
    stale: tuple[str, ...]
    """Links of another kind that bear the name of one."""
    existing: tuple[str, ...]
    is_filtered: bool


class SetGuestRoutes(Struct, frozen=True, tag=True):
    """Give an app's namespace its routes besides the default one; interfaces and connections stay."""

    netns: WantedNetns


class SetRouting(Struct, frozen=True, tag=True):
    """Change one of our routing tables and the rules that lead to it."""

    table: int
    add_routes: tuple[Route, ...]
    remove_routes: tuple[Route, ...]
    add_rules: tuple[Rule, ...]
    remove_rules: tuple[Rule, ...]


class TunePort(Struct, frozen=True, tag=True):
    """Attach an existing host end to its bridge in the right mode."""

    vif: WantedVif
    is_filtered: bool


Step = (
    MakeBridge
    | MakeSwitch
    | TakePort
    | ReleasePort
    | SetVlans
    | RemoveLink
    | MakeNetns
    | RemoveNetns
    | MakeVifs
    | MakeTaps
    | SetGuestRoutes
    | SetRouting
    | TunePort
)


def plan_links(layout: Layout, seen: SeenHost) -> list[Step]:
    """Steps for bridges, namespaces and interfaces; the firewall and dnsmasq are brought in line afterwards."""
    steps: list[Step] = []
    for bridge in layout.bridges:
        link = seen.links.get(bridge.link)
        if not is_bridge_right(bridge, link, seen.has_bridge_filter):
            stale = tuple(address for address in link.addresses if address != bridge.address) if link else ()
            exists = link is not None and link.kind == "bridge"
            steps.append(MakeBridge(bridge, exists, stale, seen.has_bridge_filter))
    steps += _plan_switches(layout, seen)
    for netns in layout.netns:
        steps += _plan_taps(netns, seen) if netns.is_virtual else _plan_netns(netns, seen)
    steps += _plan_vlans(layout, seen)
    steps += _plan_removals(layout, seen)
    return steps


def is_switch_right(switch: WantedSwitch, link: SeenLink | None) -> bool:
    return (
        link is not None
        and link.kind == "bridge"
        and link.is_up
        and link.mtu == switch.mtu
        and link.alias == switch.network_id
        and not link.addresses
        and not link.has_stp
        and (link.has_vlans, link.forwards_lldp) == (switch.has_vlans, switch.forwards_lldp)
    )


def _plan_switches(layout: Layout, seen: SeenHost) -> list[Step]:
    steps: list[Step] = []
    wanted = {port.interface: switch.link for switch in layout.switches for port in switch.ports}
    bridges = {name for name, link in seen.links.items() if link.kind == "bridge"}
    for name, port in sorted(seen.ports.items()):
        if port.master in bridges and wanted.get(name) != port.master:
            steps.append(ReleasePort(name, name in seen.raised))
    for switch in layout.switches:
        if switch.is_shared:
            continue
        link = seen.links.get(switch.link)
        takes = _plan_takes(switch, link, seen)
        if is_switch_right(switch, link):
            steps += takes
            continue
        exists = link is not None and link.kind == "bridge"
        make = MakeSwitch(switch, exists, link.addresses if link is not None and exists else ())
        # The kernel's own spanning tree, which an earlier release used, must not end while ports are open.
        steps += [*takes, make] if link is not None and link.has_stp else [make, *takes]
    return steps


def _plan_takes(switch: WantedSwitch, link: SeenLink | None, seen: SeenHost) -> list[Step]:
    steps: list[Step] = []
    for member in switch.ports:
        found = seen.ports.get(member.interface)
        is_new = found is None or found.master != switch.link or (switch.has_tree and link is not None and link.has_stp)
        is_locked = not is_new and found is not None and found.is_locked
        if is_new or found is None or not found.is_raised or (is_locked and not switch.has_tree):
            steps.append(TakePort(switch.network_id, switch.link, member, switch.has_tree, is_new, is_locked))
    return steps


def _plan_vlans(layout: Layout, seen: SeenHost) -> list[Step]:
    """A port that is not there yet shows no VLANs; it gets them in the next round."""
    steps: list[Step] = []
    for link, wanted in sorted(layout.vlans.items()):
        found = seen.vlans.get(link)
        if found is not None and found != wanted:
            steps.append(SetVlans(link, tuple(sorted(wanted - found)), tuple(sorted(found - wanted))))
    return steps


def plan_routing(layout: Layout, seen: SeenHost) -> list[SetRouting]:
    """Routes need their links, so this comes after :func:`plan_links`. A route that changes is set over the former one."""
    places = {(route.table, route.destination) for route in layout.routes}
    add_routes = [route for route in layout.routes if route not in seen.routes]
    surplus = [route for route in seen.routes - set(layout.routes) if (route.table, route.destination) not in places]
    add_rules = [rule for rule in layout.rules if rule not in seen.rules]
    old_rules = seen.rules - set(layout.rules)
    # A rule that leads nowhere names no table; it goes with that of its bridge.
    tables = {rule.iif: rule.table for rule in (*seen.rules, *layout.rules) if rule.table and rule.iif}
    touched = {route.table for route in (*add_routes, *surplus)}
    touched |= {rule.table or tables.get(rule.iif, 0) for rule in (*add_rules, *old_rules)}
    return [
        SetRouting(
            table,
            tuple(route for route in add_routes if route.table == table),
            tuple(sorted((route for route in surplus if route.table == table), key=lambda route: route.destination)),
            tuple(rule for rule in add_rules if (rule.table or tables.get(rule.iif, 0)) == table),
            tuple(rule for rule in old_rules if (rule.table or tables.get(rule.iif, 0)) == table),
        )
        for table in sorted(touched)
    ]


def is_bridge_right(bridge: WantedBridge, link: SeenLink | None, has_bridge_filter: bool) -> bool:
    return (
        link is not None
        and link.kind == "bridge"
        and link.is_up
        and link.mtu == bridge.mtu
        and link.alias == bridge.network_id
        and link.addresses == (bridge.address,)
        and (link.is_filtered or not has_bridge_filter)
    )


def is_port_right(vif: WantedVif, link: SeenLink, has_bridge_filter: bool) -> bool:
    """Whether the host end is on its bridge in the right mode. On a switch every port sees every other.

    With br_netfilter bridged packets pass our table, and apps see each other as on any bridge. Without, ports are isolated from
    each other and the bridge answers ARP for all, so that packets between apps are routed and pass the table that way.
    """
    mode = (link.isolated, link.hairpin)
    if vif.is_switched:
        return link.is_up and link.master == vif.bridge and mode == (False, False)
    return link.is_up and link.master == vif.bridge and mode == (not has_bridge_filter, has_bridge_filter)


def _plan_netns(netns: WantedNetns, seen: SeenHost) -> list[Step]:
    steps: list[Step] = []
    if netns.app_id not in seen.netns:
        steps.append(MakeNetns(netns.app_id))
    wrong = tuple(vif for vif in netns.vifs if not _is_made(vif, seen.links.get(vif.link), "veth"))
    if wrong:
        stale = tuple(vif.link for vif in wrong if vif.link in seen.links)
        steps.append(MakeVifs(netns, wrong, stale, seen.has_bridge_filter))
    elif seen.guest_routes.get(netns.app_id) != netns.routes:
        steps.append(SetGuestRoutes(netns))
    return steps + _plan_ports(netns, wrong, seen)


def _plan_taps(netns: WantedNetns, seen: SeenHost) -> list[Step]:
    steps: list[Step] = []
    wrong = tuple(vif for vif in netns.vifs if not _is_made(vif, seen.links.get(vif.link), "tun"))
    if wrong:
        found = {vif.link: seen.links[vif.link].kind for vif in wrong if vif.link in seen.links}
        existing = tuple(name for name, kind in found.items() if kind == "tun")
        stale = tuple(name for name in found if name not in existing)
        steps.append(MakeTaps(netns.app_id, wrong, stale, existing, seen.has_bridge_filter))
    return steps + _plan_ports(netns, wrong, seen)


def _plan_ports(netns: WantedNetns, wrong: tuple[WantedVif, ...], seen: SeenHost) -> list[Step]:
    return [
        TunePort(vif, seen.has_bridge_filter)
        for vif in netns.vifs
        if vif not in wrong and not is_port_right(vif, seen.links[vif.link], seen.has_bridge_filter)
    ]


def _is_made(vif: WantedVif, link: SeenLink | None, kind: str) -> bool:
    return link is not None and link.kind == kind and link.alias == vif.mark


def _plan_removals(layout: Layout, seen: SeenHost) -> list[Step]:
    wanted_netns = {netns.app_id for netns in layout.netns if not netns.is_virtual}
    wanted_vifs = {vif.link for vif in (*layout.vifs, *layout.switch_vifs)}
    wanted_bridges = {bridge.link for bridge in layout.bridges} | {switch.link for switch in layout.switches}
    surplus = [
        name
        for name, link in sorted(seen.links.items())
        if name not in (wanted_bridges if link.kind == "bridge" else wanted_vifs)
    ]
    vifs_first = sorted(surplus, key=lambda name: seen.links[name].kind == "bridge")
    steps: list[Step] = [RemoveLink(name) for name in vifs_first]
    steps += [RemoveNetns(app_id) for app_id in sorted(seen.netns - wanted_netns)]
    return steps
