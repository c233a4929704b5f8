"""One HTTP listener on one bridge (HTTP/1.1 by h11), bounded in connections, time and size for each caller.

It is bound to the bridge's device and address, so nothing from outside of the bridge reaches it, also not by way of routing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import urllib.parse
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import h11

from eaves.node.metadata.model import BODY_LIMIT_BYTES, Answer, Request

log = logging.getLogger(__name__)

CALLER_LIMIT = 8
"""Connections of one app at a time; one more is closed at once."""
TOTAL_LIMIT = 64
IDLE_LIMIT_S = 15.0
"""Between requests, and for a request to come in whole."""
SEND_LIMIT_S = 120.0
_HEAD_LIMIT_BYTES = 16 << 10
_READ_BYTES = 16 << 10
_FILE_BYTES = 64 << 10
_BACKLOG = 32

Respond = Callable[[str, str, Request], Awaitable[Answer]]
"""(address, port that the caller asks from, request) → answer."""
IsKnown = Callable[[str], bool]
"""Whether an address on this bridge is an app's."""


class Listener:
    """Use :meth:`open`. ``ifindex`` tells a bridge that was made anew under the same name."""

    def __init__(self, link: str, address: str, is_known: IsKnown, respond: Respond) -> None:
        self.ifindex = socket.if_nametoindex(link)
        self.address = address
        self.port = 0
        self._is_known = is_known
        self._respond = respond
        self._open: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @classmethod
    async def open(cls, link: str, address: str, is_known: IsKnown, respond: Respond) -> Listener:
        """Listen on a free port of ``address`` on the device ``link``. Raises OSError."""
        listener = cls(link, address, is_known, respond)
        # asyncio sends small pieces at once only on sockets that say that they are TCP's.
        inlet = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC, socket.IPPROTO_TCP)
        try:
            inlet.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, link.encode())
            inlet.bind((address, 0))
            listener.port = inlet.getsockname()[1]
            listener._server = await asyncio.start_server(
                listener._serve, sock=inlet, limit=_READ_BYTES, backlog=_BACKLOG
            )
        except BaseException:
            inlet.close()
            raise
        return listener

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        address, port = writer.get_extra_info("peername")[:2]
        try:
            # A caller that is no app gets nothing, not even an error.
            if self._is_known(address) and self._open[address] < CALLER_LIMIT and self._open.total() < TOTAL_LIMIT:
                self._open[address] += 1
                try:
                    await _Conversation(reader, writer).run(lambda request: self._respond(address, str(port), request))
                finally:
                    self._open[address] -= 1
        except (OSError, TimeoutError, asyncio.CancelledError):
            pass  # The caller went away, was too slow, or the network goes.
        finally:
            self._tasks.discard(task)
            writer.transport.abort() if writer.transport.is_closing() else writer.close()


class _Conversation:
    """The requests of one connection, one after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_HEAD_LIMIT_BYTES)

    async def run(self, respond: Callable[[Request], Awaitable[Answer]]) -> None:
        while True:
            try:
                async with asyncio.timeout(IDLE_LIMIT_S):
                    request = await self._receive()
            except h11.RemoteProtocolError as error:
                await self._refuse(error.error_status_hint, "this is no HTTP request")
                return
            except _TooLargeError:
                await self._refuse(413, f"a body has at most {BODY_LIMIT_BYTES} bytes")
                return
            if request is None:
                return
            answer = await respond(request)
            async with asyncio.timeout(SEND_LIMIT_S):
                await self._send(answer, with_body=request.method != "HEAD")
            if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                return
            self._http.start_next_cycle()

    async def _receive(self) -> Request | None:
        """None at the end of the connection."""
        head = await self._next()
        if not isinstance(head, h11.Request):
            return None
        if self._http.they_are_waiting_for_100_continue:
            go_on = h11.InformationalResponse(status_code=100, headers=[])
            self._writer.write(self._http.send(go_on) or b"")
        body = bytearray()
        while isinstance(event := await self._next(), h11.Data):
            body += event.data
            if len(body) > BODY_LIMIT_BYTES:
                raise _TooLargeError
        if not isinstance(event, h11.EndOfMessage):
            return None
        target = urllib.parse.urlsplit(head.target.decode("latin-1"))
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
        path = urllib.parse.unquote(target.path)
        return Request(head.method.decode("latin-1"), path, headers, bytes(body))

    async def _next(self) -> h11.Event | type[h11.PAUSED]:
        while True:
            event = self._http.next_event()
            if event is not h11.NEED_DATA:
                return event  # type: ignore[return-value]  # NEED_DATA is gone here, h11 types its sentinels loosely
            self._http.receive_data(await self._reader.read(_READ_BYTES))

    async def _refuse(self, status: int, message: str) -> None:
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            with contextlib.suppress(h11.LocalProtocolError):
                await self._send(Answer(status, f"{message}\n".encode(), headers=(("connection", "close"),)))

    async def _send(self, answer: Answer, *, with_body: bool = True) -> None:
        size = await asyncio.to_thread(_size_of, answer.file) if answer.file is not None else len(answer.body)
        headers = [("content-length", str(size)), *answer.headers]
        if answer.status != 204:
            headers.append(("content-type", answer.media_type))
        self._writer.write(self._http.send(h11.Response(status_code=answer.status, headers=headers)) or b"")
        if with_body and answer.file is not None:
            await self._send_file(answer.file, size)
        elif with_body and answer.body:
            self._writer.write(self._http.send(h11.Data(data=answer.body)) or b"")
        self._writer.write(self._http.send(h11.EndOfMessage()) or b"")
        await self._writer.drain()

    async def _send_file(self, path: Path, size: int) -> None:
        position = 0
        while position < size:
            piece = await asyncio.to_thread(_read, path, position, min(_FILE_BYTES, size - position))
            if not piece:
                raise ConnectionError("the file became shorter")
            self._writer.write(self._http.send(h11.Data(data=piece)) or b"")
            await self._writer.drain()
            position += len(piece)


class _TooLargeError(Exception):
    """Never leaves this module."""


def _size_of(path: Path) -> int:
    return path.stat().st_size


def _read(path: Path, position: int, count: int) -> bytes:
    with path.open("rb") as file:
        file.seek(position)
        return file.read(count)
