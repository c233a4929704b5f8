"""Asks one DNS server for the IPv4 addresses of a name (RFC 1035), so that rules about host names can follow them."""

from __future__ import annotations

import asyncio
import secrets
import socket
import struct

_HEADER = struct.Struct("!HHHHHH")
_RECURSE = 0x0100
_ANSWER = 0x8000
_A, _IN = 1, 1
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
    return _HEADER.pack(query_id, _RECURSE, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", _A, _IN)


def parse_answer(query_id: int, data: bytes) -> frozenset[str] | None:
    """Addresses in the answer section; None when ``data`` does not answer the query."""
    if len(data) < _HEADER.size:
        return None
    found_id, flags, questions, answers, _, _ = _HEADER.unpack_from(data)
    if found_id != query_id or not flags & _ANSWER:
        return None
    try:
        return _parse_records(data, questions, answers)
    except (IndexError, struct.error):
        return frozenset()


def _parse_records(data: bytes, questions: int, answers: int) -> frozenset[str]:
    position = _HEADER.size
    for _ in range(questions):
        position = _skip_name(data, position) + 4
    found = set()
    for _ in range(answers):
        position = _skip_name(data, position)
        kind, class_, _, length = struct.unpack_from("!HHIH", data, position)
        position += 10
        if (kind, class_, length) == (_A, _IN, 4):
            found.add(".".join(str(octet) for octet in struct.unpack_from("!4B", data, position)))
        position += length
    return frozenset(found)


def _skip_name(data: bytes, position: int) -> int:
    """Position after a name; one that is shortened ends with a pointer of two bytes."""
    while length := data[position]:
        if length >= 0xC0:
            return position + 2
        position += 1 + length
    return position + 1
