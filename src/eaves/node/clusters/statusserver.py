"""EVE's status protocol between members: who joins asks the server to join whether it is ready, and of which cluster it is.

``GET /status`` on port 12346 of the cluster IP answers ``cluster:<uuid>`` once control plane and datastore are ready, else an empty
body, in plain HTTP as EVE does. Nothing secret is told. ``GET /eaves/settings`` adds what the servers of a cluster must agree on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging

import msgspec
from msgspec import Struct

from eaves.node.clusters.model import STATUS_PORT

log = logging.getLogger(__name__)

_LIMIT_BYTES = 4 << 10
_TIMEOUT_S = 5.0
_TOGETHER = 16


class SharedSettings(Struct, frozen=True):
    """Of a cluster's servers."""

    cluster: str = ""
    flannel_backend: str = ""
    restored: int = 0
    """Number of the restore that was obeyed last."""


class StatusServer:
    """Serves on one address at a time. ``settings`` None = not ready."""

    def __init__(self, port: int = STATUS_PORT) -> None:
        self.settings: SharedSettings | None = None
        self._port = port
        self._address = ""
        self._server: asyncio.Server | None = None
        self._busy = 0

    @property
    def is_open(self) -> bool:
        return self._server is not None

    async def open(self, address: str) -> None:
        """Listen on ``address`` alone. Raises OSError, for instance while the address is not there."""
        if address == self._address and self._server is not None:
            return
        await self.close()
        self._server = await asyncio.start_server(self._answer, address, self._port, limit=_LIMIT_BYTES)
        self._address = address

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TIMEOUT_S):
                    await self._server.wait_closed()
        self._server, self._address = None, ""

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._busy += 1
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                if self._busy <= _TOGETHER:
                    head = await reader.readuntil(b"\r\n\r\n")
                    writer.write(render_answer(head, self.settings))
                    await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):  # TimeoutError is an OSError
            return
        finally:
            self._busy -= 1
            writer.close()


def render_answer(head: bytes, settings: SharedSettings | None) -> bytes:
    """The whole answer to one request's head. Pure."""
    words = head.split(b"\r\n", 1)[0].split(b" ")
    if len(words) != 3 or words[0] not in (b"GET", b"HEAD"):
        return _render("405 Method Not Allowed", b"", "text/plain")
    path = words[1].partition(b"?")[0]
    if path == b"/status":
        body, kind = (f"cluster:{settings.cluster}".encode() if settings else b""), "text/plain"
    elif path == b"/eaves/settings":
        body, kind = (msgspec.json.encode(settings) if settings else b"{}"), "application/json"
    else:
        return _render("404 Not Found", b"", "text/plain")
    return _render("200 OK", b"" if words[0] == b"HEAD" else body, kind)


def _render(status: str, body: bytes, kind: str) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body
