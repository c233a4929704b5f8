"""Pipes, sockets and terminals as file descriptors that the event loop reads and writes, one task each way.

For streams whose back-pressure must reach the one who writes: nothing is buffered here, other than by asyncio's own streams.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import pty
import struct
import termios
from collections.abc import Callable

READ_BYTES = 32 << 10
_GONE = (errno.EIO, errno.EPIPE, errno.ECONNRESET)
"""The other side has gone: EIO is a terminal's word for it."""


class Descriptor:
    """Owns ``number``, which is made non-blocking."""

    def __init__(self, number: int) -> None:
        os.set_blocking(number, False)
        self.number = number

    async def read(self) -> bytes:
        """What has come, at least a byte; empty at the end."""
        loop = asyncio.get_running_loop()
        while self.number >= 0:
            try:
                return os.read(self.number, READ_BYTES)
            except BlockingIOError:
                await _wait(self.number, loop.add_reader, loop.remove_reader)
            except OSError as error:
                if error.errno in _GONE:
                    break
                raise
        return b""

    async def write(self, data: bytes) -> None:
        """Waits while the other side does not read; when it has gone, ``data`` goes nowhere."""
        loop = asyncio.get_running_loop()
        view = memoryview(data)
        while view and self.number >= 0:
            try:
                view = view[os.write(self.number, view) :]
            except BlockingIOError:
                await _wait(self.number, loop.add_writer, loop.remove_writer)
            except OSError as error:
                if error.errno in _GONE:
                    return
                raise

    def close(self) -> None:
        """Nobody may be reading or writing."""
        if self.number >= 0:
            os.close(self.number)
            self.number = -1


class Terminal(Descriptor):
    """The near end of a pseudo-terminal: give :attr:`far` to a program as its standard streams and then call :meth:`close_far`."""

    def __init__(self, columns: int = 80, rows: int = 24) -> None:
        near, self.far = pty.openpty()
        super().__init__(near)
        self.resize(columns, rows)

    def resize(self, columns: int, rows: int) -> None:
        """Tell the programs in the foreground that their window has another size."""
        with contextlib.suppress(OSError):
            set_size(self.number, columns, rows)

    def close_far(self) -> None:
        """Our copy of the far end: without it, reading ends when the last program has closed its own."""
        if self.far >= 0:
            os.close(self.far)
            self.far = -1

    def close(self) -> None:
        """Hang up."""
        self.close_far()
        super().close()


def set_size(number: int, columns: int, rows: int) -> None:
    """The size of a terminal, from either end. Raises OSError for what is none."""
    fcntl.ioctl(number, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


async def _wait(number: int, add: Callable[..., object], remove: Callable[[int], object]) -> None:
    ready = asyncio.get_running_loop().create_future()
    add(number, lambda: None if ready.done() else ready.set_result(None))
    try:
        await ready
    finally:
        remove(number)
