"""Port-forward by SPDY: any number of connections over one, each a pair of streams.

The client opens an ``error`` and a ``data`` stream with the same ``requestid`` header for each connection, and names the ``port`` in both.
What goes wrong is said as text on the error stream. As a kubelet's streaming server does it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine

from eaves.controller.api.relaying import ByteStream
from eaves.controller.api.sockets import SocketClosedError
from eaves.controller.api.spdysession import Pipe, SpdySession, SpdyStream, StreamRefusedError

PAIR_TIMEOUT_S = 30.0
"""The second stream of a pair comes within this time."""

Forward = Callable[[int, ByteStream], Awaitable[str]]
"""Serves one connection to a port; answers what went wrong."""


async def serve_pairs(pipe: Pipe, forward: Forward) -> None:
    """Serve one client until it has gone. Raises SocketClosedError."""
    pairs = _Pairs(forward)
    try:
        await SpdySession(pipe, pairs.offer).run()
    finally:
        await pairs.stop()


class _Pair:
    """A connection in the making."""

    def __init__(self, port: int, timer: asyncio.TimerHandle) -> None:
        self.port = port
        self.timer = timer
        self.streams: dict[str, SpdyStream] = {}


class _Pairs:
    """Puts streams together and serves each pair."""

    def __init__(self, forward: Forward) -> None:
        self._forward = forward
        self._waiting: dict[str, _Pair] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def offer(self, stream: SpdyStream) -> None:
        """Raises StreamRefusedError for a stream that belongs to no pair."""
        kind, port = stream.headers.get("streamtype", ""), parse_port(stream.headers.get("port", ""))
        if kind not in ("error", "data"):
            raise StreamRefusedError(f"stream type {kind[:64]!r} is neither error nor data")
        key = want_request_id(stream, kind)
        pair = self._waiting.get(key)
        if pair is None:
            timer = asyncio.get_running_loop().call_later(PAIR_TIMEOUT_S, self._expire, key)
            pair = self._waiting[key] = _Pair(port, timer)
        if pair.port != port or kind in pair.streams:
            raise StreamRefusedError(f"request {key[:64]!r} has its {kind} stream, or is for another port")
        pair.streams[kind] = stream
        if len(pair.streams) == 2:
            del self._waiting[key]
            pair.timer.cancel()
            self._start(self._serve(port, pair.streams["data"], pair.streams["error"]))

    async def stop(self) -> None:
        """End all connections."""
        for pair in self._waiting.values():
            pair.timer.cancel()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _expire(self, key: str) -> None:
        pair = self._waiting.pop(key)
        for stream in pair.streams.values():
            self._start(_reset(stream))

    async def _serve(self, port: int, data: SpdyStream, error: SpdyStream) -> None:
        error.stop_receiving()
        text = await self._forward(port, data)
        # A client may go on talking to a connection that has ended; nobody would take it.
        data.stop_receiving()
        with contextlib.suppress(SocketClosedError):
            if text:
                await error.send(text.encode())
            await error.send_end()
            await data.send_end()


async def _reset(stream: SpdyStream) -> None:
    with contextlib.suppress(SocketClosedError):
        await stream.reset()


def parse_port(text: str) -> int:
    """Raises StreamRefusedError for what is no port."""
    port = int(text) if text.isascii() and text.isdecimal() and len(text) < 6 else 0
    if not 0 < port < 65536:
        raise StreamRefusedError(f"port {text[:64]!r} is not a number from 1 to 65535")
    return port


def want_request_id(stream: SpdyStream, kind: str) -> str:
    """Old clients name no request; they open the error stream and then, with the next id, the data stream."""
    return stream.headers.get("requestid") or str(stream.id if kind == "error" else stream.id - 2)
