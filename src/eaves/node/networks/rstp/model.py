"""The variables of a bridge and its ports, named as in IEEE 802.1D-2004, 17.17 to 17.20, in our spelling. Pure.

Timers are whole seconds that are left. A bridge is a value: :mod:`.protocol` copies it before it changes anything.
"""

from __future__ import annotations

import copy
from enum import IntEnum, StrEnum
from typing import NamedTuple

MIGRATE_TIME_S = 3
TRANSMIT_HOLD_COUNT = 6
BEAT_S = 0.05
HELD_BEATS = 2
"""What a neighbour has sent before it heard the latest from us arrives meanwhile."""
PORT_PRIORITY = 0x80


class Role(StrEnum):
    DISABLED = "Disabled"
    ROOT = "Root"
    DESIGNATED = "Designated"
    ALTERNATE = "Alternate"
    BACKUP = "Backup"


class State(IntEnum):
    DISCARDING = 0
    LEARNING = 1
    FORWARDING = 2


class Info(StrEnum):
    """Where a port's information comes from (17.19.10)."""

    DISABLED = "Disabled"
    AGED = "Aged"
    MINE = "Mine"
    RECEIVED = "Received"


class Migration(StrEnum):
    """States of the port protocol migration machine (17.24)."""

    CHECKING = "Checking"
    SELECTING = "Selecting"
    SENSING = "Sensing"


class Changes(StrEnum):
    """States of the topology change machine (17.31) in which it can rest."""

    INACTIVE = "Inactive"
    LEARNING = "Learning"
    ACTIVE = "Active"


class Vector(NamedTuple):
    """A priority vector (17.5); the smaller one is better. Identifiers of bridges are 8 octets, those of ports 2, as on the wire."""

    root: int
    cost: int
    bridge: int
    port: int


class Times(NamedTuple):
    """In seconds (17.18.4). The defaults are those of table 17-1."""

    message_age: int = 0
    max_age: int = 20
    forward_delay: int = 15
    hello: int = 2


DEFAULT_TIMES = Times()
NOWHERE = Vector((1 << 64) - 1, (1 << 32) - 1, (1 << 64) - 1, 0xFFFF)


class Port:
    """``number`` is from 1 to 4095. ``has_guard``: the first message shuts it until its cable is pulled; it is an edge until then."""

    def __init__(self, number: int, *, has_guard: bool = False) -> None:
        self.id = PORT_PRIORITY << 8 | number
        self.has_guard = has_guard
        self.is_shut = False
        self.has_link = False
        self.is_point_to_point = True
        self.path_cost = 20000

        self.info = Info.DISABLED
        self.port_priority = NOWHERE
        self.port_times = DEFAULT_TIMES
        self.designated_priority = NOWHERE
        self.designated_times = DEFAULT_TIMES
        self.message: Message | None = None
        """The one that is being taken in (rcvdMsg)."""

        self.role = Role.DISABLED
        self.selected_role = Role.DISABLED
        self.selected = False
        self.reselect = True
        self.update_info = False

        self.learn = self.forward = self.learning = self.forwarding = False
        self.agree = self.agreed = self.proposed = self.proposing = self.disputed = False
        self.sync = self.synced = self.re_root = False
        self.oper_edge = has_guard

        self.migration = Migration.SENSING
        self.send_rstp = True
        self.received_rstp = self.received_stp = False

        self.changes = Changes.INACTIVE
        self.received_tc = self.received_tcn = self.received_tc_ack = False
        self.tc_propagate = self.tc_ack = False
        self.flush = False

        self.new_info = False
        self.transmit_count = 0

        self.edge_delay_while = MIGRATE_TIME_S
        self.forward_while = 0
        self.hello_when = 0
        self.migrate_while = 0
        self.recent_backup_while = 0
        self.received_info_while = 0
        self.recent_root_while = 0
        self.tc_while = 0
        self.looped_while = 0
        """Not of the standard: it hears itself, so what is sent there comes back."""
        self.held_beats = 0
        """Not of the standard: an agreement may be one to what it said before, see ``information``."""

    @property
    def is_enabled(self) -> bool:
        return self.has_link and not self.is_shut

    @property
    def is_settled(self) -> bool:
        """Its role is decided and its information is that of the role: the condition of most transitions."""
        return self.selected and not self.update_info

    @property
    def state(self) -> State:
        if self.forwarding:
            return State.FORWARDING
        return State.LEARNING if self.learning else State.DISCARDING

    @property
    def forward_delay(self) -> int:
        """Longer than 17.20.5 has it towards a neighbour that speaks RSTP, where it is one hello: that is less than news may take that
        :data:`TRANSMIT_HOLD_COUNT` holds up on its way, and a loop then. Between two bridges messages decide, not this.
        """
        return self.designated_times.forward_delay

    @property
    def edge_delay(self) -> int:
        """17.20.4"""
        return MIGRATE_TIME_S if self.is_point_to_point else self.designated_times.max_age


class Kind(IntEnum):
    """The type field of a message (9.3)."""

    CONFIG = 0
    RST = 2
    TCN = 0x80


class Message(NamedTuple):
    """A bridge protocol data unit. One of kind TCN has nothing else; a CONFIG is always from a designated port."""

    kind: Kind
    priority: Vector = NOWHERE
    times: Times = DEFAULT_TIMES
    role: Role = Role.DESIGNATED
    """Of the port that sent it; ALTERNATE stands for BACKUP too."""
    topology_change: bool = False
    topology_change_ack: bool = False
    proposal: bool = False
    agreement: bool = False
    learning: bool = False
    forwarding: bool = False


class Bridge:
    """``id``: priority in the upper 16 bits, hardware address in the lower 48. ``ports`` by number."""

    def __init__(self, identifier: int, times: Times = DEFAULT_TIMES) -> None:
        self.id = identifier
        self.times = times
        self.ports: dict[int, Port] = {}
        self.root_priority = Vector(identifier, 0, identifier, 0)
        self.root_times = times
        self.root_port = 0
        """Number; 0 = it is the root itself."""

    @property
    def needs_beat(self) -> bool:
        """Whether :func:`.protocol.beat` is to be called in ``BEAT_S``."""
        return any(port.held_beats for port in self.ports.values())

    def copy(self) -> Bridge:
        other = copy.copy(self)
        other.ports = {number: copy.copy(port) for number, port in self.ports.items()}
        return other


class SetState(NamedTuple):
    port: int
    state: State


class Flush(NamedTuple):
    """Forget the addresses that were learnt at the port."""

    port: int


class Send(NamedTuple):
    port: int
    message: Message


Action = SetState | Flush | Send
