"""The server's side of one SPDY connection: streams that a client opens, over anything that carries bytes.

Clients keep no flow-control windows (see :mod:`eaves.kube.spdy`), so memory is bounded as in a kubelet: when a stream's reader falls
far behind, the connection is not read until it has caught up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

from eaves.controller.api.inboxes import Inbox, Intake
from eaves.controller.api.sockets import SocketClosedError
from eaves.kit.errors import EavesError
from eaves.kube.spdy import (
    Data,
    Decoder,
    Encoder,
    Frame,
    GoAway,
    Ping,
    Reset,
    RstStream,
    SpdyError,
    SynReply,
    SynStream,
)

SESSION_STREAMS = 1024
"""Open at the same time."""


class Pipe(Protocol):
    """Bytes both ways; a :class:`~eaves.controller.api.sockets.Socket` is one."""

    async def receive(self) -> bytes | str | None: ...

    async def send(self, data: bytes) -> None:
        """Raises SocketClosedError."""
        ...


class StreamRefusedError(EavesError):
    """Raised by who is offered a stream and does not want it."""

    code = "StreamRefused"


class SpdyStream:
    """One stream. One task receives, one sends."""

    has_half_close = True

    def __init__(self, session: SpdySession, opening: SynStream) -> None:
        self.id = opening.stream_id
        self.headers: Mapping[str, str] = opening.headers
        self.is_broken = False
        """Reset by one side, or its connection has ended."""
        self._session = session
        self._inbox = Inbox(session.intake)
        self._is_said = opening.unidirectional
        if opening.fin:
            self._inbox.end()

    @property
    def is_over(self) -> bool:
        """Both sides have said all, or it is broken."""
        return self.is_broken or (self._inbox.is_ended and self._is_said)

    async def receive(self) -> bytes | None:
        """The next data; None when the client has said all, or when the stream is broken."""
        return await self._inbox.receive()

    def stop_receiving(self) -> None:
        """Drop what the client still says: there is nobody to take it."""
        self._inbox.shut()

    async def send(self, data: bytes) -> None:
        """Waits while the client does not read. Raises SocketClosedError when the stream is broken."""
        if self.is_broken:
            raise SocketClosedError("the client has ended the stream")
        await self._session.send(Data(self.id, data))

    async def send_end(self) -> None:
        """Nothing more comes from this side. Does nothing when that was said, or the stream is broken."""
        if self._is_said or self.is_broken:
            return
        self._is_said = True
        self._session.drop_over(self)
        await self._session.send(Data(self.id, b"", fin=True))

    async def reset(self, status: Reset = Reset.CANCEL) -> None:
        """End the stream at once, both ways, if it is not over."""
        if not self.is_over:
            self.break_off()
            await self._session.send(RstStream(self.id, status))

    async def take(self, frame: Data) -> None:
        """For the session: data has come. Waits while its reader is far behind."""
        self._inbox.put(frame.data)
        if frame.fin:
            self._inbox.end()
            self._session.drop_over(self)
        await self._session.intake.wait_room(self._inbox)

    def break_off(self) -> None:
        """Forget what has come; whoever receives hears the end."""
        self.is_broken = True
        self._inbox.shut()
        self._session.drop_over(self)


class SpdySession:
    """Hand it the pipe and :meth:`run` it. ``offer`` is called with each new stream, and raises StreamRefusedError to refuse it."""

    def __init__(self, pipe: Pipe, offer: Callable[[SpdyStream], None]) -> None:
        self.intake = Intake()
        self._pipe = pipe
        self._offer = offer
        self._encoder = Encoder()
        self._decoder = Decoder()
        self._sending = asyncio.Lock()
        self._streams: dict[int, SpdyStream] = {}
        self._last_id = 0
        self._is_going = False

    async def run(self) -> None:
        """Serve until the client has gone, or does not keep to the protocol, which it is told. Raises SocketClosedError."""
        try:
            while (data := await self._pipe.receive()) is not None:
                for frame in self._decoder.feed(data if isinstance(data, bytes) else data.encode()):
                    await self._take(frame)
        except SpdyError:
            await self.send(GoAway(self._last_id, Reset.PROTOCOL_ERROR))
        finally:
            for stream in list(self._streams.values()):
                stream.break_off()

    async def send(self, frame: Frame) -> None:
        """Frames of several senders do not mix. Raises SocketClosedError."""
        async with self._sending:
            await self._pipe.send(self._encoder.encode(frame))

    def drop_over(self, stream: SpdyStream) -> None:
        """Forget the stream if it is over."""
        if stream.is_over:
            self._streams.pop(stream.id, None)

    async def _take(self, frame: Frame) -> None:
        match frame:
            case SynStream():
                await self._open(frame)
            case Data():
                # Data of a stream that is not known was on its way when the stream was ended here.
                if (stream := self._streams.get(frame.stream_id)) is not None:
                    await stream.take(frame)
            case RstStream():
                if (stream := self._streams.get(frame.stream_id)) is not None:
                    stream.break_off()
            case Ping():
                # Ids of the client are odd; an even one is an answer, and nothing was asked here.
                if frame.id % 2:
                    await self.send(frame)
            case GoAway():
                self._is_going = True
            case _:
                # Replies, settings and windows: nothing here depends on them.
                pass

    async def _open(self, frame: SynStream) -> None:
        if frame.stream_id % 2 == 0 or frame.stream_id <= self._last_id:
            await self.send(RstStream(frame.stream_id, Reset.PROTOCOL_ERROR))
            return
        self._last_id = frame.stream_id
        if self._is_going or len(self._streams) >= SESSION_STREAMS:
            await self.send(RstStream(frame.stream_id, Reset.REFUSED_STREAM))
            return
        stream = self._streams[frame.stream_id] = SpdyStream(self, frame)
        try:
            self._offer(stream)
        except StreamRefusedError:
            await stream.reset(Reset.REFUSED_STREAM)
            return
        # The client takes no data before the reply. Whoever was offered the stream cannot be quicker: frames are sent in turn.
        await self.send(SynReply(stream.id))
