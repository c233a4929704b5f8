"""What a port knows of its segment: the port information machine (IEEE 802.1D-2004, 17.27 and its procedures of 17.21). Pure.

``advance`` takes one transition of the machine and says whether there was one.

Besides the standard: agreements do not say to what. When a port changes what it says of the root, one that is on its way still means
what it said before, and to believe it makes a loop for a moment (Elmeleegy, Cox, Ng: On Count-to-Infinity Induced Forwarding Loops in
Ethernet Networks, 2006). So none counts for a moment after such a change, and then the port proposes again.
"""

from __future__ import annotations

from enum import IntEnum, auto

from eaves.node.networks.rstp.model import HELD_BEATS, NOWHERE, Info, Kind, Message, Port, Role

_MAC_MASK = (1 << 48) - 1
_PORT_MASK = 0x0FFF


class _Received(IntEnum):
    SUPERIOR_DESIGNATED = auto()
    REPEATED_DESIGNATED = auto()
    INFERIOR_DESIGNATED = auto()
    INFERIOR_ROOT_ALTERNATE = auto()
    OTHER = auto()


def advance(port: Port) -> bool:
    if not port.is_enabled:
        port.message = None
        if port.info is Info.DISABLED:
            return False
        port.proposing = port.proposed = port.agree = port.agreed = port.disputed = False
        port.received_info_while = port.held_beats = 0
        port.port_priority = NOWHERE
        _take(port, Info.DISABLED)
        return True
    if port.info is Info.DISABLED:
        _take(port, Info.AGED)
        return True
    if port.selected and port.update_info:
        _update(port)
        return True
    if port.update_info or port.info is Info.AGED:
        return False
    if port.message is not None:
        _receive(port, port.message)
        port.message = None
        return True
    if port.info is Info.RECEIVED and port.received_info_while == 0:
        _take(port, Info.AGED)
        return True
    return False


def _take(port: Port, info: Info) -> None:
    port.info = info
    port.reselect, port.selected = True, False


def _update(port: Port) -> None:
    """The port speaks for its segment from now on."""
    port.proposing = port.proposed = False
    # What was agreed to before counts for information that is no worse.
    port.agreed = port.agreed and port.info is Info.MINE and port.designated_priority <= port.port_priority
    port.synced = port.synced and port.agreed
    is_worse = port.info is not Info.MINE or port.designated_priority > port.port_priority
    if is_worse and port.port_priority is not NOWHERE:
        port.held_beats = HELD_BEATS
    port.port_priority = port.designated_priority
    port.port_times = port.designated_times
    port.update_info = False
    port.info = Info.MINE
    port.new_info = True


def _receive(port: Port, message: Message) -> None:
    match _compare(port, message):
        case _Received.SUPERIOR_DESIGNATED:
            port.agreed = port.proposing = False
            port.proposed = port.proposed or message.proposal
            _record_changes(port, message)
            port.agree = port.agree and port.info is Info.RECEIVED and message.priority <= port.port_priority
            _record_agreement(port, message)
            port.synced = port.synced and port.agreed
            port.port_priority, port.port_times = message.priority, message.times
            _keep(port)
            _take(port, Info.RECEIVED)
        case _Received.REPEATED_DESIGNATED:
            port.proposed = port.proposed or message.proposal
            _record_changes(port, message)
            _record_agreement(port, message)
            _keep(port)
        case _Received.INFERIOR_DESIGNATED:
            # Its sender does not hear us, and forwards: both ends would be open.
            if message.kind is Kind.RST and message.learning:
                port.disputed, port.agreed = True, False
        case _Received.INFERIOR_ROOT_ALTERNATE:
            _record_agreement(port, message)
            _record_changes(port, message)
        case _Received.OTHER:
            port.received_tcn = port.received_tcn or message.kind is Kind.TCN


def _compare(port: Port, message: Message) -> _Received:
    """rcvInfo (17.21.8), with the comparison of 17.6."""
    if message.kind is Kind.TCN:
        return _Received.OTHER
    told, known = message.priority, port.port_priority
    if message.role is not Role.DESIGNATED:
        return _Received.INFERIOR_ROOT_ALTERNATE if told >= known else _Received.OTHER
    if told == known:
        is_same = message.times == port.port_times and port.info is Info.RECEIVED
        return _Received.REPEATED_DESIGNATED if is_same else _Received.SUPERIOR_DESIGNATED
    # Whatever the port that has told us before tells now replaces it, be it worse.
    is_from_same = (told.bridge & _MAC_MASK, told.port & _PORT_MASK) == (
        known.bridge & _MAC_MASK,
        known.port & _PORT_MASK,
    )
    return _Received.SUPERIOR_DESIGNATED if told < known or is_from_same else _Received.INFERIOR_DESIGNATED


def _keep(port: Port) -> None:
    """updtRcvdInfoWhile (17.21.23): three messages may get lost; what has come too far is not believed."""
    times = port.port_times
    port.received_info_while = 3 * times.hello if times.message_age + 1 <= times.max_age else 0


def _record_agreement(port: Port, message: Message) -> None:
    if port.held_beats and port.info is Info.MINE:
        return
    port.agreed = port.is_point_to_point and message.kind is Kind.RST and message.agreement
    if port.agreed:
        port.proposing = False


def _record_changes(port: Port, message: Message) -> None:
    port.received_tc = port.received_tc or message.topology_change
    port.received_tc_ack = port.received_tc_ack or message.topology_change_ack
