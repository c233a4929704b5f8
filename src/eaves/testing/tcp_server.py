"""A TCP server on loopback for stand-ins, whose end leaves nothing: no task, no transport, also of a connection that just came."""

from __future__ import annotations

import asyncio
import socket
import weakref
from collections.abc import Awaitable, Callable

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

_TURNS_OF_AN_ACCEPT = 3
"""Turns of the loop from the acceptance of a connection to its callback."""


class TcpServer:
    """``talk`` runs once a connection, in a task of its own."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._lingering: weakref.WeakSet[asyncio.StreamWriter] = weakref.WeakSet()
        """Closed by their talks, with last bytes that may still wait for a peer to take them."""
        self.port = 0

    @property
    def is_running(self) -> bool:
        return self._server is not None

    async def start(self, port: int = 0, *, listening: socket.socket | None = None) -> None:
        """Listen; ``port`` 0 takes a free one. ``listening`` is a socket that is bound already, which :meth:`stop` closes."""
        if listening is not None:
            self._server = await asyncio.start_server(self._accept, sock=listening)
        else:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening, cut every connection and wait for the talks to end."""
        if self._server is None:
            return
        self._server.close()
        for _ in range(_TURNS_OF_AN_ACCEPT):
            await asyncio.sleep(0)
        for task, writer in self._open.items():
            writer.transport.abort()
            task.cancel()
        if self._open:
            await asyncio.wait(list(self._open))
        for writer in self._lingering:
            writer.transport.abort()
        # An aborted transport closes its socket in the loop's next turn.
        await asyncio.sleep(0)
        self._server = None

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A plain function: it runs as soon as there is a connection, so that none is unknown when the server stops.
        task = asyncio.create_task(self._serve(reader, writer))
        self._open[task] = writer
        task.add_done_callback(self._forget)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._talk(reader, writer)

    def _forget(self, task: asyncio.Task[None]) -> None:
        writer = self._open.pop(task)
        # Closed by the talk already = its last bytes are on their way and are not cut.
        if writer.is_closing():
            self._lingering.add(writer)
        else:
            writer.transport.abort()
        if (
            not task.cancelled()
            and (error := task.exception()) is not None
            and not isinstance(error, OSError | EOFError)
        ):
            # Told by the loop's handler, as for any task that nobody awaits.
            task.get_loop().call_exception_handler({"message": "a talk failed", "exception": error, "task": task})
