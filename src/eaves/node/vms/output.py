"""What a machine's guest writes to its serial line, from now on: the session of those who attach to it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from eaves.node.workloads.sessions import Output, Session, SessionError, SessionUnsupportedError, Take

_READ_BYTES = 64 << 10


class OutputSession(Session):
    """Nothing can be typed: a container has no input either."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, path: Path) -> OutputSession:
        """``path``: the monitor's socket for those who listen. Raises SessionError when there is nobody to ask."""
        try:
            return cls(*await asyncio.open_unix_connection(path))
        except FileNotFoundError as error:
            raise SessionUnsupportedError("it has no serial line, or was started by an older Eaves") from error
        except OSError as error:
            raise SessionError(f"the machine's monitor cannot be asked: {error.strerror}") from error

    async def pump(self, take: Take) -> int:
        try:
            while data := await self._reader.read(_READ_BYTES):
                await take(Output.STDOUT, data)
        except ConnectionError:
            # A monitor that was killed, or the end of a client that was too slow.
            return 0
        return 0

    async def write(self, data: bytes) -> None:
        """Goes nowhere."""

    async def close_input(self) -> None:
        """There is none."""

    async def resize(self, columns: int, rows: int) -> None:
        """There is no terminal."""

    async def close(self) -> None:
        self._writer.close()
