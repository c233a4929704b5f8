"""How a port gets into its role and state: the port role transitions machine (IEEE 802.1D-2004, 17.29). Pure.

Every function takes the transitions that are due and says whether there was one; :mod:`.protocol` calls them until there is none.
The machine of port states (17.30) needs no code of its own: what is to be learnt and forwarded is so at once, and whoever
carries the actions out does that before the messages go that rely on it.
"""

from __future__ import annotations

from eaves.node.networks.rstp.model import Bridge, Port, Role


def advance(bridge: Bridge, port: Port) -> bool:
    if not port.is_settled:
        return False
    if port.role is not port.selected_role:
        _enter(port)
        return True
    match port.role:
        case Role.DISABLED:
            return _rest(port, port.designated_times.max_age)
        case Role.ROOT:
            return _advance_root(bridge, port)
        case Role.DESIGNATED:
            return _advance_designated(port)
    return _advance_alternate(bridge, port)


def _enter(port: Port) -> None:
    port.role = port.selected_role
    match port.role:
        case Role.ROOT:
            port.recent_root_while = port.designated_times.forward_delay
        case Role.DISABLED | Role.ALTERNATE | Role.BACKUP:
            _discard(port)
            port.recent_root_while = 0


def _rest(port: Port, delay_s: int) -> bool:
    """A port that forwards nothing is in nobody's way."""
    if port.forward_while == delay_s and port.synced and not (port.sync or port.re_root):
        return False
    port.forward_while = delay_s
    port.recent_root_while = 0
    port.synced, port.sync, port.re_root = True, False, False
    return True


def _advance_alternate(bridge: Bridge, port: Port) -> bool:
    if _answer_proposal(bridge, port):
        return True
    if port.role is Role.BACKUP and port.recent_backup_while != 2 * port.designated_times.hello:
        port.recent_backup_while = 2 * port.designated_times.hello
        return True
    return _rest(port, port.forward_delay)


def _advance_root(bridge: Bridge, port: Port) -> bool:
    if _answer_proposal(bridge, port):
        return True
    if port.recent_root_while != port.designated_times.forward_delay:
        port.recent_root_while = port.designated_times.forward_delay
        return True
    if not port.forward and not port.re_root:
        for other in bridge.ports.values():
            other.re_root = True
        return True
    if port.re_root and port.forward:
        port.re_root = False
        return True
    if (port.agreed and not port.synced) or (port.sync and port.synced):
        port.synced, port.sync = True, False
        return True
    is_rerooted = all(other.recent_root_while == 0 for other in bridge.ports.values() if other is not port)
    is_due = port.forward_while == 0 or (is_rerooted and port.recent_backup_while == 0)
    return is_due and _open_further(port)


def _advance_designated(port: Port) -> bool:
    if port.looped_while and port.learn:
        # What is sent comes back: to forward there is a loop, edge or not.
        _discard(port)
        return True
    if not (port.forward or port.agreed or port.proposing or port.oper_edge):
        port.proposing = port.new_info = True
        port.edge_delay_while = port.edge_delay
        return True
    is_quiet = not port.learning and not port.forwarding
    if (not port.synced and (is_quiet or port.agreed or port.oper_edge)) or (port.sync and port.synced):
        port.recent_root_while = 0
        port.synced, port.sync = True, False
        return True
    if port.recent_root_while == 0 and port.re_root:
        port.re_root = False
        return True
    must_yield = (port.sync and not port.synced) or (port.re_root and port.recent_root_while) or port.disputed
    if must_yield and not port.oper_edge and (port.learn or port.forward):
        _discard(port)
        port.disputed = False
        port.forward_while = port.forward_delay
        return True
    is_due = port.forward_while == 0 or port.agreed or port.oper_edge
    may_open = (port.recent_root_while == 0 or not port.re_root) and not port.sync and not port.looped_while
    return bool(is_due and may_open) and _open_further(port)


def _answer_proposal(bridge: Bridge, port: Port) -> bool:
    """The neighbour asks to forward at once. Yes, when nothing behind us can close the circle (17.10)."""
    if port.proposed and not port.agree:
        for other in bridge.ports.values():
            other.sync = True
        port.proposed = False
        return True
    if (_is_all_synced(bridge) and not port.agree) or (port.proposed and port.agree):
        port.proposed = False
        if port.role is Role.ROOT:
            port.sync = False
        port.agree = port.new_info = True
        return True
    return False


def _is_all_synced(bridge: Bridge) -> bool:
    """17.20.3. A port whose information is about to change is not: what its neighbour has agreed to was the former."""
    return all(
        port.is_settled and port.role is port.selected_role and (port.synced or port.role is Role.ROOT)
        for port in bridge.ports.values()
    )


def _open_further(port: Port) -> bool:
    if not port.learn:
        port.learn = port.learning = True
        port.forward_while = port.forward_delay
        return True
    if not port.forward:
        port.forward = port.forwarding = True
        port.forward_while = 0
        if port.role is Role.DESIGNATED:
            port.agreed = port.send_rstp
        return True
    return False


def _discard(port: Port) -> None:
    port.learn = port.forward = port.learning = port.forwarding = False
