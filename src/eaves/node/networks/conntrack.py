"""The kernel's table of connections over netlink: list, end, and follow them (nfnetlink_conntrack.h of the kernel's uapi).

Netlink by hand, because a library for it costs this daemon megabytes and the messages are few. Blocking calls are for threads.
"""

from __future__ import annotations

import contextlib
import socket

from msgspec import Struct

from eaves.node.networks import netlink_socket
from eaves.node.networks.netlink import render_attribute, render_message, split_attributes

_SUBSYSTEM = 1 << 8
_NEW, _GET, _DELETE = _SUBSYSTEM | 0, _SUBSYSTEM | 1, _SUBSYSTEM | 2
END = _DELETE
"""Type of the message that tells of a connection's end."""
_NESTED = 0x8000
_ORIGINAL, _REPLY, _STATUS, _COUNTERS_ORIGINAL, _COUNTERS_REPLY, _ID, _ZONE = 1, 2, 3, 9, 10, 12, 18
_TUPLE_ADDRESSES, _TUPLE_PROTOCOL = 1, 2
_SOURCES, _DESTINATIONS = {1, 3}, {2, 4}
_PROTOCOL, _SOURCE_PORT, _DESTINATION_PORT = 1, 2, 3
_EXPECTED = 1
_TABLE = "connection table"


class Tuple(Struct, frozen=True):
    """One direction of a connection; ports are 0 for protocols without."""

    source: str
    destination: str
    protocol: int
    source_port: int = 0
    destination_port: int = 0


class Entry(Struct, frozen=True):
    """A connection: ``original`` as its opener sent, ``reply`` as the answers come. Counters are 0 unless accounting is on.

    ``key`` ends it (see :func:`end_entries`). ``is_helped``: opened on behalf of another one (FTP data and the like).
    """

    original: Tuple
    reply: Tuple
    key: bytes
    is_helped: bool = False
    original_packets: int = 0
    original_bytes: int = 0
    reply_packets: int = 0
    reply_bytes: int = 0

    @property
    def is_redirected(self) -> bool:
        """Whether it was sent to another destination than it asked for."""
        return self.original.destination != self.reply.source


def list_entries(addresses: frozenset[str]) -> list[Entry]:
    """Connections whose opener or whose answering side is one of ``addresses``. Blocking. Raises OSError."""
    found: list[Entry] = []
    for family in sorted({_family_of(address) for address in addresses}):
        with netlink_socket.open_socket() as netlink:
            netlink.send(_render(_GET, netlink_socket.REQUEST | netlink_socket.DUMP, family, b""))
            for kind, body in netlink_socket.receive(netlink, _TABLE):
                if kind == _NEW and (entry := parse_entry(body, addresses)) is not None:
                    found.append(entry)
    return found


def end_entries(entries: list[Entry]) -> int:
    """Forget these connections: their next packet meets the rules as a new one's would. Answers how many were there. Blocking."""
    ended = 0
    with netlink_socket.open_socket() as netlink:
        for entry in entries:
            family = _family_of(entry.original.source)
            netlink.send(_render(_DELETE, netlink_socket.REQUEST | netlink_socket.ACK, family, entry.key))
            # An entry that is gone meanwhile is what was asked for.
            with contextlib.suppress(FileNotFoundError):
                for _ in netlink_socket.receive(netlink, _TABLE):
                    pass
                ended += 1
    return ended


def parse_entry(body: bytes, addresses: frozenset[str]) -> Entry | None:
    """One message of the kernel; None for a connection of others."""
    attributes = dict(split_attributes(body[4:]))
    original = _parse_tuple(attributes.get(_ORIGINAL, b""))
    reply = _parse_tuple(attributes.get(_REPLY, b""))
    if original is None or reply is None or not {original.source, reply.source} & addresses:
        return None
    status = int.from_bytes(attributes.get(_STATUS, b""))
    sent, answered = (_parse_counters(attributes.get(kind, b"")) for kind in (_COUNTERS_ORIGINAL, _COUNTERS_REPLY))
    key = b"".join(
        render_attribute(kind | (_NESTED if kind == _ORIGINAL else 0), attributes[kind])
        for kind in (_ORIGINAL, _ID, _ZONE)
        if kind in attributes
    )
    return Entry(original, reply, key, bool(status & _EXPECTED), *sent, *answered)


def _parse_tuple(data: bytes) -> Tuple | None:
    parts = dict(split_attributes(data))
    source = destination = ""
    for kind, value in split_attributes(parts.get(_TUPLE_ADDRESSES, b"")):
        text = socket.inet_ntop(socket.AF_INET if len(value) == 4 else socket.AF_INET6, value)
        if kind in _SOURCES:
            source = text
        elif kind in _DESTINATIONS:
            destination = text
    protocol = dict(split_attributes(parts.get(_TUPLE_PROTOCOL, b"")))
    if not source or not destination or _PROTOCOL not in protocol:
        return None
    ports = (int.from_bytes(protocol.get(kind, b"")) for kind in (_SOURCE_PORT, _DESTINATION_PORT))
    return Tuple(source, destination, protocol[_PROTOCOL][0], *ports)


def _parse_counters(data: bytes) -> tuple[int, int]:
    """(packets, bytes)."""
    counters = dict(split_attributes(data))
    return int.from_bytes(counters.get(1, b"")), int.from_bytes(counters.get(2, b""))


def _render(kind: int, flags: int, family: int, attributes: bytes) -> bytes:
    return render_message(kind, flags, bytes((family, 0, 0, 0)) + attributes)


def _family_of(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET
