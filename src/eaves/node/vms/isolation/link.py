"""The node's end of the line to a small guest's agent: one connection a machine, many sessions.

A guest is free to send what it likes: frames and what waits of a session are bounded, and a guest that keeps to no bound loses its line.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from pathlib import Path

from eaves.node.vms.isolation.guest import frames
from eaves.node.workloads.sessions import Command, Output, SessionError

_READ_BYTES = 128 << 10
_CLOSE_LIMIT_S = 10.0
_KILLED = 137
"""How a command has ended when its guest has: as when its container is killed."""
_TEXT_LIMIT = 500
_OUTPUTS = {frames.OUTPUT: Output.STDOUT, frames.ERRORS: Output.STDERR}


class Channel:
    """One session of a link."""

    def __init__(self, link: GuestLink, number: int) -> None:
        self._link = link
        self._number = number
        self._heard: deque[tuple[Output, bytes]] = deque()
        self._allowed_bytes = frames.WINDOW_BYTES
        self._room = frames.WINDOW_BYTES
        self._change = asyncio.Event()
        self._code: int | None = None
        self._failure = ""

    async def receive(self) -> tuple[Output, bytes] | None:
        """The next output; None at the end."""
        while not self._heard:
            if self._is_over:
                return None
            self._change.clear()
            await self._change.wait()
        return self._heard.popleft()

    async def taken(self, count: int) -> None:
        """So much of what was received has been handed on, and may come again."""
        self._allowed_bytes += count
        await self._link.send(frames.TAKEN, self._number, frames.encode_count(count))

    def result(self) -> int:
        """The exit code, once :meth:`receive` has told the end. Raises SessionError when nothing ran."""
        if self._failure:
            raise SessionError(self._failure)
        return self._code or 0

    async def write(self, data: bytes) -> None:
        """Waits while nobody reads it; after the end it goes nowhere."""
        view = memoryview(data)
        while view and not self._is_over:
            if self._room <= 0:
                self._change.clear()
                await self._change.wait()
                continue
            piece = view[: min(self._room, frames.DATA_BYTES)]
            self._room -= len(piece)
            view = view[len(piece) :]
            await self._link.send(frames.INPUT, self._number, bytes(piece))

    async def send(self, kind: int, payload: bytes = b"") -> None:
        await self._link.send(kind, self._number, payload)

    async def close(self) -> None:
        """A command that still runs is killed; waits for that, within reason."""
        try:
            if not self._is_over:
                await self._link.send(frames.CLOSE, self._number)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_CLOSE_LIMIT_S):
                        await self._wait_end()
        finally:
            self._link.forget(self._number)

    @property
    def _is_over(self) -> bool:
        return self._code is not None or bool(self._failure)

    async def _wait_end(self) -> None:
        while not self._is_over:
            self._change.clear()
            await self._change.wait()

    def take(self, kind: int, payload: bytes) -> None:
        """What the guest says of it. Raises ValueError for what no agent says."""
        if kind in _OUTPUTS:
            self._allowed_bytes -= len(payload)
            if self._allowed_bytes < 0:
                raise ValueError("more output than was asked for")
            self._heard.append((_OUTPUTS[kind], payload))
        elif kind == frames.TAKEN:
            self._room = min(self._room + frames.parse_count(payload), frames.WINDOW_BYTES)
        elif kind == frames.EXIT:
            self._code = frames.parse_count(payload)
        elif kind == frames.FAILED:
            text = payload[:_TEXT_LIMIT].decode(errors="replace")
            self._failure = "".join(letter for letter in text if letter.isprintable()) or "the guest does not say why"
        self._change.set()

    def cut(self) -> None:
        """The line has gone, with all that ran."""
        if not self._is_over:
            self._code = _KILLED
        self._change.set()


class GuestLink:
    """Open with :meth:`open`; ends by itself when the guest does."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._decoder = frames.Decoder()
        self._channels: dict[int, Channel] = {}
        self._last = 0
        self._listening: asyncio.Task[None] | None = None
        self.is_closed = False

    @classmethod
    async def open(cls, path: Path) -> GuestLink:
        """Waits until the agent answers. Raises OSError, EOFError, ValueError."""
        made = cls(*await asyncio.open_unix_connection(path))
        try:
            await made._greet()
        except BaseException:
            made._writer.close()
            raise
        made._listening = asyncio.create_task(made._listen(), name="guest agent")
        return made

    async def start(self, command: Command) -> Channel:
        """Order a command; what becomes of it the channel tells."""
        self._last += 1
        channel = Channel(self, self._last)
        self._channels[self._last] = channel
        flags = (frames.IS_TERMINAL if command.tty else 0) | (frames.HAS_INPUT if command.stdin else 0)
        words = [word.encode(errors="surrogateescape") for word in command.argv]
        await self.send(frames.OPEN, self._last, frames.encode_order(words, flags))
        if self.is_closed:
            channel.cut()
        return channel

    async def send(self, kind: int, number: int, payload: bytes = b"") -> None:
        """After the end it goes nowhere."""
        if self.is_closed:
            return
        self._writer.write(frames.encode_frame(kind, number, payload))
        with contextlib.suppress(OSError):
            await self._writer.drain()

    def forget(self, number: int) -> None:
        self._channels.pop(number, None)

    async def close(self) -> None:
        """The agent ends all that still runs."""
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.wait((self._listening,))
        # One that was cancelled before its first step has not done so.
        self._end()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def _greet(self) -> None:
        """Whatever an earlier connection left in the line ends before the answer to our own number."""
        mark = os.urandom(16)
        self._writer.write(frames.ABORT + frames.encode_frame(frames.HELLO, 0, mark))
        await self._writer.drain()
        while (frames.HELLO, 0, mark) not in await self._receive():
            continue

    async def _listen(self) -> None:
        try:
            while True:
                for kind, number, payload in await self._receive():
                    if (channel := self._channels.get(number)) is not None:
                        channel.take(kind, payload)
        except (OSError, EOFError, ValueError):
            # The guest has gone, or says what no agent says.
            return
        finally:
            self._end()

    def _end(self) -> None:
        self.is_closed = True
        self._writer.close()
        for channel in self._channels.values():
            channel.cut()

    async def _receive(self) -> list[tuple[int, int, bytes]]:
        data = await self._reader.read(_READ_BYTES)
        if not data:
            raise EOFError("the guest has gone")
        return self._decoder.feed(data)
