"""Streams of kind ``logs``: the lines of one app as they are written, while somebody follows them.

Lines go to the log store first, as ever, so that what a follower misses was or will be uploaded: a follower that is too slow is cut off
rather than waited for, and goes on with what is uploaded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from eaves.kit.errors import EavesError
from eaves.node.observed import LogLine
from eaves.node.tunnel.abc import Offer
from eaves.tunnel.stream import TunnelStream
from eaves.wire import livelogs
from eaves.wire.livelogs import LiveLine, LiveStart, LogsParameters
from eaves.wire.tunnel import StreamRequest, parse_parameters

QUEUE_LINES = 2000
"""Lines that wait for one follower."""
_BATCH_BYTES = 48 << 10


class FollowerTooSlowError(EavesError):
    code = "FollowerTooSlow"


class _Follower:
    def __init__(self, app_id: str) -> None:
        self.app_id = app_id
        self.lines: asyncio.Queue[LogLine] = asyncio.Queue(QUEUE_LINES)
        self.is_behind = False

    def offer(self, line: LogLine) -> None:
        if self.lines.full():
            self.is_behind = True
        else:
            self.lines.put_nowait(line)


class LiveLogs:
    """Handler of the streams, and what log lines pass through. ``keep`` stores lines, ``last_number`` tells an app's last stored one."""

    def __init__(self, keep: Callable[[list[LogLine]], Awaitable[None]], last_number: Callable[[str], int]) -> None:
        self._keep = keep
        self._last_number = last_number
        self._followers: set[_Follower] = set()

    async def deliver(self, lines: list[LogLine]) -> None:
        """Keep lines and show them to who follows their apps; returns when they are kept."""
        await self._keep(lines)
        for follower in self._followers:
            for line in lines:
                if line.app_id == follower.app_id:
                    follower.offer(line)

    async def serve(self, request: StreamRequest, offer: Offer) -> None:
        wanted = parse_parameters(request, LogsParameters)
        stream = await offer.accept()
        # Whatever is stored after this number is offered to the follower.
        follower, start = _Follower(wanted.app), LiveStart(self._last_number(wanted.app))
        self._followers.add(follower)
        listening = asyncio.create_task(_wait_end(stream), name="log follower's end")
        showing = asyncio.create_task(_show(follower, start, stream), name="log follower")
        try:
            await asyncio.wait((listening, showing), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._followers.discard(follower)
            for task in (listening, showing):
                task.cancel()
            await asyncio.wait((listening, showing))
        if not showing.cancelled():
            showing.result()


async def _show(follower: _Follower, start: LiveStart, stream: TunnelStream) -> None:
    await stream.send(livelogs.encode_record(start))
    while not follower.is_behind:
        batch = bytearray(_render(await follower.lines.get()))
        while not follower.lines.empty() and len(batch) < _BATCH_BYTES:
            batch += _render(follower.lines.get_nowait())
        await stream.send(bytes(batch))
    raise FollowerTooSlowError("the follower does not take the lines as fast as they are written")


def _render(line: LogLine) -> bytes:
    return livelogs.encode_record(LiveLine(line.number, line.time_ns, line.stream, line.text, line.run))


async def _wait_end(stream: TunnelStream) -> None:
    """A follower has nothing to say; it ends the stream when it goes."""
    while await stream.receive() is not None:
        pass
