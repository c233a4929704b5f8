"""Requests and responses of the operator API, between ASGI and the handlers.

A :class:`Request` reads headers, query and body on demand; a :class:`Response` is bytes with a type, a :class:`Stream` is an
endless answer. Nothing here knows of objects.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any

from msgspec import Struct

from eaves.controller.api.identity import ANONYMOUS, Identity
from eaves.controller.api.routing import Query, Target, parse_query
from eaves.kube import status

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"
WEBSOCKET_TOKEN = "base64url.bearer."  # noqa: S105 - a protocol's name, no secret
"""A subprotocol that begins so is a browser's way to send a token, see :mod:`eaves.controller.api.authentication`."""
CUT = "eaves.cut"
"""ASGI extension: breaks the connection."""
BODY_LIMIT_BYTES = 3 * 1024 * 1024


class Response(Struct):
    """A whole answer."""

    body: bytes
    status_code: int = 200
    content_type: str = JSON
    headers: Mapping[str, str] = {}


class Stream(Struct):
    """An answer without an end: ``chunks`` is read until it ends or the client goes."""

    chunks: AsyncIterator[bytes]
    content_type: str = JSON
    is_lines: bool = True
    """Chunks are lines of text: on a WebSocket each line is a text frame, anything else a binary frame a chunk."""


class Passage(Struct):
    """An answer that comes from elsewhere, head and all. ``run`` sends it and tells its code."""

    run: Callable[[Send], Awaitable[int]]


class Request:
    """One request. ``warnings`` collects what the client is told by ``Warning`` headers, beside its answer."""

    __slots__ = (
        "_headers",
        "_query",
        "audit_id",
        "identity",
        "impersonator",
        "method",
        "path",
        "receive",
        "scope",
        "target",
        "verb",
        "warnings",
    )

    def __init__(self, scope: Scope, receive: Receive, audit_id: str) -> None:
        self.scope = scope
        self.receive = receive
        self.method: str = scope.get("method", "GET")
        self.path: str = scope["path"]
        self.audit_id = audit_id
        self.identity: Identity = ANONYMOUS
        self.impersonator: Identity | None = None
        """Who calls as :attr:`identity`, when that is somebody else."""
        self.target: Target | None = None
        self.verb = ""
        self.warnings: list[str] = []
        self._headers: dict[bytes, bytes] | None = None
        self._query: Query | None = None

    @property
    def is_websocket(self) -> bool:
        return bool(self.scope["type"] == "websocket")

    def cut(self) -> None:
        """Break the client's connection: an answer that cannot be finished must not look finished."""
        cut = (self.scope.get("extensions") or {}).get(CUT)
        if cut is not None:
            cut()

    @property
    def subprotocols(self) -> Sequence[str]:
        """Offered by a WebSocket client, without the one that only carries a token."""
        return [name for name in self.scope.get("subprotocols", ()) if not name.startswith(WEBSOCKET_TOKEN)]

    @property
    def query(self) -> Query:
        if self._query is None:
            self._query = parse_query(self.scope["query_string"])
        return self._query

    def header(self, name: bytes) -> str:
        """Value of a header (lower-case name), empty when absent; repeated ones are joined by commas."""
        if self._headers is None:
            headers: dict[bytes, bytes] = {}
            for key, value in self.scope["headers"]:
                headers[key] = headers[key] + b"," + value if key in headers else value
            self._headers = headers
        return self._headers.get(name, b"").decode("latin-1")

    def warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)

    async def body(self) -> bytes:
        """The whole body. Raises ApiError 413 above the limit and 400 when the client goes away in the middle."""
        length = self.header(b"content-length")
        if length.isdigit() and int(length) > BODY_LIMIT_BYTES:
            raise status.too_large(BODY_LIMIT_BYTES)
        chunks: list[bytes] = []
        size = 0
        while True:
            message = await self.receive()
            if message["type"] != "http.request":
                raise status.bad_request("the client closed the connection before the body was complete")
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > BODY_LIMIT_BYTES:
                raise status.too_large(BODY_LIMIT_BYTES)
            chunks.append(chunk)
            if not message.get("more_body", False):
                return chunks[0] if len(chunks) == 1 else b"".join(chunks)
