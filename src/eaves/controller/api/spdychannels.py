"""Exec and attach for clients that speak SPDY: each channel is a stream of its own, named by its ``streamtype`` header.

:func:`talk_by_spdy` makes a pipe of channel messages out of them, as a client over WebSockets sends and takes, so that what serves those
serves these too. As a kubelet's streaming server does it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from eaves.controller.api.sockets import SocketClosedError
from eaves.controller.api.spdysession import Pipe, SpdySession, SpdyStream, StreamRefusedError
from eaves.controller.api.upgrading import SPDY_PREFIX
from eaves.wire import channels
from eaves.wire.channels import Channel

SUBPROTOCOLS = tuple(f"{SPDY_PREFIX}{name}" for name in channels.SUBPROTOCOLS)
OPEN_TIMEOUT_S = 30.0
"""All streams that the request asks for come within this time."""
LEAVE_TIMEOUT_S = 10.0
"""How long a client that has been told the end may take to close: what it has not read would be lost with the connection."""
_TYPES = {
    "stdin": Channel.STDIN,
    "stdout": Channel.STDOUT,
    "stderr": Channel.STDERR,
    "error": Channel.ERROR,
    "resize": Channel.RESIZE,
}
_FROM_CLIENT = frozenset({Channel.STDIN, Channel.RESIZE})

Talk = Callable[[Pipe], Awaitable[None]]


async def talk_by_spdy(pipe: Pipe, expected: frozenset[Channel], talk: Talk) -> None:
    """Wait for the streams of the ``expected`` channels and run ``talk`` with them. Raises SocketClosedError when the client goes."""
    client = _Client(pipe, expected)
    session = asyncio.create_task(client.run(), name="spdy session")
    try:
        async with asyncio.timeout(OPEN_TIMEOUT_S):
            await client.wait_complete()
        await talk(client)
        await client.end()
        await asyncio.wait({session}, timeout=LEAVE_TIMEOUT_S)
    except TimeoutError:
        # A client that opens no streams is not told anything: there is none to tell it on.
        return
    finally:
        session.cancel()
        await asyncio.wait({session})
    if not session.cancelled():
        session.result()


class _Client:
    """The client as messages; see :class:`~eaves.controller.api.spdysession.Pipe`."""

    def __init__(self, pipe: Pipe, expected: frozenset[Channel]) -> None:
        self._session = SpdySession(pipe, self._offer)
        self._expected = expected
        self._streams: dict[Channel, SpdyStream] = {}
        self._messages: asyncio.Queue[bytes | None] = asyncio.Queue(1)
        self._changed = asyncio.Event()
        self._is_gone = False

    async def run(self) -> None:
        """Until the client has gone."""
        try:
            async with asyncio.TaskGroup() as group:
                reading = group.create_task(self._read_all())
                with contextlib.suppress(SocketClosedError):
                    await self._session.run()
                reading.cancel()
        finally:
            self._is_gone = True
            self._changed.set()

    async def wait_complete(self) -> None:
        """Until every expected stream is there. Raises SocketClosedError."""
        while not self._expected <= self._streams.keys():
            if self._is_gone:
                raise SocketClosedError("the client has gone")
            self._changed.clear()
            await self._changed.wait()

    async def receive(self) -> bytes | None:
        getting = asyncio.create_task(self._messages.get())
        gone = asyncio.create_task(self._wait_gone())
        try:
            await asyncio.wait({getting, gone}, return_when=asyncio.FIRST_COMPLETED)
            return getting.result() if getting.done() else None
        finally:
            getting.cancel()
            gone.cancel()

    async def send(self, data: bytes) -> None:
        """What is for a stream that the client did not open is dropped."""
        stream = self._streams.get(Channel(data[0])) if data[0] in _TYPES.values() else None
        if stream is not None and len(data) > 1:
            await stream.send(data[1:])

    async def end(self) -> None:
        """Say the end on every stream. Raises SocketClosedError."""
        for stream in self._streams.values():
            await stream.send_end()

    def _offer(self, stream: SpdyStream) -> None:
        channel = _TYPES.get(stream.headers.get("streamtype", ""))
        if channel not in self._expected or channel in self._streams:
            raise StreamRefusedError("the request asks for no such stream")
        self._streams[channel] = stream
        self._changed.set()

    async def _read_all(self) -> None:
        await self.wait_complete()
        async with asyncio.TaskGroup() as group:
            for channel in self._expected & _FROM_CLIENT:
                group.create_task(self._read(channel, self._streams[channel]))

    async def _read(self, channel: Channel, stream: SpdyStream) -> None:
        while (data := await stream.receive()) is not None:
            await self._messages.put(channels.encode_message(channel, data))
        if not stream.is_broken:
            await self._messages.put(channels.encode_message(Channel.CLOSE, bytes((channel,))))

    async def _wait_gone(self) -> None:
        while not self._is_gone:
            self._changed.clear()
            await self._changed.wait()
