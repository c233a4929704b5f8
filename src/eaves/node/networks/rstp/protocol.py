"""What can happen to a bridge, and what it then does. Pure: every function answers a new bridge and the actions, in their order.

Actions must be carried out in order and before anything else happens: ports are shut before others open, and a message that promises
something comes after what it promises. Source: IEEE 802.1D-2004, clause 17.
"""

from __future__ import annotations

from typing import NamedTuple

from eaves.node.networks.rstp import changes, information, roles, speaking, transitions
from eaves.node.networks.rstp.model import (
    MIGRATE_TIME_S,
    Action,
    Bridge,
    Flush,
    Kind,
    Message,
    Migration,
    Port,
    Role,
    Send,
    SetState,
    State,
)

_MOST_TRANSITIONS = 10_000
"""Beyond any that a bridge of 4095 ports needs; a mistake of ours must end."""
_TIMERS = (
    "edge_delay_while",
    "forward_while",
    "hello_when",
    "migrate_while",
    "recent_backup_while",
    "received_info_while",
    "recent_root_while",
    "tc_while",
    "looped_while",
    "transmit_count",
)


class Outcome(NamedTuple):
    bridge: Bridge
    actions: tuple[Action, ...]


def add_port(bridge: Bridge, number: int, *, has_guard: bool = False) -> Outcome:
    """The port has no link yet."""
    bridge = bridge.copy()
    bridge.ports[number] = Port(number, has_guard=has_guard)
    return Outcome(bridge, (SetState(number, State.DISCARDING), *_settle(bridge)))


def remove_port(bridge: Bridge, number: int) -> Outcome:
    bridge = bridge.copy()
    bridge.ports.pop(number, None)
    for port in bridge.ports.values():
        port.reselect = True
    return Outcome(bridge, _settle(bridge))


def set_link(
    bridge: Bridge,
    number: int,
    *,
    is_up: bool,
    is_point_to_point: bool = True,
    path_cost: int = 20000,
    is_shut: bool = False,
) -> Outcome:
    """``is_shut``: its guard has shut it already. Pulling the cable opens a port that its guard has shut."""
    bridge = bridge.copy()
    port = bridge.ports[number]
    if (port.has_link, port.is_point_to_point, port.path_cost) != (is_up, is_point_to_point, path_cost):
        port.reselect, port.selected = True, False
    port.has_link, port.is_point_to_point, port.path_cost = is_up, is_point_to_point, path_cost
    port.is_shut = is_up and (port.is_shut or is_shut)
    if not is_up:
        port.edge_delay_while = MIGRATE_TIME_S
        port.looped_while = 0
    return Outcome(bridge, _settle(bridge))


def tick(bridge: Bridge) -> Outcome:
    """A second has passed."""
    bridge = bridge.copy()
    for port in bridge.ports.values():
        for name in _TIMERS:
            left = getattr(port, name)
            if left:
                setattr(port, name, left - 1)
    return Outcome(bridge, _settle(bridge))


def beat(bridge: Bridge) -> Outcome:
    """``BEAT_S`` have passed; to be called while ``bridge.needs_beat``."""
    bridge = bridge.copy()
    for port in bridge.ports.values():
        if port.held_beats:
            port.held_beats -= 1
            port.new_info = port.new_info or (port.held_beats == 0 and port.proposing)
    return Outcome(bridge, _settle(bridge))


def receive(bridge: Bridge, number: int, message: Message) -> Outcome:
    """Also for a port without link: what comes late is passed over."""
    port = bridge.ports.get(number)
    if port is None or not port.is_enabled:
        return Outcome(bridge, ())
    bridge = bridge.copy()
    port = bridge.ports[number]
    if port.has_guard:
        port.is_shut = True
        return Outcome(bridge, _settle(bridge))
    port.oper_edge = False
    port.edge_delay_while = MIGRATE_TIME_S
    if message.kind is not Kind.TCN and (message.priority.bridge, message.priority.port) == (bridge.id, port.id):
        if message.role is Role.DESIGNATED:
            port.looped_while = 3 * bridge.times.hello
        return Outcome(bridge, _settle(bridge))
    if message.kind is Kind.RST:
        port.received_rstp = True
    else:
        port.received_stp = True
    port.message = message
    return Outcome(bridge, _settle(bridge))


def check_migration(bridge: Bridge, number: int) -> Outcome:
    """Try anew whether the neighbours speak RSTP (mcheck, 17.19.13)."""
    bridge = bridge.copy()
    port = bridge.ports[number]
    port.migration, port.send_rstp, port.migrate_while = Migration.CHECKING, True, MIGRATE_TIME_S
    return Outcome(bridge, _settle(bridge))


def _settle(bridge: Bridge) -> tuple[Action, ...]:
    """Run the machines until none has a transition left."""
    before = {number: port.state for number, port in bridge.ports.items()}
    sent: list[Send] = []
    for _ in range(_MOST_TRANSITIONS):
        if _advance(bridge):
            continue
        messages = [(number, speaking.take_message(port)) for number, port in bridge.ports.items()]
        fresh = [Send(number, message) for number, message in messages if message is not None]
        if not fresh:
            break
        sent += fresh
    else:
        raise RuntimeError("the spanning tree does not settle")
    states = [SetState(number, port.state) for number, port in bridge.ports.items() if port.state is not before[number]]
    flushed = [Flush(number) for number, port in bridge.ports.items() if port.flush]
    for port in bridge.ports.values():
        port.flush = False
    return (*sorted(states, key=lambda change: change.state), *flushed, *sent)


def _advance(bridge: Bridge) -> bool:
    has_moved = False
    for port in bridge.ports.values():
        has_moved |= speaking.advance_migration(port) | speaking.advance_edge(port) | information.advance(port)
    has_moved |= roles.advance(bridge)
    for port in bridge.ports.values():
        has_moved |= transitions.advance(bridge, port) | changes.advance(bridge, port)
    return has_moved
