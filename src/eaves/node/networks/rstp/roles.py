"""Which port plays which role: the port role selection machine (IEEE 802.1D-2004, 17.28 and 17.21.25). Pure."""

from __future__ import annotations

from eaves.node.networks.rstp.model import Bridge, Info, Port, Role, Vector

_MAC_MASK = (1 << 48) - 1


def advance(bridge: Bridge) -> bool:
    """Whether roles had to be chosen anew."""
    if not any(port.reselect for port in bridge.ports.values()):
        return False
    for port in bridge.ports.values():
        port.reselect = False
    former = bridge.root_priority
    _choose_root(bridge)
    if bridge.root_priority > former:
        # Besides the standard: who relied on what we agreed to must not, now that others may not agree with us any more.
        for port in bridge.ports.values():
            port.agree = False
    for number, port in bridge.ports.items():
        port.designated_priority = bridge.root_priority._replace(bridge=bridge.id, port=port.id)
        port.designated_times = bridge.root_times._replace(hello=bridge.times.hello)
        port.selected_role = _choose_role(bridge, number, port)
        port.selected = True
    return True


def _choose_root(bridge: Bridge) -> None:
    best: tuple[Vector, int] = (Vector(bridge.id, 0, bridge.id, 0), 0)
    times, root_port = bridge.times, 0
    for number, port in bridge.ports.items():
        told = port.port_priority
        if port.info is not Info.RECEIVED or _is_own(bridge, told):
            continue
        found = (told._replace(cost=told.cost + port.path_cost), port.id)
        if found < best:
            best, root_port = found, number
            times = port.port_times._replace(message_age=port.port_times.message_age + 1)
    bridge.root_priority, bridge.root_port, bridge.root_times = best[0], root_port, times


def _choose_role(bridge: Bridge, number: int, port: Port) -> Role:
    """Sets ``update_info`` besides."""
    port.update_info = False
    match port.info:
        case Info.DISABLED:
            return Role.DISABLED
        case Info.AGED:
            port.update_info = True
            return Role.DESIGNATED
        case Info.MINE:
            port.update_info = (port.port_priority, port.port_times) != (
                port.designated_priority,
                port.designated_times,
            )
            return Role.DESIGNATED
    if number == bridge.root_port:
        return Role.ROOT
    if port.designated_priority < port.port_priority:
        port.update_info = True
        return Role.DESIGNATED
    return Role.BACKUP if _is_own(bridge, port.port_priority) else Role.ALTERNATE


def _is_own(bridge: Bridge, told: Vector) -> bool:
    return told.bridge & _MAC_MASK == bridge.id & _MAC_MASK
