"""Reads what the firewall's log statements hand over: netlink messages of nfnetlink_log and the heads of packets. Pure."""

from __future__ import annotations

import socket
import struct

from eaves.node.flows.model import Packet
from eaves.node.networks import lookup
from eaves.node.networks.netlink import render_attribute, render_message, split_attributes

_SUBSYSTEM = 4 << 8
PACKET, _CONFIG = _SUBSYSTEM | 0, _SUBSYSTEM | 1
_PAYLOAD, _PREFIX = 9, 10
_COMMAND, _MODE, _BIND, _COPY_PACKET = 1, 2, 1, 2
_COPY_BYTES = 1024
_UDP = 17
_WITH_PORTS = {6, _UDP, 33, 132}
_EXTENSIONS = {0, 43, 60}
_DNS_QUESTION = struct.Struct("!HH")


def render_bindings(group: int) -> tuple[bytes, ...]:
    """Messages that make this socket the listener of ``group``."""
    head = struct.pack("!BBH", socket.AF_UNSPEC, 0, group)
    bind = render_attribute(_COMMAND, bytes((_BIND,)))
    mode = render_attribute(_MODE, struct.pack("!IBB", _COPY_BYTES, _COPY_PACKET, 0))
    return tuple(render_message(_CONFIG, 0x05, head + attribute) for attribute in (bind, mode))


def parse_packet_message(body: bytes) -> tuple[str, Packet] | None:
    """(prefix of the log statement, head of the packet); None for what is no IP packet."""
    attributes = dict(split_attributes(body[4:]))
    packet = parse_packet(attributes.get(_PAYLOAD, b""))
    prefix = attributes.get(_PREFIX, b"").rstrip(b"\0").decode("ascii", errors="replace")
    return (prefix, packet) if packet is not None else None


def parse_packet(data: bytes) -> Packet | None:
    if len(data) < 20:
        return None
    if data[0] >> 4 == 4:
        start, protocol, size = (data[0] & 15) * 4, data[9], int.from_bytes(data[2:4])
        source, destination = (socket.inet_ntop(socket.AF_INET, data[at : at + 4]) for at in (12, 16))
    elif data[0] >> 4 == 6 and len(data) >= 40:
        start, protocol = _skip_extensions(data)
        size = int.from_bytes(data[4:6]) + 40
        source, destination = (socket.inet_ntop(socket.AF_INET6, data[at : at + 16]) for at in (8, 24))
    else:
        return None
    ports = (0, 0)
    if protocol in _WITH_PORTS and len(data) >= start + 4:
        ports = (int.from_bytes(data[start : start + 2]), int.from_bytes(data[start + 2 : start + 4]))
    payload = data[start + 8 :] if protocol == _UDP else b""
    return Packet(source, destination, protocol, *ports, size, payload)


def _skip_extensions(data: bytes) -> tuple[int, int]:
    """(where the payload starts, its protocol) of an IPv6 packet: behind headers for the way of the packet (RFC 8200)."""
    start, protocol = 40, data[6]
    while protocol in _EXTENSIONS and len(data) >= start + 2:
        protocol, start = data[start], start + (data[start + 1] + 1) * 8
    return start, protocol


def parse_dns_answer(data: bytes) -> tuple[str, frozenset[str]] | None:
    """(name that was asked for, addresses) of an answer; None for anything else.

    An answer that knows no IPv6 address is none: who asks for those asks for IPv4 too, and is told of once.
    """
    if len(data) < 12 or not data[2] & 0x80 or int.from_bytes(data[4:6]) != 1:
        return None
    labels, position = [], 12
    while position < len(data) and (length := data[position]):
        if length > 63:
            return None
        labels.append(data[position + 1 : position + 1 + length].decode("ascii", errors="replace"))
        position += 1 + length
    if position + 5 > len(data):
        return None
    kind, _ = _DNS_QUESTION.unpack_from(data, position + 1)
    addresses = lookup.parse_answer(int.from_bytes(data[:2]), data) or frozenset()
    if kind == lookup.A or (kind == lookup.AAAA and addresses):
        return ".".join(labels), addresses
    return None
