"""The open stream on the node's side: frames over the client's WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from eaves.node.tunnel.abc import NodeStream, StreamClosedError
from eaves.wire import tunnel
from eaves.wire.tunnel import DONE, CloseCause, CloseCode, FrameKind, Refusal, Session, TunnelProtocolError

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

CLOSE_TIMEOUT_S = 5.0


class ClientStream(NodeStream):
    """Over one connection, which the dialler closes. It is an Offer too: accepting is its first frame."""

    def __init__(self, session: Session, connection: ClientConnection) -> None:
        from websockets.exceptions import ConnectionClosed

        self._broken = ConnectionClosed
        self._session = session
        self._connection = connection
        self._sending = asyncio.Lock()
        self._cause: CloseCause | None = None
        self._is_input_over = False
        self._touched_s = asyncio.get_running_loop().time()
        self.is_accepted = False
        self.is_spoilt = False
        """Something came that the controller did not send: whoever did deserves no waiting."""

    @property
    def cause(self) -> CloseCause | None:
        return self._cause

    @property
    def idle_s(self) -> float:
        """Seconds since anything travelled."""
        return asyncio.get_running_loop().time() - self._touched_s

    async def accept(self) -> NodeStream:
        await self._send_frame(FrameKind.ACCEPT)
        self.is_accepted = True
        return self

    async def refuse(self, refusal: Refusal) -> None:
        with contextlib.suppress(self._broken, TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._connection.send(self._session.seal_refusal(refusal))

    async def receive(self) -> bytes | None:
        while self._cause is None and not self._is_input_over:
            try:
                message = await self._connection.recv()
                frame = self._session.open(message if isinstance(message, bytes) else b"")
            except self._broken:
                self._end(CloseCause(CloseCode.CUT, "the connection to the controller broke"))
                break
            except TunnelProtocolError as error:
                self.is_spoilt = True
                await self.close(CloseCause(CloseCode.FAILED, str(error)))
                break
            self._touched_s = asyncio.get_running_loop().time()
            if frame.kind is FrameKind.DATA:
                if frame.data:
                    return frame.data
            elif frame.kind is FrameKind.END:
                self._is_input_over = True
            elif frame.kind is FrameKind.CLOSE:
                self._end(tunnel.parse_close(frame.data))
        return None

    async def send(self, data: bytes | memoryview) -> None:
        for piece in tunnel.split_data(data):
            await self._send_frame(FrameKind.DATA, piece)

    async def send_end(self) -> None:
        await self._send_frame(FrameKind.END)

    async def close(self, cause: CloseCause = DONE) -> None:
        if not self._end(cause):
            return
        with contextlib.suppress(self._broken, TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S), self._sending:
                await self._write(self._session.seal_close(cause))

    def _end(self, cause: CloseCause) -> bool:
        """False when the stream had ended before."""
        if self._cause is not None:
            return False
        self._cause = cause
        return True

    async def _send_frame(self, kind: FrameKind, data: bytes | memoryview = b"") -> None:
        async with self._sending:
            if self._cause is not None:
                raise StreamClosedError(self._cause)
            try:
                await self._write(self._session.seal(kind, data))
            except self._broken as error:
                cut = CloseCause(CloseCode.CUT, "the connection to the controller broke")
                self._end(cut)
                raise StreamClosedError(cut) from error
        self._touched_s = asyncio.get_running_loop().time()

    async def _write(self, message: bytes) -> None:
        """Send a sealed message. It is sent even when the caller is cancelled: a sealed frame that stays away spoils all after it."""
        sending = asyncio.ensure_future(self._connection.send(message))
        sending.add_done_callback(_forget_error)
        await asyncio.shield(sending)


def _forget_error(sending: asyncio.Future[None]) -> None:
    """Whoever was cancelled meanwhile does not ask how it ended."""
    if not sending.cancelled():
        sending.exception()
