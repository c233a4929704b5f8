"""Asks one DNS server for the IPv4 addresses of a name (RFC 1035), so that rules about host names can follow them.

``flows`` reads answers with it, of IPv6 (RFC 3596) too.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import struct
from collections.abc import Iterator

_HEADER = struct.Struct("!HHHHHH")
_RECURSE = 0x0100
_ANSWER = 0x8000
A, AAAA, _IN = 1, 28, 1
_FAMILIES = {(A, 4): socket.AF_INET, (AAAA, 16): socket.AF_INET6}
"""(type of a record, its length) → what its address is of."""
_TIMEOUT_S = 4.0
_LIMIT_BYTES = 4096


async def find_addresses(server: str, name: str, *, port: int = 53) -> frozenset[str]:
    """Empty when the server knows none or does not answer."""
    query_id = secrets.randbelow(1 << 16)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.setblocking(False)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                await loop.sock_connect(udp, (server, port))
                await loop.sock_sendall(udp, render_query(query_id, name))
                while True:
                    found = parse_answer(query_id, await loop.sock_recv(udp, _LIMIT_BYTES))
                    if found is not None:
                        return found
        except OSError:  # TimeoutError is one
            return frozenset()


def render_query(query_id: int, name: str) -> bytes:
    labels = b"".join(bytes((len(label),)) + label.encode() for label in name.rstrip(".").split("."))
    return _HEADER.pack(query_id, _RECURSE, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", A, _IN)


def parse_answer(query_id: int, data: bytes) -> frozenset[str] | None:
    """Addresses in the answer section, as far as it is there; None when ``data`` does not answer the query."""
    if len(data) < _HEADER.size:
        return None
    found_id, flags, questions, answers, _, _ = _HEADER.unpack_from(data)
    if found_id != query_id or not flags & _ANSWER:
        return None
    found: set[str] = set()
    with contextlib.suppress(IndexError, ValueError, struct.error):
        found.update(_parse_records(data, questions, answers))
    return frozenset(found)


def _parse_records(data: bytes, questions: int, answers: int) -> Iterator[str]:
    position = _HEADER.size
    for _ in range(questions):
        position = _skip_name(data, position) + 4
    for _ in range(answers):
        position = _skip_name(data, position)
        kind, class_, _, length = struct.unpack_from("!HHIH", data, position)
        position += 10
        family = _FAMILIES.get((kind, length))
        if family is not None and class_ == _IN:
            yield socket.inet_ntop(family, data[position : position + length])
        position += length


def _skip_name(data: bytes, position: int) -> int:
    """Position after a name; one that is shortened ends with a pointer of two bytes."""
    while length := data[position]:
        if length >= 0xC0:
            return position + 2
        position += 1 + length
    return position + 1
