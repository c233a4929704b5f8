"""How a device of tests calls a gateway: in-process, or over TLS."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from msgspec import Struct

from eaves.kit import streams
from eaves.wire import paths


class Reply(Struct, frozen=True):
    """An HTTP answer; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport(Protocol):
    """Carries one call."""

    async def call(
        self, method: str, path: str, body: bytes = b"", headers: Sequence[tuple[str, str]] = ()
    ) -> Reply: ...


class AsgiTransport:
    """Calls an ASGI app in this process. ``source`` is the address that it comes from."""

    def __init__(self, app: Callable[..., Awaitable[None]], source: str = "192.0.2.1") -> None:
        self._app = app
        self._source = source

    async def call(self, method: str, path: str, body: bytes = b"", headers: Sequence[tuple[str, str]] = ()) -> Reply:
        return await self.call_in_parts(method, path, [body], headers, is_sized=True)

    async def call_in_parts(
        self,
        method: str,
        path: str,
        parts: Sequence[bytes | None],
        headers: Sequence[tuple[str, str]] = (),
        *,
        is_sized: bool = False,
    ) -> Reply:
        """Send a body in several parts; None stands for a sender that stops talking."""
        sent: list[Any] = []
        queue = list(parts)
        raw = [(name.lower().encode(), value.encode()) for name, value in headers]
        if is_sized:
            raw.append((b"content-length", str(sum(len(part or b"") for part in parts)).encode()))

        async def receive() -> Any:
            if not queue:
                return {"type": "http.disconnect"}
            part = queue.pop(0)
            if part is None:
                await asyncio.Event().wait()
            return {"type": "http.request", "body": part, "more_body": bool(queue)}

        async def send(message: Any) -> None:
            sent.append(message)

        raw_path, _, query = path.partition("?")
        scope = {
            "type": "http",
            "method": method,
            "path": raw_path,
            "raw_path": raw_path.encode(),
            "query_string": query.encode(),
            "headers": raw,
            "client": (self._source, 50000),
        }
        await self._app(scope, receive, send)
        start = sent[0]
        found = {name.decode(): value.decode() for name, value in start["headers"]}
        return Reply(start["status"], found, b"".join(message.get("body", b"") for message in sent[1:]))


class TlsTransport:
    """One kept HTTP/1.1 connection over TLS, opened when needed and again after it was closed."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext) -> None:
        self._host = host
        self._port = port
        self._context = context
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def call(self, method: str, path: str, body: bytes = b"", headers: Sequence[tuple[str, str]] = ()) -> Reply:
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port, ssl=self._context)
        reader, writer = self._streams
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self._host}:{self._port}"]
        lines += [f"{name}: {value}" for name, value in headers]
        if method == "POST":
            lines += [f"Content-Length: {len(body)}", f"Content-Type: {paths.CONTENT_TYPE}"]
        try:
            writer.write("\r\n".join([*lines, "", ""]).encode() + body)
            await writer.drain()
            reply = await _read_reply(reader)
        except BaseException:
            await self.close()
            raise
        if reply.headers.get("connection") == "close":
            await self.close()
        return reply

    async def close(self) -> None:
        if self._streams is not None:
            _, writer = self._streams
            self._streams = None
            await streams.close(writer, 5)


async def _read_reply(reader: asyncio.StreamReader) -> Reply:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {}
    for line in head[1:]:
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip().lower()] = value.strip()
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Reply(int(head[0].split(" ")[1]), headers, body)
