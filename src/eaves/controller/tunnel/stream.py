"""An accepted stream on the controller's side: over the ASGI messages of the node's WebSocket.

The endpoint makes it and waits for its end (:meth:`SocketStream.keep`); whoever opened the stream uses it as a
:class:`~eaves.tunnel.stream.TunnelStream`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from eaves.tunnel.stream import SessionStream
from eaves.wire.tunnel import DONE, CloseCause, CloseCode, Session

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class SocketStream(SessionStream):
    """``hang_up`` tells the node by another way that the stream was ended here, for its close may stand behind data that nobody reads."""

    def __init__(self, session: Session, receive: Receive, send: Send, hang_up: Callable[[], None]) -> None:
        super().__init__(session, "node")
        self._receive = receive
        self._send = send
        self._hang_up = hang_up
        self._is_closed_by_node = False
        self._asked: CloseCause | None = None
        self._ended = asyncio.Event()
        self._woken = asyncio.Event()
        """Set when :meth:`keep` has something to do: the stream has ended, or shall."""

    async def close(self, cause: CloseCause = DONE) -> None:
        if not self._end(cause):
            return
        if cause.code is not CloseCode.DONE and not self._is_closed_by_node:
            self._hang_up()
        await self._say_close(cause)
        self._mark_ended()

    def ask_close(self, cause: CloseCause) -> None:
        """Have the endpoint close the stream; for callers that cannot wait."""
        self._asked = self._asked or cause
        self._woken.set()

    async def keep(self, idle_timeout_s: float) -> None:
        """Until the stream has ended; closes it when nothing travels for so long, or when asked to."""
        while not self._ended.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, idle_timeout_s - self.idle_s)):
                    await self._woken.wait()
            if self._asked is not None:
                await self.close(self._asked)
                await self._ended.wait()
            elif self.idle_s >= idle_timeout_s:
                await self.close(CloseCause(CloseCode.IDLE, f"nothing travelled for {idle_timeout_s:.0f} s"))
                await self._ended.wait()

    async def _hear_close(self, cause: CloseCause) -> None:
        self._is_closed_by_node = True
        await self.close(cause)

    def _end(self, cause: CloseCause) -> bool:
        is_new = super()._end(cause)
        if is_new and cause.code is CloseCode.CUT:
            self._mark_ended()
        return is_new

    def _mark_ended(self) -> None:
        self._ended.set()
        self._woken.set()

    async def _take(self) -> bytes:
        message = await self._receive()
        if message["type"] != "websocket.receive":
            raise ConnectionResetError("the node went")
        return message.get("bytes") or b""

    async def _put(self, message: bytes) -> None:
        # uvicorn tells of a client that went by an OSError, too.
        await self._send({"type": "websocket.send", "bytes": message})
