"""Connections that turn into SPDY, byte by byte: refusals, early data, senders that are held back, ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from eaves.controller.api.delivery import Streams, send_response
from eaves.controller.api.http import Request, Response
from eaves.controller.api.sockets import Conversation, Socket, SocketClosedError
from eaves.controller.api.upgrading import UpgradingProtocol
from eaves.controller.serving import Listener

pytestmark = pytest.mark.contract

HEAD = (
    b"POST /api/v1/namespaces/default/pods/a%20b/portforward?x=1 HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
    b"Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v2.test, v1.test\r\nX-Stream-Protocol-Version: v0.test\r\n"
    b"Content-Length: 0\r\n\r\n"
)

Talk = Callable[[Socket], Awaitable[None]]


class Application:
    """Talks with everybody, unless it refuses."""

    def __init__(self, talk: Talk, *, refuses: bool = False) -> None:
        self._talk = talk
        self._refuses = refuses
        self.streams = Streams()
        self.scope: dict[str, Any] = {}
        self.ended = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope = scope
        request = Request(scope, receive, "audit")
        try:
            if self._refuses:
                await send_response(request, Response(b'{"message":"no"}', 404), send)
            else:
                await self.streams.converse(request, Conversation(self._talk, request.subprotocols[0]), send)
        finally:
            self.ended.set()


@contextlib.asynccontextmanager
async def served(application: Application) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    listener = Listener(
        application, "127.0.0.1", 0, tls=None, on_stop=application.streams.stop, protocol=UpgradingProtocol
    )
    serving = asyncio.create_task(listener.run())
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        listener.stop()
        await serving


async def echo(socket: Socket) -> None:
    while (data := await socket.receive()) is not None:
        assert isinstance(data, bytes)
        await socket.send(data)


async def test_the_connection_is_the_applications_after_the_upgrade() -> None:
    application = Application(echo)
    async with served(application) as (reader, writer):
        writer.write(HEAD)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        assert b"\r\nUpgrade: SPDY/3.1\r\n" in head
        assert b"\r\nX-Stream-Protocol-Version: v2.test\r\n" in head
        writer.write(b"\x80\x03 no HTTP at all \r\n\r\n")
        assert await reader.readexactly(22) == b"\x80\x03 no HTTP at all \r\n\r\n"
    await application.ended.wait()
    scope = application.scope
    assert (scope["method"], scope["path"], scope["query_string"]) == (
        "POST",
        "/api/v1/namespaces/default/pods/a b/portforward",
        b"x=1",
    )
    assert scope["subprotocols"] == ["SPDY/3.1+v2.test", "SPDY/3.1+v1.test", "SPDY/3.1+v0.test"]


async def test_a_refusal_is_an_answer_and_the_end() -> None:
    async with served(Application(echo, refuses=True)) as (reader, writer):
        writer.write(HEAD)
        answer = await reader.read()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 404 Not Found\r\n")
    assert b"content-length: 16" in head
    assert body == b'{"message":"no"}'


async def test_thousands_of_requests_at_once_on_a_connection_are_not_kept() -> None:
    answers = b""
    async with served(Application(echo, refuses=True)) as (reader, writer), asyncio.timeout(60):
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 3000)
        with contextlib.suppress(ConnectionResetError):
            while part := await reader.read(65536):
                answers += part
    assert answers.count(b"HTTP/1.1 ") < 100


async def test_who_does_not_read_is_held_back() -> None:
    sent = 0
    is_held = asyncio.Event()

    async def talk(socket: Socket) -> None:
        nonlocal sent
        try:
            while True:
                async with asyncio.timeout(2):
                    await socket.send(bytes(65536))
                sent += 65536
        except TimeoutError:
            is_held.set()

    async with served(Application(talk)) as (reader, writer):
        writer.write(HEAD)
        await reader.readuntil(b"\r\n\r\n")
        async with asyncio.timeout(60):
            await is_held.wait()
        assert sent < 32 << 20


async def test_who_is_not_read_is_held_back() -> None:
    may_read = asyncio.Event()
    received = 0

    async def talk(socket: Socket) -> None:
        nonlocal received
        await may_read.wait()
        while received < 64 << 20:
            data = await socket.receive()
            assert data is not None
            received += len(data)

    application = Application(talk)
    async with served(application) as (reader, writer):
        writer.write(HEAD)
        await reader.readuntil(b"\r\n\r\n")
        written = 0
        with contextlib.suppress(TimeoutError):
            while written < 64 << 20:
                writer.write(bytes(1 << 20))
                written += 1 << 20
                async with asyncio.timeout(2):
                    await writer.drain()
        assert written < 64 << 20
        may_read.set()
        writer.write(bytes((64 << 20) - written))
        async with asyncio.timeout(60):
            await application.ended.wait()
    assert received == 64 << 20


async def test_a_client_that_goes_is_noticed() -> None:
    async def talk(socket: Socket) -> None:
        assert await socket.receive() is None
        with pytest.raises(SocketClosedError):
            await socket.send(b"anybody")

    application = Application(talk)
    async with served(application) as (reader, writer):
        writer.write(HEAD)
        await reader.readuntil(b"\r\n\r\n")
        writer.close()
        async with asyncio.timeout(30):
            await application.ended.wait()


async def test_a_server_that_stops_ends_the_connection() -> None:
    application = Application(echo)
    async with served(application) as (reader, writer):
        writer.write(HEAD)
        await reader.readuntil(b"\r\n\r\n")
        application.streams.stop()
        assert await reader.read() == b""
