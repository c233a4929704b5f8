"""A TCP proxy that misbehaves on demand: slow, cutting, silent, or changing a byte of what a registry serves."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from types import TracebackType

from eaves.testing.tcp_server import TcpServer

_CHUNK = 16 << 10


@dataclass
class Faults:
    """What to do to answers; may be changed while the proxy runs. ``cut_after_bytes`` counts per connection, 0 = never."""

    bytes_per_s: int = 0
    cut_after_bytes: int = 0
    is_silent: bool = False
    is_corrupt: bool = False
    """Change one byte of each answer with a big body (a blob), and of manifests."""


class FaultProxy:
    """Use as an async context manager; ``server`` is its address. ``served_bytes`` counts what clients got."""

    def __init__(self, target: str, faults: Faults | None = None) -> None:
        self._host, _, port = target.partition(":")
        self._port = int(port)
        self.faults = faults or Faults()
        self.served_bytes = 0
        self.connections = 0
        self._server = TcpServer(self._pass_on)

    @property
    def server(self) -> str:
        return f"127.0.0.1:{self._server.port}"

    async def __aenter__(self) -> FaultProxy:
        await self._server.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._server.stop()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            onward_reader, onward_writer = await asyncio.open_connection(self._host, self._port)
        except OSError:
            return
        requests = asyncio.create_task(_copy(reader, onward_writer))
        try:
            await self._answer(onward_reader, writer)
            writer.close()
        except ConnectionError:
            pass
        finally:
            requests.cancel()
            onward_writer.transport.abort()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await requests

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sent = 0
        while chunk := await reader.read(_CHUNK):
            if self.faults.is_silent:
                await asyncio.Event().wait()
            if self.faults.is_corrupt:
                chunk = _corrupt(chunk)
            if self.faults.bytes_per_s:
                await asyncio.sleep(len(chunk) / self.faults.bytes_per_s)
            writer.write(chunk)
            await writer.drain()
            sent += len(chunk)
            self.served_bytes += len(chunk)
            if self.faults.cut_after_bytes and sent >= self.faults.cut_after_bytes:
                writer.transport.abort()
                return


def _corrupt(chunk: bytes) -> bytes:
    """Change the last byte of a chunk that is (part of) a body; heads stay as they are."""
    _, found, body = chunk.partition(b"\r\n\r\n")
    if chunk.startswith(b"HTTP/") and not (found and body):
        return chunk
    return chunk[:-1] + bytes([chunk[-1] ^ 1])


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(_CHUNK):
        writer.write(chunk)
        await writer.drain()
    with contextlib.suppress(OSError):
        writer.write_eof()
