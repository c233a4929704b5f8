"""Which port of the node a network leaves by. Pure.

Networks name ports by label: a port's own one, one that ports share, or ``uplink`` (every port by which the node reaches its
controller), ``freeuplink`` (those that cost nothing) and ``all``. Of the ports found, the one of lowest cost that works is taken;
as long as the one in use works and none is cheaper, it stays.

On a host whose ports nobody labelled these three mean: whichever way the host itself routes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from eaves.node.desired.network_model import DesiredPort, Probe
from eaves.node.desired.port_bridges import SHARED_PREFIX, name_bridge
from eaves.node.networks.model import Port, ProbeTarget, SeenHost, SeenPort, SwitchPort

ANY_UPLINK, FREE_UPLINK, ALL = "uplink", "freeuplink", "all"
_GENERAL = (ANY_UPLINK, FREE_UPLINK, ALL)


class Choice(Struct, frozen=True):
    """The port to leave by (None = none leads out), why that one, and what must be probed to choose again."""

    port: Port | None
    gateway: str
    reason: str
    targets: tuple[ProbeTarget, ...] = ()


def merge_ports(own: Sequence[Port], asked: Iterable[DesiredPort]) -> tuple[Port, ...]:
    """Ports of the node's settings and of its config. Of one interface both labels count, the settings' cost wins."""
    found = {port.interface: port for port in own}
    for port in asked:
        known = found.get(port.interface)
        if known is None:
            found[port.interface] = Port(port.label, port.interface, port.cost, port.shared_labels, port.is_uplink)
            continue
        labels = (*known.shared_labels, port.label, *port.shared_labels)
        others = tuple(dict.fromkeys(label for label in labels if label != known.label))
        found[port.interface] = replace(known, shared_labels=others)
    return tuple(found.values())


def find_ports(label: str, ports: Sequence[Port], seen: SeenHost) -> tuple[Port, ...]:
    """The ports that bear ``label``, cheapest first. The name of a host interface that nobody labelled is a label too."""
    match label:
        case "all":
            found = list(ports)
        case "uplink":
            found = [port for port in ports if port.is_uplink]
        case "freeuplink":
            found = [port for port in ports if port.is_uplink and port.cost == 0]
        case _:
            found = [port for port in ports if label == port.label or label in port.shared_labels]
            if not found and label in seen.ports:
                found = [Port(label, label)]
    return tuple(sorted((follow_bridge(port, seen) for port in found), key=lambda port: (port.cost, port.label)))


def follow_bridge(port: Port, seen: SeenHost) -> Port:
    """Where the node shares a cable with the apps of a switch, its address is on the bridge over the cable, and so is the port.

    The cable is out of the bridge for a moment when that gets another address; it has one itself once it is not shared any more.
    """
    bridge = name_bridge(port.interface)
    above, cable = seen.ports.get(bridge), seen.ports.get(port.interface)
    if above is None or above.kind != "bridge":
        return port
    is_apart = cable is not None and cable.master != bridge and (cable.master or cable.addresses or cable.has_ipv6)
    return port if is_apart else replace(port, interface=bridge)


def is_shared(port: Port | SwitchPort) -> bool:
    """Whether :func:`follow_bridge` led to it."""
    return port.interface.startswith(SHARED_PREFIX)


def follows_host(label: str, ports: Sequence[Port]) -> bool:
    """Whether the host's own routes decide: nobody gave this node labels."""
    return label in _GENERAL and not ports


def list_interfaces(label: str, ports: Sequence[Port], seen: SeenHost) -> tuple[str, ...]:
    """Host interfaces that ``label`` means, for port maps; on a host without labels that of its default route."""
    if follows_host(label, ports):
        return (seen.default_uplink,) if seen.default_uplink else ()
    return tuple(port.interface for port in find_ports(label, ports, seen))


def check_port(port: Port, seen: SeenPort | None) -> str:
    """Why nothing can leave by the port, by what the host shows; empty = something can."""
    if seen is None:
        return f"{port.interface} does not exist"
    if not seen.is_up:
        return f"{port.interface} has no link"
    if not seen.addresses:
        return f"{port.interface} has no IPv4 address"
    if not seen.gateway:
        return f"{port.interface} has no gateway"
    return ""


def want_link_faults(targets: Iterable[ProbeTarget], seen: SeenHost) -> dict[str, str]:
    """Interface → why nothing can leave by it, for those that the host shows to be unusable."""
    names = {target.interface for target in targets}
    return {name: fault for name in names if (fault := check_port(Port(name, name), seen.ports.get(name)))}


def choose_port(
    candidates: Sequence[Port],
    seen: SeenHost,
    probe: Probe,
    faults: Mapping[ProbeTarget, str],
    current: str,
) -> Choice:
    """``candidates`` cheapest first; ``faults``: target → why it fails now; ``current``: the interface in use."""
    targets: dict[str, ProbeTarget] = {}
    problems: dict[str, str] = {}
    for port in candidates:
        problem = check_port(port, seen.ports.get(port.interface))
        if problem:
            problems[port.interface] = problem
        targets[port.interface] = want_target(port, seen.ports.get(port.interface), probe)
        problem = problem or faults.get(targets[port.interface], "")
        if problem:
            problems[port.interface] = problem
    # A lone port is used whatever a probe would say, so its data is spared.
    wanted = tuple(targets.values()) if len(candidates) > 1 else ()
    working = [port for port in candidates if port.interface not in problems]
    best = next((port for port in working if port.interface == current and port.cost == working[0].cost), None)
    best = best or next(iter(working), None)
    said = "; ".join(problems.values())
    if best is not None:
        reason = f"cost {best.cost}, {len(working)} of {len(candidates)} ports work"
        return Choice(best, seen.ports[best.interface].gateway, f"{reason}; {said}" if said else reason, wanted)
    usable = [port for port in candidates if not check_port(port, seen.ports.get(port.interface))]
    last = next((port for port in usable if port.interface == current), None) or next(iter(usable), None)
    if last is not None:
        return Choice(last, seen.ports[last.interface].gateway, f"no port answers: {said}", wanted)
    return Choice(None, "", f"no port leads out: {said}" if said else "no port bears the label", wanted)


def want_target(port: Port, seen: SeenPort | None, probe: Probe) -> ProbeTarget:
    """What must answer by this port."""
    gateway = seen.gateway if seen is not None else ""
    is_pinged = probe.ping_gateway and port.cost <= probe.ping_max_cost
    return ProbeTarget(port.interface, gateway, is_pinged, probe.host, probe.port)
