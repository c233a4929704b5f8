"""Desired networks of kind Switch → wanted switches: which ports they may take, and what the ports carry. Pure.

On a machine that belongs to somebody else a port is taken only when nobody uses it: one with addresses, or in a bridge or bond
of the host, is left alone and the operator is told why. The switch is there all the same, for its apps among themselves. Where the
node sets up its ports it makes a bridge of such a port (``desired.port_bridges``), and once that is there the apps join it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from eaves.node.desired.model import DesiredApp, DesiredNetwork, NetworkKind
from eaves.node.instance import Instance
from eaves.node.networks.model import Port, Problem, SeenHost, SeenPort, SwitchPort, WantedSwitch
from eaves.node.networks.ports import find_ports, follows_host, is_shared

TRUNK = (2, 4093)
"""VLANs that a trunk carries, as the device API allows them to apps."""
DEFAULT_MTU = 1500
_REMEDY = (
    "name a port that this machine does not use itself, or let the node share it:"
    " with manage_ports, an Ethernet port of EdgeNode spec.uplinks without VLANs or bonds"
)


def want_switches(
    networks: Iterable[DesiredNetwork],
    apps: Sequence[DesiredApp],
    numbers: dict[str, int],
    ports: Sequence[Port],
    seen: SeenHost,
    instance: Instance,
) -> tuple[dict[str, WantedSwitch], list[Problem]]:
    """Switches by network id. ``numbers``: number of the bridge by network id. A port goes to the first switch that names it."""
    found: dict[str, WantedSwitch] = {}
    problems: list[Problem] = []
    taken: dict[str, str] = {}
    for network in networks:
        if network.kind is not NetworkKind.SWITCH or not network.activate:
            continue
        link = f"{instance.bridge_prefix}{numbers[network.id]}"
        vlans = {vif.vlan for app in apps for vif in app.interfaces if vif.network_id == network.id and vif.vlan}
        wishes = _list_wishes(network, has_vlans=bool(vlans))
        members: list[SwitchPort] = []
        candidates = _list_candidates(network, ports, seen, problems)
        for port in candidates:
            problem = check_port(port, seen.ports.get(port.interface), link, wishes, is_alone=len(candidates) == 1)
            problem = problem or _say_taken(port, taken)
            if problem:
                message = f"network {network.name}: port {port.label} is not joined: {problem}"
                problems.append(Problem(network.id, "PortNotFree", message, _REMEDY, is_blocking=False))
                continue
            taken[port.interface] = network.name
            members.append(_want_port(network, port))
        shares = [member.interface for member in members if is_shared(member)]
        mtus = [seen.ports[member.interface].mtu for member in members]
        found[network.id] = WantedSwitch(
            network_id=network.id,
            link=shares[0] if shares else link,
            mtu=network.mtu or min(mtus, default=DEFAULT_MTU),
            ports=tuple(members),
            has_vlans=bool(vlans or network.access_ports),
            forwards_lldp=network.forward_lldp,
            flow_log=network.flow_log,
            is_shared=bool(shares),
        )
    return found, problems


def check_addresses(apps: Sequence[DesiredApp], switches: Mapping[str, WantedSwitch]) -> list[Problem]:
    """Fixed addresses that nobody can give."""
    return [
        Problem(
            app.id,
            "AddressNotUsed",
            f"app {app.name}: address {interface.address} is not used, {interface.name} is a switch",
            "reserve the address at the DHCP server outside, or set it inside the app",
            is_blocking=False,
        )
        for app in apps
        for interface in app.interfaces
        if interface.address and interface.network_id in switches
    ]


def want_raised(switches: Iterable[WantedSwitch], seen: SeenHost, known: Iterable[str]) -> list[str]:
    """Host interfaces that are to be down again when they are given back."""
    wanted = {port.interface for switch in switches if not switch.is_shared for port in switch.ports}
    fresh = {name for name in wanted if name in seen.ports and not seen.ports[name].is_raised}
    held = {name for name in known if name in wanted or (name in seen.ports and seen.ports[name].master in seen.links)}
    return sorted(fresh | held)


def check_port(
    port: Port, seen: SeenPort | None, switch: str, wishes: Sequence[str] = (), *, is_alone: bool = True
) -> str:
    """Why the switch must not take the port; empty = it may. ``is_alone``: it is the only one that the network names."""
    if seen is None:
        return f"{port.interface} does not exist"
    if wishes and (is_shared(port) or seen.addresses or seen.has_ipv6):
        return f"this machine uses {port.interface} itself, and such a port has no {', '.join(wishes)}"
    if is_shared(port):
        return (
            ""
            if is_alone
            else f"this machine uses {port.interface} itself, and a switch that has such a port has no other"
        )
    if seen.master and seen.master != switch:
        return f"{port.interface} belongs to {seen.master} of this machine"
    if seen.kind == "bridge":
        return f"{port.interface} is a bridge of this machine"
    if seen.addresses or seen.has_ipv6:
        return f"this machine has addresses on {port.interface}"
    return ""


def want_vlans(switch: WantedSwitch, vlans: dict[str, int]) -> dict[str, frozenset[tuple[int, int, bool]]]:
    """Link → (first, last, untagged) for the ports of a switch; ``vlans``: link of an app → its access VLAN, 0 = trunk."""
    if not switch.has_vlans:
        return {}
    links = vlans | {port.interface: port.vlan for port in switch.ports}
    trunk = frozenset({(1, 1, True), (*TRUNK, False)})
    return {link: frozenset({(vlan, vlan, True)}) if vlan else trunk for link, vlan in links.items()}


def _list_wishes(network: DesiredNetwork, *, has_vlans: bool) -> tuple[str, ...]:
    """What the network asks of its ports that would change the machine's own way out. See ``port_bridges``."""
    wishes = {
        "VLANs": has_vlans or bool(network.access_ports),
        "bpduGuardPort": bool(network.bpdu_guard_label),
        "forwardLldp": network.forward_lldp,
        "mtu of a network": bool(network.mtu),
    }
    return tuple(name for name, is_wanted in wishes.items() if is_wanted)


def _list_candidates(
    network: DesiredNetwork, ports: Sequence[Port], seen: SeenHost, problems: list[Problem]
) -> tuple[Port, ...]:
    if not network.port_label:
        return ()
    found = find_ports(network.port_label, ports, seen)
    if not found:
        is_general = follows_host(network.port_label, ports)
        why = "nobody labelled this node's ports" if is_general else f"no port bears the label {network.port_label}"
        problems.append(
            Problem(
                network.id,
                "PortMissing",
                f"network {network.name}: {why}, so the switch leads nowhere",
                "name an interface, or label ports in the node's settings or in EdgeNode spec.uplinks",
                is_blocking=False,
            )
        )
    return found


def _say_taken(port: Port, taken: dict[str, str]) -> str:
    holder = taken.get(port.interface)
    return f"{port.interface} belongs to network {holder}" if holder else ""


def _want_port(network: DesiredNetwork, port: Port) -> SwitchPort:
    labels = {port.label, *port.shared_labels}
    vlan = next((access.vlan for access in network.access_ports if access.label in labels), 0)
    return SwitchPort(port.interface, port.label, vlan, network.bpdu_guard_label in labels)
