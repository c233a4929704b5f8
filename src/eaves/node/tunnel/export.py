"""Streams of kind ``export``: an image of a volume, for who takes it away. What is sent is :mod:`eaves.wire.export`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import BinaryIO, Protocol

from eaves.kit.errors import EavesError
from eaves.node.errors import as_fault
from eaves.node.tunnel.abc import Offer, RefusedError
from eaves.tunnel.stream import StreamClosedError, TunnelStream
from eaves.wire.export import ExportLine, ExportParameters, encode_line
from eaves.wire.tunnel import RefusalCode, StreamRequest, parse_parameters

READ_BYTES = 256 << 10


class Exported(Protocol):
    """An image that is whole; see :class:`eaves.node.volumes.exports.Export`."""

    @property
    def token(self) -> str: ...
    @property
    def path(self) -> Path: ...
    @property
    def size_bytes(self) -> int: ...
    @property
    def virtual_bytes(self) -> int: ...
    @property
    def sha256(self) -> str: ...


class Exporter(Protocol):
    """Makes images. Raises EavesError or OSError."""

    def find_export(self, token: str) -> Exported | None: ...

    async def make_export(self, wanted: ExportParameters, say: Callable[[int], Awaitable[None]]) -> Exported: ...


class ExportHandler:
    def __init__(self, exporter: Exporter) -> None:
        self._exporter = exporter

    async def serve(self, request: StreamRequest, offer: Offer) -> None:
        wanted = parse_parameters(request, ExportParameters)
        export = self._exporter.find_export(wanted.token) if wanted.token else None
        if wanted.token and (export is None or not 0 <= wanted.offset <= export.size_bytes):
            raise RefusedError(RefusalCode.NOT_FOUND, "the image is not kept any more; start anew")
        stream = await offer.accept()
        gone = asyncio.create_task(_wait_end(stream), name="reader of an export")
        sending = asyncio.create_task(self._send(stream, wanted, export), name="export")
        try:
            # Nobody makes an image for a reader that has gone.
            await asyncio.wait((gone, sending), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (gone, sending):
                task.cancel()
            await asyncio.wait((gone, sending))
        if not sending.cancelled():
            sending.result()

    async def _send(self, stream: TunnelStream, wanted: ExportParameters, export: Exported | None) -> None:
        async def say(made_bytes: int) -> None:
            await stream.send(encode_line(ExportLine(made_bytes=made_bytes)))

        if export is None:
            try:
                export = await self._exporter.make_export(wanted, say)
            except StreamClosedError:
                raise
            except (EavesError, OSError) as error:
                fault = as_fault(error, since=0.0)
                await stream.send(encode_line(ExportLine(error=fault.message, resolution=fault.resolution)))
                await stream.send_end()
                return
        line = ExportLine(
            token=export.token,
            name=export.path.name,
            format="qcow2",
            size_bytes=export.size_bytes,
            virtual_bytes=export.virtual_bytes,
            sha256=export.sha256,
        )
        await stream.send(encode_line(line))
        async for data in _read(export.path, wanted.offset):
            await stream.send(data)
            # Each piece says that the image is in use.
            self._exporter.find_export(export.token)
        await stream.send_end()


async def _read(path: Path, offset: int) -> AsyncIterator[bytes]:
    file = await asyncio.to_thread(_open, path, offset)
    try:
        while data := await asyncio.to_thread(file.read, READ_BYTES):
            yield data
    finally:
        await asyncio.to_thread(file.close)


def _open(path: Path, offset: int) -> BinaryIO:
    file = path.open("rb")
    file.seek(offset)
    return file


async def _wait_end(stream: TunnelStream) -> None:
    """A reader has nothing to say; it ends the stream when it goes."""
    while await stream.receive() is not None:
        pass
