"""Carries bytes between a stream of the tunnel and a socket of this machine, until both have said all or one breaks off."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct

from eaves.tunnel.stream import StreamClosedError, TunnelStream

READ_BYTES = 64 * 1024
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""``struct linger``: on, no time."""


class _BrokenOffError(Exception):
    """One side is no longer there, so the other way is of no use either."""


async def relay(stream: TunnelStream, connected: socket.socket) -> None:
    """Takes the socket over and closes it. Each way waits for its reader; the end of one way is handed on as such."""
    reader, writer = await asyncio.open_connection(sock=connected, limit=READ_BYTES)
    pumps = {
        asyncio.create_task(_pump_in(stream, writer), name="relay to the socket"),
        asyncio.create_task(_pump_out(reader, stream), name="relay from the socket"),
    }
    try:
        await asyncio.wait(pumps, return_when=asyncio.FIRST_EXCEPTION)
        for pump in pumps:
            error = pump.exception() if pump.done() else None
            if error is not None and not isinstance(error, OSError | StreamClosedError | _BrokenOffError):
                raise error
    finally:
        for pump in pumps:
            pump.cancel()
        # Before anything is waited for: who is cancelled twice gets no further.
        writer.close()
        await asyncio.wait(pumps)
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _pump_in(stream: TunnelStream, writer: asyncio.StreamWriter) -> None:
    while (data := await stream.receive()) is not None:
        writer.write(data)
        await writer.drain()
    if stream.cause is not None:
        _reset(writer)
        raise _BrokenOffError
    if not writer.is_closing():
        writer.write_eof()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Whoever is at the other end of the socket must not take a cut for an end."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    writer.transport.abort()


async def _pump_out(reader: asyncio.StreamReader, stream: TunnelStream) -> None:
    while data := await reader.read(READ_BYTES):
        await stream.send(data)
    await stream.send_end()
