"""Answers that are talked through over a WebSocket."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from eaves.controller.api.delivery import Streams
from eaves.controller.api.http import Receive, Request, Scope, Send
from eaves.controller.api.sockets import Conversation, Socket, choose_subprotocol
from eaves.kube.errors import ApiError
from eaves.testing.asgi import AsgiSocket

Talk = Callable[[Socket], Awaitable[None]]


class Application:
    """Talks with whoever connects."""

    def __init__(self, talk: Talk, subprotocol: str = "") -> None:
        self.streams = Streams()
        self._conversation = Conversation(talk, subprotocol)
        self.error: BaseException | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self.streams.converse(Request(scope, receive, "audit"), self._conversation, send)
        except RuntimeError as error:
            self.error = error


async def test_both_sides_talk_until_the_handler_returns() -> None:
    async def talk(socket: Socket) -> None:
        assert await socket.receive() == b"bytes"
        assert await socket.receive() == "text"
        await socket.send(b"bye")

    async with AsgiSocket(Application(talk, "v1.test"), "/") as client:
        assert client.subprotocol == "v1.test"
        await client.send(b"bytes")
        await client.send("text")
        assert await client.receive() == b"bye"
        assert await client.receive() is None
        assert client.close_code == 1000


async def test_a_client_that_goes_is_the_end_of_what_it_says() -> None:
    received: list[bytes | str | None] = []

    async def talk(socket: Socket) -> None:
        received.extend([await socket.receive(), await socket.receive(), await socket.receive()])

    async with AsgiSocket(Application(talk), "/") as client:
        assert client.subprotocol is None
        await client.send(b"x")
    assert received == [b"x", None, None]


async def test_sending_to_a_client_that_has_gone_ends_the_talk() -> None:
    async def talk(socket: Socket) -> None:
        await socket.send(b"x")

    async def send(message: object) -> None:
        if isinstance(message, dict) and message["type"] == "websocket.send":
            raise ConnectionResetError

    async def receive() -> dict[str, str]:
        return {"type": "websocket.connect"}

    application = Application(talk)
    await application({"type": "websocket", "path": "/"}, receive, send)
    assert application.error is None


async def test_a_server_that_stops_says_so() -> None:
    async def talk(socket: Socket) -> None:
        await socket.receive()

    application = Application(talk)
    async with AsgiSocket(application, "/") as client:
        await asyncio.sleep(0)
        application.streams.stop()
        assert await client.receive() is None
        assert client.close_code == 1001


async def test_a_handler_that_fails_closes_with_an_error() -> None:
    async def talk(socket: Socket) -> None:
        raise RuntimeError("broken")

    application = Application(talk)
    async with AsgiSocket(application, "/") as client:
        assert await client.receive() is None
        assert client.close_code == 1011
    assert str(application.error) == "broken"


def test_the_servers_order_chooses_the_subprotocol() -> None:
    async def receive() -> dict[str, str]:
        return {}

    def request(kind: str, *offered: str) -> Request:
        return Request({"type": kind, "path": "/", "subprotocols": offered}, receive, "audit")

    assert choose_subprotocol(request("websocket", "v4", "base64url.bearer.x", "v5"), ["v5", "v4"]) == "v5"
    with pytest.raises(ApiError, match="none of the offered"):
        choose_subprotocol(request("websocket", "v1"), ["v5"])
    with pytest.raises(ApiError, match="Upgrade request required"):
        choose_subprotocol(request("http"), ["v5"])
