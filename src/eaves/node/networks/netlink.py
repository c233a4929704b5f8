"""Framing of netlink messages (netlink(7), nfnetlink.h and rtnetlink.h of the kernel's uapi). Pure."""

from __future__ import annotations

import struct
from collections.abc import Iterator

NETLINK_NETFILTER = 12
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_TYPE_MASK = 0x3FFF


def split_attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, value) of each attribute; what is cut off is left out."""
    position = 0
    while position + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, position)
        if length < _ATTRIBUTE.size:
            return
        yield kind & _TYPE_MASK, data[position + _ATTRIBUTE.size : position + length]
        position += (length + 3) & ~3


def render_attribute(kind: int, value: bytes) -> bytes:
    length = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(length, kind) + value + bytes(-length % 4)


def render_message(kind: int, flags: int, body: bytes) -> bytes:
    """``body`` starts with what its family has before attributes: nfgenmsg, ifinfomsg …"""
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, 1, 0) + body


def split_messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, body after the netlink header) of each message."""
    position = 0
    while position + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, position)
        if length < _HEADER.size:
            return
        yield kind, data[position + _HEADER.size : position + length]
        position += (length + 3) & ~3
