"""Sends answers: whole ones with length, type, warnings and gzip, endless ones chunk by chunk, both also over WebSocket.

An endless answer must end when the client goes, though nothing is being sent at that moment: so one task pumps and another
listens for the disconnect, and whichever is first ends the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import zlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from eaves.controller.api.http import JSON, Message, Passage, Receive, Request, Response, Send, Stream
from eaves.controller.api.routing import is_true
from eaves.controller.api.sockets import Conversation, Socket, SocketClosedError
from eaves.kube import status

log = logging.getLogger(__name__)

GZIP_FROM_BYTES = 128 * 1024
GZIP_LEVEL = 1
"""A watch cache's worth of JSON shrinks tenfold even so, and the link is rarely slower than level 6."""
_WARNING_LIMIT = 4096
_NORMAL, _GOING_AWAY, _FAILED = 1000, 1001, 1011
"""Close codes of RFC 6455 7.4.1."""
_REASON_LIMIT = 123
_NO_CACHE = (b"cache-control", b"no-cache, private")


async def send_response(request: Request, response: Response, send: Send) -> None:
    """Send a whole answer; on a WebSocket that has not been accepted it is the refusal's body."""
    body = response.body
    if _wants_pretty(request) and response.content_type.startswith(JSON):
        body = msgspec.json.format(body, indent=2) + b"\n"
    headers = [(b"content-type", response.content_type.encode()), (b"audit-id", request.audit_id.encode())]
    if "Cache-Control" not in response.headers:
        headers.append(_NO_CACHE)
    headers.extend((name.encode(), value.encode("latin-1", "replace")) for name, value in response.headers.items())
    headers.extend(_warning_headers(request.warnings))
    if len(body) > GZIP_FROM_BYTES:
        headers.append((b"vary", b"Accept-Encoding"))
        if "gzip" in request.header(b"accept-encoding"):
            # Compressing megabytes takes tens of milliseconds that other requests need not wait for.
            body = await asyncio.to_thread(_gzip, body)
            headers.append((b"content-encoding", b"gzip"))
    headers.append((b"content-length", str(len(body)).encode()))
    if request.is_websocket:
        await send({"type": "websocket.http.response.start", "status": response.status_code, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": body})
        return
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if request.method == "HEAD" else body})


class Streams:
    """The endless answers under way, so that a server that stops can end them well."""

    def __init__(self) -> None:
        self._pumps: set[asyncio.Future[Any]] = set()

    def stop(self) -> None:
        """End every answer; each still sends its terminator, so that clients see an end and not an error."""
        for pump in self._pumps:
            pump.cancel()

    async def send(self, request: Request, stream: Stream, send: Send) -> None:
        """Send chunks until they end, the client goes or the server stops. The iterator is closed in every case."""
        await _start(request, stream, send)
        pump = asyncio.create_task(_pump(request, stream, send), name=f"stream {request.path}")
        gone = asyncio.create_task(_wait_gone(request.receive), name=f"disconnect {request.path}")
        self._pumps.add(pump)
        try:
            await asyncio.wait({pump, gone}, return_when=asyncio.FIRST_COMPLETED)
            is_gone = gone.done()
        finally:
            self._pumps.discard(pump)
            gone.cancel()
            pump.cancel()
            await asyncio.wait({pump, gone})
        if not pump.cancelled() and (error := pump.exception()) is not None:
            raise error
        if not is_gone:
            await _end(request, send)

    async def pass_on(self, request: Request, passage: Passage, send: Send) -> int:
        """Let a passage send its answer; the answer's code.

        Raises what the passage does, or ApiError 503 when the server stops, while nothing is sent.
        """
        is_started = False

        async def send_on(message: Message) -> None:
            nonlocal is_started
            is_started = True
            await send(message)

        run = asyncio.ensure_future(passage.run(send_on))
        self._pumps.add(run)
        try:
            await asyncio.wait({run})
        finally:
            self._pumps.discard(run)
            run.cancel()
            await asyncio.wait({run})
        error = status.service_unavailable("the controller stops") if run.cancelled() else run.exception()
        if error is None:
            return run.result()
        if not is_started:
            raise error
        log.info("answer cut: path=%s error=%s", request.path, error)
        request.cut()
        # The server hears of the connection's end in its next round.
        await asyncio.sleep(0)
        return 502

    async def converse(self, request: Request, conversation: Conversation, send: Send) -> None:
        """Accept the WebSocket and talk until the handler has said all, which includes that the client went, or the server stops."""
        await request.receive()
        with contextlib.suppress(OSError):
            # A client that has gone is seen by the talk, which may have something to put away.
            await send({"type": "websocket.accept", "subprotocol": conversation.subprotocol or None})
        socket = Socket(request.receive, send)
        talk = asyncio.ensure_future(conversation.talk(socket))
        self._pumps.add(talk)
        try:
            await asyncio.wait({talk})
        finally:
            self._pumps.discard(talk)
            talk.cancel()
            await asyncio.wait({talk})
        error = None if talk.cancelled() else talk.exception()
        if isinstance(error, SocketClosedError):
            return
        code = _GOING_AWAY if talk.cancelled() else _FAILED if error is not None else _NORMAL
        with contextlib.suppress(OSError):
            await send({"type": "websocket.close", "code": code, "reason": _cut(socket.reason)})
        if error is not None:
            raise error


async def _start(request: Request, stream: Stream, send: Send) -> None:
    headers = [
        (b"content-type", stream.content_type.encode()),
        (b"audit-id", request.audit_id.encode()),
        _NO_CACHE,
        *_warning_headers(request.warnings),
    ]
    if request.is_websocket:
        first: Any = await request.receive()
        if first["type"] == "websocket.connect":
            # A server must choose among the offered subprotocols.
            offered = request.subprotocols
            await send({"type": "websocket.accept", "subprotocol": offered[0] if offered else None})
        return
    await send({"type": "http.response.start", "status": 200, "headers": headers})


async def _pump(request: Request, stream: Stream, send: Send) -> None:
    try:
        async for chunk in stream.chunks:
            if not request.is_websocket:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            elif stream.is_lines:
                for line in chunk.splitlines():
                    await send({"type": "websocket.send", "text": line.decode("utf-8", "replace")})
            else:
                await send({"type": "websocket.send", "bytes": chunk})
    finally:
        await _close(stream.chunks)


async def _end(request: Request, send: Send) -> None:
    if request.is_websocket:
        await send({"type": "websocket.close", "code": _NORMAL})
    else:
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _close(chunks: AsyncIterator[bytes]) -> None:
    close = getattr(chunks, "aclose", None)
    if close is not None:
        await close()


async def _wait_gone(receive: Receive) -> None:
    while True:
        message = await receive()
        if message["type"] in ("http.disconnect", "websocket.disconnect"):
            return


def _cut(reason: str) -> str:
    """A control frame has no room for more."""
    return reason.encode()[:_REASON_LIMIT].decode(errors="ignore")


def _wants_pretty(request: Request) -> bool:
    """Looked for in the raw query first, which most requests are done with."""
    return b"pretty=" in request.scope["query_string"] and is_true(request.query, "pretty")


def _warning_headers(warnings: list[str]) -> list[tuple[bytes, bytes]]:
    """``299 - "text"`` a warning, bounded together so that no client's header limit is met."""
    headers, size = [], 0
    for text in warnings:
        escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ").replace("\r", " ")
        size += len(escaped)
        if size > _WARNING_LIMIT:
            break
        headers.append((b"warning", f'299 - "{escaped}"'.encode()))
    return headers


def _gzip(body: bytes) -> bytes:
    compressor = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    return compressor.compress(body) + compressor.flush()
