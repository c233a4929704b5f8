"""Carries bytes between a client and a node's stream, until both have said all or one breaks off."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Protocol

from eaves.controller.api.sockets import SocketClosedError
from eaves.tunnel.stream import StreamClosedError, TunnelStream
from eaves.wire.tunnel import DONE, CloseCause, CloseCode

_GONE = CloseCause(CloseCode.GONE, "the client has gone")


class ByteStream(Protocol):
    """The client's side."""

    @property
    def is_broken(self) -> bool:
        """Whether the client broke off; known once :meth:`receive` has answered None."""
        ...

    @property
    def has_half_close(self) -> bool:
        """Whether one way can end before the other; if not, the end of the node's data ends all."""
        ...

    async def receive(self) -> bytes | None:
        """None at the end of what the client says."""
        ...

    async def send(self, data: bytes) -> None:
        """Waits while the client does not read. Raises SocketClosedError."""
        ...

    async def send_end(self) -> None:
        """Raises SocketClosedError."""
        ...


class _BrokenOffError(Exception):
    """One side is no longer there, so the other way is of no use either."""


async def relay(client: ByteStream, node: TunnelStream) -> CloseCause:
    """Carry until the end and close the node's stream; answers why it ended. Each way waits for its reader."""
    pumps = {
        asyncio.create_task(_pump_up(client, node), name="relay to the node"),
        asyncio.create_task(_pump_down(node, client), name="relay to the client"),
    }
    ending = _GONE
    try:
        await asyncio.wait(pumps, return_when=asyncio.FIRST_EXCEPTION)
        if all(pump.done() and pump.exception() is None for pump in pumps):
            ending = DONE
        elif unexpected := [error for pump in pumps if (error := _error_of(pump)) is not None]:
            raise unexpected[0]
    finally:
        for pump in pumps:
            pump.cancel()
        # Before anything else is waited for: who is cancelled twice gets no further.
        await node.close(ending)
        await asyncio.wait(pumps)
    return node.cause or ending


def _error_of(pump: asyncio.Task[None]) -> BaseException | None:
    """An error that is not the end of one side."""
    error = pump.exception() if pump.done() else None
    return None if isinstance(error, _BrokenOffError | SocketClosedError | StreamClosedError) else error


async def _pump_up(client: ByteStream, node: TunnelStream) -> None:
    while (data := await client.receive()) is not None:
        await node.send(data)
    if client.is_broken:
        raise _BrokenOffError
    await node.send_end()


async def _pump_down(node: TunnelStream, client: ByteStream) -> None:
    while (data := await node.receive()) is not None:
        await client.send(data)
    with contextlib.suppress(SocketClosedError):
        await client.send_end()
    if node.cause is not None or not client.has_half_close:
        raise _BrokenOffError
