"""A WebSocket with a client of the operator API, for handlers that talk both ways: exec, attach, port-forward, consoles.

A handler answers a :class:`Conversation`; :class:`~eaves.controller.api.delivery.Streams` accepts the WebSocket and runs it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from msgspec import Struct

from eaves.controller.api.http import Receive, Request, Send
from eaves.kit.errors import EavesError
from eaves.kube import status


class SocketClosedError(EavesError):
    """The client has gone."""

    code = "ClientGone"


class Socket:
    """An accepted WebSocket. One task may receive while others send; messages of several senders do not mix."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._is_gone = False
        self.reason = ""
        """Why the talk ends, told to the client when the WebSocket is closed."""

    async def receive(self) -> bytes | str | None:
        """The next message, binary or text; None when the client has gone. A client whose messages nobody takes is held back."""
        if self._is_gone:
            return None
        message = await self._receive()
        if message["type"] != "websocket.receive":
            self._is_gone = True
            return None
        data: bytes | None = message.get("bytes")
        return data if data is not None else str(message.get("text") or "")

    async def send(self, data: bytes) -> None:
        """Send a binary message; waits while the client does not read. Raises SocketClosedError."""
        try:
            await self._send({"type": "websocket.send", "bytes": data})
        except OSError as error:
            self._is_gone = True
            raise SocketClosedError("the client has gone") from error


class Conversation(Struct):
    """An answer that is talked through: the WebSocket is accepted with ``subprotocol`` (empty = none) and closed when ``talk`` returns.

    A client that goes is seen by ``talk`` as the end of what it receives, a server that stops as its cancellation.
    """

    talk: Callable[[Socket], Awaitable[None]]
    subprotocol: str = ""


def choose_subprotocol(request: Request, served: Sequence[str]) -> str:
    """The first of ``served`` that the client offers. Raises ApiError 400 when there is none, or the request is no WebSocket."""
    if not request.is_websocket:
        raise status.bad_request("Upgrade request required")
    for name in served:
        if name in request.subprotocols:
            return name
    raise status.bad_request(
        f"none of the offered WebSocket subprotocols {list(request.subprotocols)} is served here; served are {list(served)}"
    )
