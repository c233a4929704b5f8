"""An accepted stream on the controller's side: frames over the ASGI messages of the node's WebSocket.

The endpoint makes it and waits for :attr:`ended`; whoever opened the stream uses it as a :class:`TunnelStream`. Nothing is buffered
here: a reader that stops reading stops the socket, and with it the node.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from eaves.controller.tunnel.abc import TunnelStream
from eaves.controller.tunnel.errors import StreamClosedError
from eaves.wire import tunnel
from eaves.wire.tunnel import DONE, CloseCause, CloseCode, Frame, FrameKind, Session, TunnelProtocolError

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

CLOSE_TIMEOUT_S = 5.0
"""How long a close may wait for a socket that takes nothing."""


class SocketStream(TunnelStream):
    """``hang_up`` tells the node by another way that the stream was ended here, for its close may stand behind data that nobody reads."""

    def __init__(self, session: Session, receive: Receive, send: Send, hang_up: Callable[[], None]) -> None:
        self._session = session
        self._receive = receive
        self._send = send
        self._hang_up = hang_up
        self._sending = asyncio.Lock()
        self._cause: CloseCause | None = None
        self._is_input_over = False
        self._is_closed_by_node = False
        self._asked: CloseCause | None = None
        self._touched_s = asyncio.get_running_loop().time()
        self.ended = asyncio.Event()
        self.woken = asyncio.Event()
        """Set when the endpoint has something to do: the stream has ended, or shall."""

    @property
    def cause(self) -> CloseCause | None:
        return self._cause

    @property
    def idle_s(self) -> float:
        """Seconds since anything travelled."""
        return asyncio.get_running_loop().time() - self._touched_s

    async def receive_frame(self) -> Frame | None:
        """The next frame of any kind, None when the connection has ended; for the endpoint's handshake."""
        message = await self._receive()
        if message["type"] != "websocket.receive":
            return None
        self._touched_s = asyncio.get_running_loop().time()
        return self._session.open(message.get("bytes") or b"")

    async def receive(self) -> bytes | None:
        while self._cause is None and not self._is_input_over:
            frame = await self._next_frame()
            if frame is None:
                break
            if frame.kind is FrameKind.DATA:
                if frame.data:
                    return frame.data
            elif frame.kind is FrameKind.END:
                self._is_input_over = True
            elif frame.kind is FrameKind.CLOSE:
                self._is_closed_by_node = True
                await self.close(tunnel.parse_close(frame.data))
        return None

    async def _next_frame(self) -> Frame | None:
        """None after the stream has been closed for whatever came instead of a frame."""
        try:
            frame = await self.receive_frame()
        except TunnelProtocolError as error:
            await self.close(CloseCause(CloseCode.FAILED, str(error)))
            return None
        if frame is None:
            self._end(CloseCause(CloseCode.CUT, "the connection to the node broke"))
        return frame

    async def send(self, data: bytes | memoryview) -> None:
        for piece in tunnel.split_data(data):
            await self._send_frame(FrameKind.DATA, piece)

    async def send_end(self) -> None:
        await self._send_frame(FrameKind.END)

    async def close(self, cause: CloseCause = DONE) -> None:
        if not self._end(cause):
            return
        if cause.code is not CloseCode.DONE and not self._is_closed_by_node:
            self._hang_up()
        # The other side must hear why, but not for ever: its socket may be full because it does not read.
        with contextlib.suppress(TimeoutError, OSError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S), self._sending:
                await self._write(self._session.seal_close(cause))
        self._mark_ended()

    def ask_close(self, cause: CloseCause) -> None:
        """Have the endpoint close the stream; for callers that cannot wait."""
        self._asked = self._asked or cause
        self.woken.set()

    async def keep(self, idle_timeout_s: float) -> None:
        """Until the stream has ended; closes it when nothing travels for so long, or when asked to."""
        while not self.ended.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, idle_timeout_s - self.idle_s)):
                    await self.woken.wait()
            if self._asked is not None:
                await self.close(self._asked)
                await self.ended.wait()
            elif self.idle_s >= idle_timeout_s:
                await self.close(CloseCause(CloseCode.IDLE, f"nothing travelled for {idle_timeout_s:.0f} s"))
                await self.ended.wait()

    def _end(self, cause: CloseCause) -> bool:
        """False when the stream had ended before."""
        if self._cause is not None:
            return False
        self._cause = cause
        if cause.code is CloseCode.CUT:
            self._mark_ended()
        return True

    def _mark_ended(self) -> None:
        self.ended.set()
        self.woken.set()

    async def _write(self, message: bytes) -> None:
        """Send a sealed message. It is sent even when the caller is cancelled: a sealed frame that stays away spoils all after it."""
        sending = asyncio.ensure_future(self._send({"type": "websocket.send", "bytes": message}))
        sending.add_done_callback(_forget_error)
        await asyncio.shield(sending)

    async def _send_frame(self, kind: FrameKind, data: bytes | memoryview = b"") -> None:
        async with self._sending:
            if self._cause is not None:
                raise StreamClosedError(self._cause)
            try:
                await self._write(self._session.seal(kind, data))
            except OSError as error:
                # uvicorn tells of a client that went by an OSError.
                cut = CloseCause(CloseCode.CUT, "the connection to the node broke")
                self._end(cut)
                raise StreamClosedError(cut) from error
        self._touched_s = asyncio.get_running_loop().time()


def _forget_error(sending: asyncio.Future[None]) -> None:
    """Whoever was cancelled meanwhile does not ask how it ended."""
    if not sending.cancelled():
        sending.exception()
