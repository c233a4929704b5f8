"""Lean HTTP/1.1 clients over TLS, so that one core can load a server on another one.

:class:`Connection` keeps a connection and has one request under way; :func:`call_resumed` makes a new connection for each request and
resumes the TLS session of the one before, as EVE devices do. Both read answers with a Content-Length or in chunks.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence

from msgspec import Struct

_TIMEOUT_S = 60.0


class Address(Struct, frozen=True):
    """A server, and the authority that it is checked against."""

    host: str
    port: int
    authority_pem: str

    def make_context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cadata=self.authority_pem)


class Connection(asyncio.Protocol):
    """One kept connection. :meth:`send` whole requests, one at a time; or :meth:`follow` an endless answer."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._waiter: asyncio.Future[tuple[int, bytes]] | None = None
        self._changed = asyncio.Event()
        self._is_following = False
        self._is_closed = False

    @classmethod
    async def open(cls, address: Address, context: ssl.SSLContext) -> Connection:
        loop = asyncio.get_running_loop()
        _, protocol = await loop.create_connection(cls, address.host, address.port, ssl=context)
        return protocol

    async def send(self, request: bytes) -> tuple[int, bytes]:
        """Status and body of the answer. Raises ConnectionError when the server closes first."""
        assert self._transport is not None
        self._waiter = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._waiter

    async def follow(self, request: bytes) -> AsyncIterator[bytes]:
        """Bytes of an endless answer as they come, its head and the marks of its chunks among them."""
        assert self._transport is not None
        self._is_following = True
        self._transport.write(request)
        while not self._is_closed:
            await self._changed.wait()
            self._changed.clear()
            data = bytes(self._buffer)
            self._buffer.clear()
            yield data

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment]  # uvloop's transports have a base class of their own

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._is_following:
            self._changed.set()
            return
        answer = parse_answer(self._buffer)
        if answer is not None and self._waiter is not None and not self._waiter.done():
            self._buffer.clear()
            self._waiter.set_result(answer)
            self._waiter = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_closed = True
        self._changed.set()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(exc or ConnectionResetError("the server closed the connection"))


def parse_answer(data: bytearray | bytes) -> tuple[int, bytes] | None:
    """Status and body of a complete answer, None while a part is missing."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = bytes(data[:end]).lower()
    status = int(head[9:12])
    if b"transfer-encoding: chunked" in head:
        body = _join_chunks(data, end + 4)
        return None if body is None else (status, body)
    mark = head.find(b"content-length:")
    length = 0 if mark < 0 else int(head[mark + 15 :].split(b"\r\n", 1)[0])
    if len(data) < end + 4 + length:
        return None
    return status, bytes(data[end + 4 :])


def _join_chunks(data: bytearray | bytes, position: int) -> bytes | None:
    if not data.endswith(b"0\r\n\r\n"):
        return None
    parts: list[bytes] = []
    while True:
        line_end = data.find(b"\r\n", position)
        if line_end < 0:
            return None
        size = int(bytes(data[position:line_end]), 16)
        if size == 0:
            return b"".join(parts)
        parts.append(bytes(data[line_end + 2 : line_end + 2 + size]))
        position = line_end + 4 + size


def render_request(method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> bytes:
    """A whole request as it goes over the wire."""
    lines = [f"{method} {path} HTTP/1.1", "Host: server"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if body or method in ("POST", "PUT", "PATCH"):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


class Resumer:
    """One device that connects anew for each request. Blocking: run several in threads."""

    def __init__(self, address: Address, context: ssl.SSLContext) -> None:
        self._address = address
        self._context = context
        self._session: ssl.SSLSession | None = None
        self.resumed = 0

    def call(self, request: bytes) -> int:
        """The status of the answer."""
        plain = socket.create_connection((self._address.host, self._address.port), timeout=_TIMEOUT_S)
        with self._context.wrap_socket(plain, server_hostname=self._address.host, session=self._session) as stream:
            stream.sendall(request)
            data = bytearray()
            while (answer := parse_answer(data)) is None:
                part = stream.recv(65536)
                if not part:
                    raise ConnectionResetError("the server closed the connection")
                data += part
            self.resumed += bool(stream.session_reused)
            # A session's tickets come after the handshake, so that it is complete only now.
            self._session = stream.session
            with contextlib.suppress(OSError):
                stream.unwrap()
            return answer[0]


async def send_in_turn(
    connections: Sequence[Connection], requests: Sequence[Sequence[bytes]], expected: frozenset[int]
) -> None:
    """Each connection sends its own requests one after the other, all connections at once."""

    async def run(connection: Connection, mine: Sequence[bytes]) -> None:
        for request in mine:
            status, body = await connection.send(request)
            assert status in expected, f"status {status}: {body[:300]!r}"

    await asyncio.gather(*(run(connection, mine) for connection, mine in zip(connections, requests, strict=True)))
