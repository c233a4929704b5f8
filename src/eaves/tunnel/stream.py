"""One open stream of the tunnel: what its users on either side see, and how it becomes frames on a WebSocket.

Controller and node each derive theirs from :class:`SessionStream`, for the WebSocket that they have. Nothing is buffered here: a reader
that stops reading stops the socket, and with it the other side.
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod

from eaves.kit.errors import EavesError
from eaves.wire import tunnel
from eaves.wire.tunnel import DONE, CloseCause, CloseCode, Frame, FrameKind, Session, TunnelProtocolError

CLOSE_TIMEOUT_S = 5.0
"""How long a close may wait for a socket that takes nothing."""


class StreamClosedError(EavesError):
    """The stream has ended; ``cause`` says why."""

    code = "StreamClosed"

    def __init__(self, cause: CloseCause) -> None:
        super().__init__(f"the stream is closed ({cause})")
        self.cause = cause


class TunnelStream(ABC):
    """One open stream. One task may receive while others send; sends of several tasks do not mix."""

    @property
    @abstractmethod
    def cause(self) -> CloseCause | None:
        """Why the stream is closed; None while it is open. Known once :meth:`receive` has answered None for the close."""

    @abstractmethod
    async def receive(self) -> bytes | None:
        """The next data as one message of the other side; None at the end of its data or of the stream."""

    @abstractmethod
    async def send(self, data: bytes | memoryview) -> None:
        """Send data; waits while the other side does not read. At most ``DATA_LIMIT_BYTES`` travel as one message.

        Raises StreamClosedError when the stream is closed.
        """

    @abstractmethod
    async def send_end(self) -> None:
        """Say that no more data comes from this side; receiving goes on. Raises StreamClosedError."""

    @abstractmethod
    async def close(self, cause: CloseCause = DONE) -> None:
        """End the stream both ways; the first cause counts. Never raises for a connection that is gone."""


class SessionStream(TunnelStream):
    """``peer`` is what people call the other side."""

    def __init__(self, session: Session, peer: str) -> None:
        self._session = session
        self._peer = peer
        self._sending = asyncio.Lock()
        self._cause: CloseCause | None = None
        self._is_input_over = False
        self._touched_s = asyncio.get_running_loop().time()
        self.is_spoilt = False
        """Something came that the other side did not send: whoever did deserves no waiting."""

    @property
    def cause(self) -> CloseCause | None:
        return self._cause

    @property
    def idle_s(self) -> float:
        """Seconds since anything travelled."""
        return asyncio.get_running_loop().time() - self._touched_s

    @abstractmethod
    async def _take(self) -> bytes:
        """The next message of the WebSocket. Raises OSError when it has ended."""

    @abstractmethod
    async def _put(self, message: bytes) -> None:
        """Send a message over the WebSocket; waits while it takes none. Raises OSError when it has ended."""

    async def receive_frame(self) -> Frame:
        """The next frame of any kind. Raises OSError when the connection has ended, TunnelProtocolError for what is no frame."""
        message = await self._take()
        self._touched_s = asyncio.get_running_loop().time()
        return self._session.open(message)

    async def receive(self) -> bytes | None:
        while self._cause is None and not self._is_input_over:
            try:
                frame = await self.receive_frame()
            except TunnelProtocolError as error:
                self.is_spoilt = True
                await self.close(CloseCause(CloseCode.FAILED, str(error)))
                break
            except OSError:
                self._end(self._cut())
                break
            if frame.kind is FrameKind.DATA:
                if frame.data:
                    return frame.data
            elif frame.kind is FrameKind.END:
                self._is_input_over = True
            elif frame.kind is FrameKind.CLOSE:
                await self._hear_close(tunnel.parse_close(frame.data))
        return None

    async def send(self, data: bytes | memoryview) -> None:
        for piece in tunnel.split_data(data):
            await self._send_frame(FrameKind.DATA, piece)

    async def send_end(self) -> None:
        await self._send_frame(FrameKind.END)

    async def close(self, cause: CloseCause = DONE) -> None:
        if self._end(cause):
            await self._say_close(cause)

    async def _hear_close(self, cause: CloseCause) -> None:
        """The other side has closed the stream."""
        self._end(cause)

    def _end(self, cause: CloseCause) -> bool:
        """False when the stream had ended before."""
        if self._cause is not None:
            return False
        self._cause = cause
        return True

    def _cut(self) -> CloseCause:
        return CloseCause(CloseCode.CUT, f"the connection to the {self._peer} broke")

    async def _say_close(self, cause: CloseCause) -> None:
        """The other side must hear why, but not for ever: its socket may be full because it does not read."""
        with contextlib.suppress(OSError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S), self._sending:
                await self._put_whole(self._session.seal_close(cause))

    async def _send_frame(self, kind: FrameKind, data: bytes | memoryview = b"") -> None:
        async with self._sending:
            if self._cause is not None:
                raise StreamClosedError(self._cause)
            try:
                await self._put_whole(self._session.seal(kind, data))
            except OSError as error:
                cut = self._cut()
                self._end(cut)
                raise StreamClosedError(cut) from error
        self._touched_s = asyncio.get_running_loop().time()

    async def _put_whole(self, message: bytes) -> None:
        """Send a sealed message. It is sent even when the caller is cancelled: a sealed frame that stays away spoils all after it."""
        sending = asyncio.ensure_future(self._put(message))
        sending.add_done_callback(_forget_error)
        await asyncio.shield(sending)


def _forget_error(sending: asyncio.Future[None]) -> None:
    """Whoever was cancelled meanwhile does not ask how it ended."""
    if not sending.cancelled():
        sending.exception()
