"""Elements of the kernel's nftables sets over netlink (nf_tables.h of the kernel's uapi): for sets whose text would be megabytes."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from eaves.node.networks import netlink_socket
from eaves.node.networks.netlink import render_attribute, render_message, split_attributes

BRIDGE = 7
"""The family of tables of bridges."""
_SUBSYSTEM = 10 << 8
_NEW_ELEMENTS, _GET_ELEMENTS = _SUBSYSTEM | 12, _SUBSYSTEM | 13
_TABLE, _SET, _ELEMENTS = 1, 2, 3
_KEY, _EXPIRATION, _EXPRESSION, _EXPRESSIONS = 1, 5, 7, 11
_VALUE = 1
_NAME, _DATA = 1, 2
_BYTES, _PACKETS = 1, 2


class Element(Struct, frozen=True):
    """``key``: its fields one after the other in network order, each padded to 4 bytes. ``left_s``: until it runs out."""

    key: bytes
    left_s: float = 0.0
    packets: int = 0
    size_bytes: int = 0


def list_elements(family: int, table: str, name: str) -> Iterator[Element]:
    """Blocking. Raises OSError; FileNotFoundError when there is no such set."""
    names = render_attribute(_TABLE, table.encode() + b"\0") + render_attribute(_SET, name.encode() + b"\0")
    question = bytes((family, 0, 0, 0)) + names
    with netlink_socket.open_socket() as netlink:
        netlink.send(render_message(_GET_ELEMENTS, netlink_socket.REQUEST | netlink_socket.DUMP, question))
        for kind, body in netlink_socket.receive(netlink, f"set {name}"):
            if kind == _NEW_ELEMENTS:
                yield from parse_elements(body)


def parse_elements(body: bytes) -> Iterator[Element]:
    """Those of one message."""
    for kind, elements in split_attributes(body[4:]):
        if kind == _ELEMENTS:
            for _, data in split_attributes(elements):
                yield _parse_element(data)


def _parse_element(data: bytes) -> Element:
    parts = dict(split_attributes(data))
    key = dict(split_attributes(parts.get(_KEY, b""))).get(_VALUE, b"")
    left_s = int.from_bytes(parts.get(_EXPIRATION, b"")) / 1000
    expressions = [parts[_EXPRESSION]] if _EXPRESSION in parts else []
    expressions += [expression for _, expression in split_attributes(parts.get(_EXPRESSIONS, b""))]
    for expression in expressions:
        named = dict(split_attributes(expression))
        if named.get(_NAME, b"").rstrip(b"\0") == b"counter":
            counters = dict(split_attributes(named.get(_DATA, b"")))
            return Element(key, left_s, *(int.from_bytes(counters.get(each, b"")) for each in (_PACKETS, _BYTES)))
    return Element(key, left_s)
