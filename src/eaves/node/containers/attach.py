"""The output of a container as it is written, by its monitor's attach socket.

conmon's protocol: a SEQPACKET socket beside the container's configuration; each packet is one byte for the stream (2 stdout, 3 stderr) and
what was written to it. It begins with what is written from now on, and ends when the container does.
"""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

from eaves.node.workloads.sessions import Output, Session, SessionError, Take

_PACKET_BYTES = 64 << 10
_OUTPUTS = {2: Output.STDOUT, 3: Output.STDERR}


class AttachSession(Session):
    """Containers are made without an input, so what is typed goes nowhere."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    @classmethod
    async def open(cls, folder: Path) -> AttachSession:
        """``folder`` holds the monitor's socket. Raises SessionError when there is nobody to ask."""
        try:
            return cls(await asyncio.to_thread(_connect, folder))
        except OSError as error:
            raise SessionError(f"the container's monitor cannot be asked: {error.strerror}") from error

    async def pump(self, take: Take) -> int:
        loop = asyncio.get_running_loop()
        while packet := await _receive(loop, self._connection):
            if (output := _OUTPUTS.get(packet[0])) is not None and len(packet) > 1:
                await take(output, packet[1:])
        return 0

    async def write(self, data: bytes) -> None:
        """Goes nowhere."""

    async def close_input(self) -> None:
        """There is none."""

    async def resize(self, columns: int, rows: int) -> None:
        """There is no terminal."""

    async def close(self) -> None:
        self._connection.close()


async def _receive(loop: asyncio.AbstractEventLoop, connection: socket.socket) -> bytes:
    try:
        return await loop.sock_recv(connection, _PACKET_BYTES)
    except ConnectionError:
        return b""


def _connect(folder: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        # A socket's path may have 107 bytes; the folder's own may have more.
        descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY)
        try:
            connection.connect(f"/proc/self/fd/{descriptor}/attach")
        finally:
            os.close(descriptor)
        connection.setblocking(False)
    except BaseException:
        connection.close()
        raise
    return connection
