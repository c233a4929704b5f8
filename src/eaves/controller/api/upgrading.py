"""Connections that turn into SPDY: what kubectl before 1.31, k9s and older client libraries ask for instead of a WebSocket.

Upgrades on the way to the API of a cluster, WebSockets too, are shown in the same way: as bytes, whatever they mean.

A request with ``Upgrade: SPDY/3.1`` is shown to the application as a WebSocket whose messages are the connection's bytes, with the
subprotocols ``SPDY/3.1+NAME`` for each name in the client's ``X-Stream-Protocol-Version``: just as a client that carries SPDY inside a
WebSocket would look. So handlers serve both, and only the bytes around the connection differ.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from eaves.controller.api.http import CUT
from eaves.controller.serving import WAITING_REQUESTS

SPDY_PREFIX = "SPDY/3.1+"
_UPGRADE = b"spdy/3.1"
_RAW_PATH = re.compile(rb"/apis/[^/]+/[^/]+/namespaces/[^/]+/k3sclusters/[^/]+/proxy(?:[/?]|$)")
"""The API of a cluster: what is agreed there is its and the client's business, so the bytes behind the head are carried as they are."""
_VERSIONS = b"x-stream-protocol-version"
_GONE_CODE, _GOING_CODE = 1006, 1012

Message = dict[str, Any]


class UpgradingProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, which hands such connections over as it does with WebSockets, and keeps few requests that wait."""

    def _should_upgrade(self) -> bool:
        return super()._should_upgrade() or self._get_upgrade() == _UPGRADE

    def on_headers_complete(self) -> None:
        if len(self.pipeline) >= WAITING_REQUESTS:
            raise httptools.HttpParserError("too many requests wait on this connection")
        extensions: dict[str, Any] = {CUT: self.transport.abort}
        self.scope["extensions"] = extensions
        super().on_headers_complete()

    def handle_websocket_upgrade(self) -> None:
        if self._get_upgrade() != _UPGRADE and _RAW_PATH.match(self.url) is None:
            super().handle_websocket_upgrade()
            return
        self.connections.discard(self)
        raw_path, _, query = self.url.partition(b"?")
        scope = {
            **self.scope,
            "type": "websocket",
            "path": unquote(raw_path.decode("ascii", "replace")),
            "raw_path": raw_path,
            "query_string": query,
            "subprotocols": _subprotocols(self.headers),
            "extensions": {"websocket.http.response": {}},
        }
        upgraded = UpgradedProtocol(self.transport, self.server_state)
        self.transport.set_protocol(upgraded)
        upgraded.start(lambda: self.app(scope, upgraded.receive, upgraded.send))


class UpgradedProtocol(asyncio.Protocol):
    """Owns the connection from the upgrade on, and speaks ASGI's messages for WebSockets with the application."""

    def __init__(self, transport: asyncio.Transport, state: ServerState) -> None:
        self.transport = transport
        self._state = state
        self._received: asyncio.Queue[Message] = asyncio.Queue()
        self._writable = asyncio.Event()
        self._writable.set()
        self._is_paused = False
        self._is_lost = False
        self._refusal: Message | None = None
        state.connections.add(self)  # type: ignore[arg-type]  # it has what the server uses of one

    def start(self, serve: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._received.put_nowait({"type": "websocket.connect"})
        task = asyncio.get_running_loop().create_task(self._run(serve))
        self._state.tasks.add(task)
        task.add_done_callback(self._state.tasks.discard)

    def shutdown(self) -> None:
        """The server stops."""
        self._received.put_nowait({"type": "websocket.disconnect", "code": _GOING_CODE})
        self.transport.close()

    async def receive(self) -> Message:
        message = await self._received.get()
        if self._is_paused and self._received.empty():
            self._is_paused = False
            self.transport.resume_reading()
        return message

    async def send(self, message: Message) -> None:
        await self._writable.wait()
        if self._is_lost:
            raise ConnectionResetError("the client has gone")
        match message["type"]:
            case "websocket.accept":
                headers = message.get("headers")
                accept = (
                    _render_accept(message.get("subprotocol") or "") if headers is None else _render_switch(headers)
                )
                self.transport.write(accept)
            case "websocket.send":
                self.transport.write(message["bytes"])
            case "websocket.close":
                self.transport.close()
            case "websocket.http.response.start":
                self._refusal = message
            case "websocket.http.response.body":
                assert self._refusal is not None
                self.transport.write(_render_refusal(self._refusal, message["body"]))
                self.transport.close()

    def data_received(self, data: bytes) -> None:
        self._received.put_nowait({"type": "websocket.receive", "bytes": data})
        if not self._is_paused:
            self._is_paused = True
            self.transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._state.connections.discard(self)
        self._is_lost = True
        # A sender that waits for room would wait for ever.
        self._writable.set()
        self._received.put_nowait({"type": "websocket.disconnect", "code": _GONE_CODE})

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    async def _run(self, serve: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            with contextlib.suppress(ConnectionResetError):
                await serve()
        finally:
            self.transport.close()


def _subprotocols(headers: list[tuple[bytes, bytes]]) -> list[str]:
    """The client's stream protocols, by its preference; it may send one header each or one with commas."""
    values = [value.decode("latin-1") for name, value in headers if name == _VERSIONS]
    return [f"{SPDY_PREFIX}{name.strip()}" for value in values for name in value.split(",") if name.strip()]


def _render_accept(subprotocol: str) -> bytes:
    lines = ["HTTP/1.1 101 Switching Protocols", "Connection: Upgrade", "Upgrade: SPDY/3.1"]
    if name := subprotocol.removeprefix(SPDY_PREFIX):
        lines.append(f"X-Stream-Protocol-Version: {name}")
    return "\r\n".join([*lines, "", ""]).encode()


def _render_switch(headers: list[tuple[bytes, bytes]]) -> bytes:
    """The answer of whoever speaks at the other end."""
    lines = [b"HTTP/1.1 101 Switching Protocols", *(name + b": " + value for name, value in headers)]
    return b"\r\n".join([*lines, b"", b""])


def _render_refusal(start: Message, body: bytes) -> bytes:
    code = start["status"]
    lines = [f"HTTP/1.1 {code} {HTTPStatus(code).phrase}".encode(), b"connection: close"]
    lines += [name + b": " + value for name, value in start["headers"]]
    return b"\r\n".join([*lines, b"", body])
