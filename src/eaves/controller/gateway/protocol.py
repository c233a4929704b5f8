"""The HTTP protocol under the gateway: uvicorn's, with bounds that it lacks.

A public port meets clients that send a header byte a minute, headers without end, thousands of requests at once, and more connections
than there is memory for. Before the app sees anything, this class bounds the bytes and the time of a request's head, the requests that
wait on a connection, and the connections of one address and of all. The gateway's server makes one instance a connection.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import httptools
from msgspec import Struct
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from websockets.http11 import Request

from eaves.controller.gateway.limits import source_of
from eaves.controller.serving import WAITING_REQUESTS, PatientWebSocket
from eaves.wire import tunnel

_STREAM_PATH = f"/ext/eaves/{tunnel.EXTENSION_PREFIX}"

_VERSIONS = ("1.1", "1.0")

_BAD_REQUEST = b"400 Bad Request"
_TOO_MANY = b"429 Too Many Requests"
_TOO_LARGE_HEAD = b"431 Request Header Fields Too Large"

_log = logging.getLogger("eaves.controller.gateway.http")
# One line for each malformed request would let a stranger fill the disk with log.
_log.setLevel(logging.ERROR)


class ConnectionLimits(Struct, frozen=True):
    """Bounds of the listening side."""

    connections: int = 20_000
    """All together."""
    connections_per_address: int = 2_000
    """Many devices may share one public address, so this only keeps one address from taking all."""
    head_bytes: int = 16_384
    """Request line and headers."""
    waiting_requests: int = WAITING_REQUESTS
    """Of one connection; devices send the next when they have the answer."""
    head_timeout_s: float = 15.0
    """From the connection, or the first byte after an earlier request, to the end of the headers."""


class ConnectionCounts:
    """Connections by address; shared by all protocol instances of one server."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self.refused = 0
        self._total = 0
        self._by_address: dict[str, int] = {}

    @property
    def total(self) -> int:
        return self._total

    def enter(self, address: str) -> bool:
        used = self._by_address.get(address, 0)
        if self._total >= self.limits.connections or used >= self.limits.connections_per_address:
            self.refused += 1
            return False
        self._total += 1
        self._by_address[address] = used + 1
        return True

    def leave(self, address: str) -> None:
        self._total -= 1
        used = self._by_address[address] - 1
        if used:
            self._by_address[address] = used
        else:
            del self._by_address[address]


def bounded_protocol(counts: ConnectionCounts) -> type[HttpToolsProtocol]:
    """The protocol class that counts its connections in ``counts``."""
    return type("CountedProtocol", (BoundedProtocol,), {"counts": counts})


class BoundedProtocol(HttpToolsProtocol):
    """See the module's docstring. Use :func:`bounded_protocol`."""

    counts: ConnectionCounts

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the base class
        peer = transport.get_extra_info("peername")
        self._address: str = source_of(peer[0]) if isinstance(peer, tuple) else ""
        self._is_counted = self.counts.enter(self._address)
        self._fault = _BAD_REQUEST
        self._head_bytes = 0
        self._in_head = True
        self._head_timer: asyncio.TimerHandle | None = None
        super().connection_made(transport)
        self.logger = _log
        if self._is_counted:
            self._start_head_timer()
        else:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_head_timer()
        self._leave()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if not self._in_head or self._head_bytes == 0 or self.transport.is_closing():
            return
        if self._head_bytes > self.counts.limits.head_bytes:
            self._stop_head_timer()
            self._end(_TOO_LARGE_HEAD)
        elif self._head_timer is None:
            self._start_head_timer()

    def on_headers_complete(self) -> None:
        self._check_head()
        self._stop_head_timer()
        self._in_head = False
        self._head_bytes = 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_head = True
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        # From here on the WebSocket's protocol owns the transport, and our connection_lost is not called any more.
        self._stop_head_timer()
        counts, address = self.counts, self._address
        self._is_counted = False
        super().handle_websocket_upgrade()
        protocol: Any = self.transport.get_protocol()
        lost = protocol.connection_lost

        def leave_and_lose(exc: Exception | None) -> None:
            counts.leave(address)
            lost(exc)

        protocol.connection_lost = leave_and_lose

    def _check_head(self) -> None:
        """Refuse what the parser passes and a proxy before us may read in another way (RFC 9112, 2.3 and 3.2)."""
        version = self.parser.get_http_version()
        if version not in _VERSIONS:
            raise httptools.HttpParserError("unknown version of HTTP")
        hosts = sum(name == b"host" for name, _ in self.headers)
        if hosts > 1 or (hosts == 0 and version == "1.1"):
            raise httptools.HttpParserError("not exactly one Host")
        limits = self.counts.limits
        # One that arrives at once is not seen to grow.
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > limits.head_bytes:
            self._fault = _TOO_LARGE_HEAD
            raise httptools.HttpParserError("head is too large")
        if len(self.pipeline) >= limits.waiting_requests:
            self._fault = _TOO_MANY
            raise httptools.HttpParserError("too many requests wait on this connection")

    def send_400_response(self, msg: str) -> None:
        """Where the parser stops. uvicorn's own answer has a body, which a device would take for a signed envelope."""
        self._stop_head_timer()
        self._end(self._fault)

    def _end(self, status: bytes) -> None:
        """Tell why, then close: the peer may be a device behind an odd proxy, whose owner looks for the cause."""
        self.transport.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        self.transport.close()

    def _leave(self) -> None:
        if self._is_counted:
            self._is_counted = False
            self.counts.leave(self._address)

    def _start_head_timer(self) -> None:
        self._head_timer = self.loop.call_later(self.counts.limits.head_timeout_s, self._end_slow_head)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _end_slow_head(self) -> None:
        self._head_timer = None
        if self._in_head and not self.transport.is_closing():
            if self._head_bytes:
                self._end(b"408 Request Timeout")
            else:
                self.transport.abort()


class DeviceWebSocket(PatientWebSocket):
    """WebSockets of devices: a stream may send longer messages than the notify channel."""

    def handle_connect(self, event: Request) -> None:
        if _STREAM_PATH in event.path:
            self.conn.max_message_size = tunnel.FRAME_LIMIT_BYTES
        super().handle_connect(event)
