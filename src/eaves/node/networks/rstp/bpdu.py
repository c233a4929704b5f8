"""Spanning-tree messages as Ethernet frames (IEEE 802.1D-2004, clause 9; IEEE 802.2 for the link header). Pure."""

from __future__ import annotations

import struct

from eaves.node.networks.rstp.model import Kind, Message, Role, Times, Vector

GROUP_ADDRESS = bytes.fromhex("0180c2000000")
_LLC = b"\x42\x42\x03"
_BODY = struct.Struct(">B Q I Q H 4H")
_HEADER = struct.Struct(">HBB")
_SHORTEST_FRAME = 60
_UNITS = 256
"""Times travel as parts of a second."""

_TC, _PROPOSAL, _LEARNING, _FORWARDING, _AGREEMENT, _TC_ACK = 0x01, 0x02, 0x10, 0x20, 0x40, 0x80
_ROLES = {1: Role.ALTERNATE, 2: Role.ROOT, 3: Role.DESIGNATED}
_ROLE_NUMBERS = {Role.ALTERNATE: 1, Role.BACKUP: 1, Role.ROOT: 2, Role.DESIGNATED: 3, Role.DISABLED: 0}
_ROLE_SHIFT, _ROLE_MASK = 2, 0x0C
_HIGHEST_BRIDGE_VERSION = 2


class BpduError(ValueError):
    """What came is no message that counts; it is passed over."""


def encode_frame(message: Message, source: bytes) -> bytes:
    """``source``: hardware address of the port. Padded to what Ethernet asks for."""
    payload = _LLC + encode_bpdu(message)
    return (GROUP_ADDRESS + source + struct.pack(">H", len(payload)) + payload).ljust(_SHORTEST_FRAME, b"\0")


def parse_frame(frame: bytes) -> Message:
    """Raises BpduError."""
    if len(frame) < 17 or frame[14:17] != _LLC:
        raise BpduError("no spanning-tree message")
    length = int.from_bytes(frame[12:14])
    if not len(_LLC) <= length <= len(frame) - 14:
        raise BpduError("cut off")
    return parse_bpdu(frame[17 : 14 + length])


def encode_bpdu(message: Message) -> bytes:
    if message.kind is Kind.TCN:
        return _HEADER.pack(0, 0, Kind.TCN)
    is_rst = message.kind is Kind.RST
    version = _HIGHEST_BRIDGE_VERSION if is_rst else 0
    times = message.times
    body = _BODY.pack(
        _render_flags(message) if is_rst else _render_config_flags(message),
        *message.priority,
        *(time * _UNITS for time in (times.message_age, times.max_age, times.hello, times.forward_delay)),
    )
    return _HEADER.pack(0, version, message.kind) + body + (b"\0" if is_rst else b"")


def parse_bpdu(data: bytes) -> Message:
    """``data`` from the protocol identifier on. Checks of 9.3.4. Raises BpduError."""
    if len(data) < _HEADER.size:
        raise BpduError("cut off")
    protocol, version, kind = _HEADER.unpack_from(data)
    if protocol:
        raise BpduError(f"unknown protocol {protocol}")
    if kind == Kind.TCN:
        return Message(Kind.TCN)
    # A later version's message of this type begins as ours (MSTP's does), and is read as ours.
    is_rst = kind == Kind.RST and version >= _HIGHEST_BRIDGE_VERSION
    if not is_rst and kind != Kind.CONFIG:
        raise BpduError(f"unknown message of type {kind}, version {version}")
    if len(data) < _HEADER.size + _BODY.size + is_rst:
        raise BpduError("cut off")
    flags, root, cost, bridge, port, *times = _BODY.unpack_from(data, _HEADER.size)
    priority = Vector(root, cost, bridge, port)
    age, max_age, hello, forward_delay = ((time + _UNITS // 2) // _UNITS for time in times)
    if not is_rst and times[0] >= times[1]:
        raise BpduError("older than it may get")
    # Nobody may make us send, or wait, beyond what table 17-1 allows.
    found = Times(age, _bound(max_age, 6, 40), _bound(forward_delay, 4, 30), _bound(hello, 1, 10))
    if not is_rst:
        return Message(
            Kind.CONFIG,
            priority,
            found,
            topology_change=bool(flags & _TC),
            topology_change_ack=bool(flags & _TC_ACK),
        )
    role = _ROLES.get((flags & _ROLE_MASK) >> _ROLE_SHIFT)
    if role is None:
        raise BpduError("a port without a role")
    return Message(
        Kind.RST,
        priority,
        found,
        role,
        topology_change=bool(flags & _TC),
        proposal=bool(flags & _PROPOSAL),
        agreement=bool(flags & _AGREEMENT),
        learning=bool(flags & _LEARNING),
        forwarding=bool(flags & _FORWARDING),
    )


def _render_config_flags(message: Message) -> int:
    return _TC * message.topology_change | _TC_ACK * message.topology_change_ack


def _render_flags(message: Message) -> int:
    return (
        _TC * message.topology_change
        | _PROPOSAL * message.proposal
        | _ROLE_NUMBERS[message.role] << _ROLE_SHIFT
        | _LEARNING * message.learning
        | _FORWARDING * message.forwarding
        | _AGREEMENT * message.agreement
    )


def _bound(value: int, low: int, high: int) -> int:
    return min(max(value, low), high)
