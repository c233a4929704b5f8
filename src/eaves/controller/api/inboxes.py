"""What several streams of one connection have received and nobody has taken yet, within bounds.

One :class:`Intake` a connection, one :class:`Inbox` a stream. Whoever reads the connection waits for room after each piece, so that a
reader that falls behind holds back the client and not the controller's memory.
"""

from __future__ import annotations

import asyncio
from collections import deque

STREAM_BYTES = 128 * 1024
CONNECTION_BYTES = 4 * 1024 * 1024
"""Received and not yet taken: of one stream, of all of a connection."""


class Intake:
    """Counts for one connection."""

    def __init__(self) -> None:
        self.waiting_bytes = 0
        self._taken = asyncio.Event()

    def note_come(self, count: int) -> None:
        self.waiting_bytes += count

    def note_taken(self, count: int) -> None:
        self.waiting_bytes -= count
        self._taken.set()

    async def wait_room(self, inbox: Inbox) -> None:
        """Until the stream and the connection are within their bounds again."""
        while inbox.waiting_bytes > STREAM_BYTES or self.waiting_bytes > CONNECTION_BYTES:
            self._taken.clear()
            await self._taken.wait()


class Inbox:
    """Of one stream. One task receives."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._chunks: deque[bytes] = deque()
        self._changed = asyncio.Event()
        self.is_ended = False
        """No more will come."""
        self._is_shut = False
        self.waiting_bytes = 0

    async def receive(self) -> bytes | None:
        """The next piece; None after the last."""
        while not self._chunks:
            if self.is_ended or self._is_shut:
                return None
            self._changed.clear()
            await self._changed.wait()
        chunk = self._chunks.popleft()
        self.waiting_bytes -= len(chunk)
        self._intake.note_taken(len(chunk))
        return chunk

    def put(self, data: bytes) -> None:
        """Data has come; it is dropped when nobody will take it."""
        if data and not self._is_shut and not self.is_ended:
            self._chunks.append(data)
            self.waiting_bytes += len(data)
            self._intake.note_come(len(data))
            self._changed.set()

    def end(self) -> None:
        """What has come is all."""
        self.is_ended = True
        self._changed.set()

    def shut(self) -> None:
        """Drop what has come and will come."""
        self._is_shut = True
        self._intake.note_taken(self.waiting_bytes)
        self._chunks.clear()
        self.waiting_bytes = 0
        self._changed.set()
