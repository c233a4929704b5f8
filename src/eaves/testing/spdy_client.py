"""A client of a SPDY connection for tests of the server's side, without a network."""

from __future__ import annotations

import asyncio

from eaves.controller.api.sockets import SocketClosedError
from eaves.kube.spdy import Data, Decoder, Encoder, Frame, SynStream


class SpdyClient:
    """The client's end, and the pipe that the server gets."""

    def __init__(self) -> None:
        self._to_server: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._frames: asyncio.Queue[Frame] = asyncio.Queue()
        self._encoder, self._decoder = Encoder(), Decoder()
        self.is_gone = False

    @property
    def unread(self) -> int:
        """Messages that the server has not taken."""
        return self._to_server.qsize()

    def say(self, *frames: Frame) -> None:
        for frame in frames:
            self._to_server.put_nowait(self._encoder.encode(frame))

    def say_raw(self, data: bytes) -> None:
        self._to_server.put_nowait(data)

    def open_pair(self, request: int, port: str = "80") -> tuple[int, int]:
        """Open a pair as kubectl does; answers the ids of its error and data streams."""
        error, data = 4 * request + 1, 4 * request + 3
        headers = {"port": port, "requestid": str(request)}
        self.say(SynStream(error, {**headers, "streamtype": "error"}), Data(error, b"", fin=True))
        self.say(SynStream(data, {**headers, "streamtype": "data"}))
        return error, data

    async def hear(self) -> Frame:
        async with asyncio.timeout(60):
            return await self._frames.get()

    async def hear_all(self, stream_id: int) -> bytes:
        """Data of a stream to its end; other streams' frames are passed over."""
        heard = b""
        while True:
            frame = await self.hear()
            if isinstance(frame, Data) and frame.stream_id == stream_id:
                heard += frame.data
                if frame.fin:
                    return heard

    def go(self) -> None:
        self.is_gone = True
        self._to_server.put_nowait(None)

    async def receive(self) -> bytes | None:
        return await self._to_server.get()

    async def send(self, data: bytes) -> None:
        if self.is_gone:
            raise SocketClosedError("gone")
        for frame in self._decoder.feed(data):
            self._frames.put_nowait(frame)
