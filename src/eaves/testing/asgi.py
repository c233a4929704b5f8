"""Calls an ASGI application in-process: whole answers, and endless ones read line by line.

Unit tests of the controller's HTTP faces use it; it needs no port and no TLS, and unlike an HTTP client's ASGI transport it gives
chunks as they come.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from msgspec import Struct

LIMIT_S = 60
"""For one message over a WebSocket, on a machine that is busy with other tests."""


class Answer(Struct):
    """A whole answer."""

    status: int
    headers: dict[str, str]
    body: bytes
    warnings: list[str] = []

    def json(self) -> Any:
        return json.loads(self.body)


class AsgiClient:
    """A client of ``app``. ``token`` is sent as bearer token when given."""

    def __init__(self, app: Any, token: str = "") -> None:
        self._app = app
        self._token = token

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
        **query: Any,
    ) -> Answer:
        """``body`` is bytes, or anything that JSON can say. ``query`` values are turned to text."""
        stream = self.open(method, path, body, content_type=content_type, headers=headers, **query)
        return await stream.read_all()

    async def get(self, path: str, **query: Any) -> Any:
        """The JSON of a GET that must succeed."""
        answer = await self.call("GET", path, **query)
        assert answer.status == 200, answer.body.decode()
        return answer.json()

    def open(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
        **query: Any,
    ) -> AsgiStream:
        """An answer to read in parts; close it."""
        path, _, text = path.partition("?")
        text = "&".join(part for part in (text, urlencode(query)) if part)
        raw = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"host": "controller.test", **(headers or {})}
        if self._token:
            sent.setdefault("authorization", f"Bearer {self._token}")
        if raw:
            sent |= {"content-type": content_type, "content-length": str(len(raw))}
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": text.encode(),
            "headers": [(name.lower().encode(), value.encode()) for name, value in sent.items()],
            "client": ("192.0.2.1", 1234),
        }
        return AsgiStream(self._app, scope, raw)


class AsgiStream:
    """One request and its answer as it comes."""

    def __init__(self, app: Any, scope: dict[str, Any], body: bytes) -> None:
        self._body: bytes | None = body
        self._gone = asyncio.Event()
        self._messages: asyncio.Queue[Any] = asyncio.Queue()
        self._buffer = b""
        self._is_done = False
        self.status = 0
        self.headers: dict[str, str] = {}
        self.warnings: list[str] = []
        self._task = asyncio.create_task(self._run(app, scope))

    async def __aenter__(self) -> AsgiStream:
        await self.wait_started()
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.close()

    async def wait_started(self) -> None:
        while not self.status:
            await self._take()

    async def read_all(self) -> Answer:
        while not self._is_done:
            await self._take()
        await self._task
        return Answer(self.status, self.headers, self._buffer, self.warnings)

    async def read_line(self, timeout_s: float = 10.0) -> bytes:
        """The next line without its end; empty when there is none any more."""
        async with asyncio.timeout(timeout_s):
            while b"\n" not in self._buffer and not self._is_done:
                await self._take()
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    async def read_event(self, timeout_s: float = 10.0) -> Any:
        return json.loads(await self.read_line(timeout_s))

    async def close(self) -> None:
        """Go away, as a client that closes its connection; the application must end."""
        self._gone.set()
        async with asyncio.timeout(60):
            await self._task

    async def _take(self) -> None:
        message = await self._messages.get()
        if message is None:
            self._is_done = True
            await self._task
        elif message["type"] == "http.response.start":
            self.status = message["status"]
            for name, value in message["headers"]:
                self.headers[name.decode()] = value.decode("latin-1")
                if name == b"warning":
                    self.warnings.append(value.decode())
        else:
            self._buffer += message.get("body", b"")
            self._is_done = not message.get("more_body", False)

    async def _run(self, app: Any, scope: dict[str, Any]) -> None:
        try:
            await app(scope, self._receive, self._send)
        finally:
            self._messages.put_nowait(None)

    async def _receive(self) -> dict[str, Any]:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        self._messages.put_nowait(message)


class AsgiSocket:
    """A WebSocket client of an ASGI application. Use it as a context manager; leaving it is going away."""

    def __init__(self, app: Any, path: str, *, token: str = "", subprotocols: Sequence[str] = (), **query: Any) -> None:
        self._app = app
        self.scope: dict[str, Any] = {
            "type": "websocket",
            "path": path,
            "raw_path": path.encode(),
            "query_string": urlencode(query, doseq=True).encode(),
            "headers": [(b"authorization", f"Bearer {token}".encode())] if token else [],
            "subprotocols": list(subprotocols),
            "client": ("192.0.2.1", 1234),
        }
        self._to_app: asyncio.Queue[Any] = asyncio.Queue()
        self._from_app: asyncio.Queue[Any] = asyncio.Queue()
        self._task: asyncio.Task[None]
        self.subprotocol: str | None = None
        self.refusal: Answer | None = None
        self.close_code: int | None = None
        self.close_reason = ""

    async def __aenter__(self) -> AsgiSocket:
        self._task = asyncio.create_task(self._run())
        self._to_app.put_nowait({"type": "websocket.connect"})
        message = await self._take()
        if message["type"] == "websocket.accept":
            self.subprotocol = message.get("subprotocol")
        else:
            body = await self._take()
            headers = {name.decode(): value.decode("latin-1") for name, value in message["headers"]}
            self.refusal = Answer(message["status"], headers, body["body"])
        return self

    async def __aexit__(self, *_error: object) -> None:
        self.go()
        async with asyncio.timeout(LIMIT_S):
            await self._task

    async def send(self, data: bytes | str) -> None:
        self._to_app.put_nowait({"type": "websocket.receive", "text" if isinstance(data, str) else "bytes": data})

    async def receive(self) -> bytes | None:
        """The next binary message; None when the server has closed, then ``close_code`` is known."""
        message = await self._take()
        if message["type"] == "websocket.close":
            self.close_code = message["code"]
            self.close_reason = message.get("reason", "")
            return None
        data: bytes = message["bytes"]
        return data

    def go(self) -> None:
        """Go away without a word."""
        self._to_app.put_nowait({"type": "websocket.disconnect", "code": 1006})

    async def _take(self) -> Any:
        async with asyncio.timeout(LIMIT_S):
            message = await self._from_app.get()
        if message is None:
            await self._task
            raise AssertionError("the application ended without closing")
        return message

    async def _run(self) -> None:
        try:
            await self._app(self.scope, self._to_app.get, self._from_app.put)
        finally:
            self._from_app.put_nowait(None)
