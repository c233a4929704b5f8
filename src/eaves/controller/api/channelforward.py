"""Port-forward by channels: one WebSocket with one connection to each of the ports that it names.

Port number *i* of the query has channel 2i for data and 2i+1 for errors; each message begins with its channel's number as one byte. First
of all the server sends each port's number on its two channels, as two bytes, low byte first. There is no half-close: the WebSocket ends
when one side has said all. As a kubelet's streaming server does it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from eaves.controller.api.inboxes import Inbox, Intake
from eaves.controller.api.sockets import Socket, SocketClosedError
from eaves.controller.api.spdyforward import Forward


async def serve_channels(socket: Socket, ports: Sequence[int], forward: Forward) -> None:
    """Serve one client until it has gone or every connection has ended. Raises SocketClosedError."""
    intake = Intake()
    channels = [_Channel(socket, intake, 2 * index) for index in range(len(ports))]
    for channel, port in zip(channels, ports, strict=True):
        await channel.announce(port)
    serving = asyncio.create_task(_serve_all(channels, ports, forward), name="forward by channels")
    reading = asyncio.create_task(_read(socket, intake, channels), name="forward from the client")
    try:
        await asyncio.wait({serving, reading}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (serving, reading):
            task.cancel()
        await asyncio.wait({serving, reading})
    for task in (serving, reading):
        if not task.cancelled():
            task.result()


class _Channel:
    """The client's side of one connection."""

    has_half_close = False

    def __init__(self, socket: Socket, intake: Intake, number: int) -> None:
        self.is_broken = True
        """A client that says no more has closed its WebSocket."""
        self.inbox = Inbox(intake)
        self._socket = socket
        self._number = number

    async def announce(self, port: int) -> None:
        for number in (self._number, self._number + 1):
            await self._socket.send(bytes((number,)) + port.to_bytes(2, "little"))

    async def receive(self) -> bytes | None:
        return await self.inbox.receive()

    async def send(self, data: bytes) -> None:
        await self._socket.send(bytes((self._number,)) + data)

    async def send_error(self, text: str) -> None:
        await self._socket.send(bytes((self._number + 1,)) + text.encode())

    async def send_end(self) -> None:
        """Cannot be said but by the end of the WebSocket."""


async def _serve_all(channels: Sequence[_Channel], ports: Sequence[int], forward: Forward) -> None:
    async with asyncio.TaskGroup() as group:
        for channel, port in zip(channels, ports, strict=True):
            group.create_task(_serve(channel, port, forward))


async def _serve(channel: _Channel, port: int, forward: Forward) -> None:
    text = await forward(port, channel)
    channel.inbox.shut()
    if text:
        with contextlib.suppress(SocketClosedError):
            await channel.send_error(text)


async def _read(socket: Socket, intake: Intake, channels: Sequence[_Channel]) -> None:
    while (message := await socket.receive()) is not None:
        if not isinstance(message, bytes) or not message:
            continue
        index, is_error = divmod(message[0], 2)
        if is_error or index >= len(channels):
            continue
        inbox = channels[index].inbox
        inbox.put(message[1:])
        await intake.wait_room(inbox)
