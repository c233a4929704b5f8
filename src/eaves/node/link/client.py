"""The node's HTTP client: HTTP/1.1 by h11 over asyncio's TLS streams.

It exists because an HTTP client library costs this daemon 9 to 14 MB, and because source address, proxy and trust differ by
uplink. ``calls`` is the only caller. It owns the kept connections; trust comes as a TLS context, the clock is the event loop's.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import socket
import ssl
from collections.abc import Sequence
from typing import Any

import h11
from msgspec import Struct

from eaves.kit import streams
from eaves.node.link import tls
from eaves.node.link.binding import connect_bound
from eaves.node.link.errors import DialError, TransferError, UnreachableError

DIAL_TIMEOUT_S = 10.0
SEND_TIMEOUT_S = 120.0
ANSWER_LIMIT_BYTES = 16 << 20
IDLE_LIMIT_S = 90.0
_KEPT_LIMIT = 2
_READ_BYTES = 64 << 10
_WITH_BODY = ("POST", "PUT", "PATCH")

Headers = Sequence[tuple[str, str]]


class Server(Struct, frozen=True):
    """Where the controller listens; ``is_tls`` False only for tests and tunnels on loopback."""

    host: str
    port: int = 443
    is_tls: bool = True

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.is_tls else 80) else f"{host}:{self.port}"


class Proxy(Struct, frozen=True):
    """An HTTP proxy that tunnels by CONNECT."""

    host: str
    port: int
    user: str = ""
    password: str = ""

    @property
    def authorization(self) -> str:
        """Value of the Proxy-Authorization header (RFC 7617), or empty."""
        if not self.user:
            return ""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


class Route(Struct, frozen=True):
    """How to leave this machine: from which address (empty = the host's choice), through which proxy, by which interface."""

    source: str = ""
    proxy: Proxy | None = None
    interface: str = ""


DIRECT = Route()


class Response(Struct, frozen=True):
    """A complete answer; header names are lower case."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key == name), "")


class _Connection:
    """One connection and its HTTP state."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.http = h11.Connection(h11.CLIENT, max_incomplete_event_size=64 << 10)
        self.used = False
        self.heard = False
        """Whether anything came back for the current request."""
        self.idle_since = 0.0

    @property
    def is_usable(self) -> bool:
        return not self.reader.at_eof() and not self.writer.is_closing() and self.http.our_state is h11.IDLE

    async def next_event(self) -> h11.Event | type[h11.PAUSED]:
        while True:
            event = self.http.next_event()
            if event is not h11.NEED_DATA:
                return event  # type: ignore[return-value]  # NEED_DATA is gone here, h11 types its sentinels loosely
            data = await self.reader.read(_READ_BYTES)
            self.heard = self.heard or bool(data)
            self.http.receive_data(data)

    async def close(self) -> None:
        await streams.close(self.writer)


class HttpClient:
    """Sends requests to one server over chosen routes and keeps a few connections open."""

    def __init__(
        self,
        server: Server,
        context: tls.ResumingContext,
        *,
        dial_timeout_s: float = DIAL_TIMEOUT_S,
        send_timeout_s: float = SEND_TIMEOUT_S,
        answer_limit_bytes: int = ANSWER_LIMIT_BYTES,
    ) -> None:
        self.server = server
        self.dial_timeout_s = dial_timeout_s
        self.send_timeout_s = send_timeout_s
        self._context = context
        self._limit_bytes = answer_limit_bytes
        self._kept: dict[Route, list[_Connection]] = {}
        self._busy: set[_Connection] = set()

    @property
    def context(self) -> tls.ResumingContext:
        return self._context

    async def use_context(self, context: tls.ResumingContext) -> None:
        """Other trust from now on; what is open was made with the old one, and is closed."""
        self._context = context
        await self.close()

    async def request(
        self, method: str, target: str, *, headers: Headers = (), body: bytes = b"", route: Route = DIRECT
    ) -> Response:
        """Send one request and read the whole answer, whatever its status.

        A kept connection that the server closed meanwhile is replaced once, unseen. Raises DialError, TlsError or TransferError.
        """
        request = self._want_request(method, target, headers, body)
        try:
            async with asyncio.timeout(self.send_timeout_s):
                kept = await self._take_kept(route)
                if kept is not None:
                    try:
                        return await self._exchange(kept, request, body, route)
                    except _StaleError:
                        await kept.close()
                return await self._exchange(await self._dial(route), request, body, route)
        except TimeoutError as error:
            raise TransferError(f"no answer within {self.send_timeout_s:g} s", element=self.server.authority) from error
        except _StaleError as error:
            raise TransferError("connection was closed before the answer", element=self.server.authority) from error

    async def close(self) -> None:
        """Close the kept connections."""
        kept, self._kept = self._kept, {}
        for connection in [connection for connections in kept.values() for connection in connections]:
            await connection.close()

    def abort(self) -> None:
        """The node's addresses changed: nothing comes back on what is open, so requests under way fail now and not in minutes."""
        kept, self._kept = self._kept, {}
        for connection in (*self._busy, *(one for connections in kept.values() for one in connections)):
            connection.writer.transport.abort()

    def _want_request(self, method: str, target: str, headers: Headers, body: bytes) -> h11.Request:
        fields = [("host", self.server.authority), ("user-agent", "eaves-node"), *headers]
        if method in _WITH_BODY or body:
            fields.append(("content-length", str(len(body))))
        return h11.Request(method=method, target=target, headers=fields)

    async def _take_kept(self, route: Route) -> _Connection | None:
        kept = self._kept.get(route, [])
        now = asyncio.get_running_loop().time()
        while kept:
            connection = kept.pop()
            if connection.is_usable and now - connection.idle_since < IDLE_LIMIT_S:
                return connection
            await connection.close()
        return None

    async def _exchange(self, connection: _Connection, request: h11.Request, body: bytes, route: Route) -> Response:
        self._busy.add(connection)
        try:
            response = await self._send(connection, request, body)
        except BaseException:
            connection.writer.transport.abort()
            raise
        finally:
            self._busy.discard(connection)
        ssl_object = connection.writer.get_extra_info("ssl_object")
        if ssl_object is not None and ssl_object.context is not self._context:
            # The trust changed meanwhile: neither the connection nor its session may be used under the new one.
            await connection.close()
            return response
        self._context.keep_session(self.server.host, ssl_object)
        await self._keep(connection, route)
        return response

    async def _send(self, connection: _Connection, request: h11.Request, body: bytes) -> Response:
        http, writer = connection.http, connection.writer
        try:
            writer.write(http.send(request) or b"")
            if body:
                writer.write(http.send(h11.Data(data=body)) or b"")
            writer.write(http.send(h11.EndOfMessage()) or b"")
            # A server may answer and close before it has read a large body; then the answer counts, not the failed write.
            with contextlib.suppress(ConnectionError):
                await writer.drain()
            return await self._read(connection)
        except h11.RemoteProtocolError as error:
            if connection.used and not connection.heard:
                raise _StaleError("closed") from error
            raise TransferError(f"not an HTTP answer: {error}", element=self.server.authority) from error
        except ssl.SSLError as error:
            raise tls.explain_failure(error, self.server.authority) from error
        except OSError as error:
            if connection.used and not connection.heard:
                raise _StaleError("closed") from error
            raise TransferError(f"connection broke: {error}", element=self.server.authority) from error

    async def _read(self, connection: _Connection) -> Response:
        head = await connection.next_event()
        while isinstance(head, h11.InformationalResponse):
            head = await connection.next_event()
        if not isinstance(head, h11.Response):
            raise TransferError("connection was closed before the answer", element=self.server.authority)
        chunks: list[bytes] = []
        size = 0
        while isinstance(event := await connection.next_event(), h11.Data):
            size += len(event.data)
            if size > self._limit_bytes:
                raise TransferError(
                    f"the answer is larger than {self._limit_bytes} bytes",
                    element=self.server.authority,
                    retryable=False,
                )
            chunks.append(bytes(event.data))
        headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in head.headers)
        return Response(head.status_code, headers, b"".join(chunks))

    async def _keep(self, connection: _Connection, route: Route) -> None:
        kept = self._kept.setdefault(route, [])
        if (
            connection.http.our_state is h11.DONE
            and connection.http.their_state is h11.DONE
            and len(kept) < _KEPT_LIMIT
        ):
            connection.http.start_next_cycle()
            connection.used, connection.heard = True, False
            connection.idle_since = asyncio.get_running_loop().time()
            kept.append(connection)
        else:
            await connection.close()

    async def _dial(self, route: Route) -> _Connection:
        where = self.server.authority
        try:
            async with asyncio.timeout(self.dial_timeout_s):
                if route.proxy is not None:
                    return await self._dial_proxy(route, route.proxy)
                return await self._dial_direct(route)
        except TimeoutError as error:
            raise DialError(f"no connection within {self.dial_timeout_s:g} s", element=where) from error
        except ssl.SSLError as error:
            self._context.sessions.pop(self.server.host, None)
            raise tls.explain_failure(error, where) from error
        except socket.gaierror as error:
            raise DialError(
                f"name cannot be resolved: {error.strerror}", element=self._dialled(route), resolution="check DNS"
            ) from error
        except OSError as error:
            raise DialError(f"no connection: {error.strerror or error}", element=self._dialled(route)) from error

    def _dialled(self, route: Route) -> str:
        return f"proxy {route.proxy.host}:{route.proxy.port}" if route.proxy else self.server.authority

    async def _dial_direct(self, route: Route) -> _Connection:
        context = self._context if self.server.is_tls else None
        name = self.server.host if self.server.is_tls else None
        reader, writer = await _connect(self.server.host, self.server.port, route, ssl=context, server_hostname=name)
        return _Connection(reader, writer)

    async def _dial_proxy(self, route: Route, proxy: Proxy) -> _Connection:
        reader, writer = await _connect(proxy.host, proxy.port, route)
        plain = writer.transport
        try:
            await self._open_tunnel(_Connection(reader, writer), proxy)
            if self.server.is_tls:
                await streams.start_tls(writer, self._context, server_hostname=self.server.host)
        except BaseException:
            plain.abort()
            raise
        return _Connection(reader, writer)

    async def _open_tunnel(self, connection: _Connection, proxy: Proxy) -> None:
        host = f"[{self.server.host}]" if ":" in self.server.host else self.server.host
        target = f"{host}:{self.server.port}"
        headers = [("host", target), ("user-agent", "eaves-node")]
        if proxy.authorization:
            headers.append(("proxy-authorization", proxy.authorization))
        where = f"proxy {proxy.host}:{proxy.port}"
        try:
            connection.writer.write(
                connection.http.send(h11.Request(method="CONNECT", target=target, headers=headers)) or b""
            )
            await connection.writer.drain()
            answer = await connection.next_event()
        except h11.RemoteProtocolError as error:
            raise DialError("the proxy does not speak HTTP", element=where, details=str(error)) from error
        if not isinstance(answer, h11.Response):
            raise DialError("the proxy closed the connection", element=where)
        if not 200 <= answer.status_code < 300:
            remedy = "check user and password of the proxy" if answer.status_code == 407 else "ask who runs the proxy"
            raise DialError(f"the proxy answers {answer.status_code}", element=where, resolution=remedy)


class _StaleError(UnreachableError):
    """A kept connection turned out to be closed; never leaves this module."""


async def _connect(
    host: str, port: int, route: Route, **tls_options: Any
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if route.interface and route.source:
        made = await connect_bound(host, port, source=route.source, interface=route.interface)
        return await asyncio.open_connection(sock=made, **tls_options)
    return await asyncio.open_connection(
        host, port, local_addr=_want_local(route), family=_want_family(route), **tls_options
    )


def _want_local(route: Route) -> tuple[str, int] | None:
    return (route.source, 0) if route.source else None


def _want_family(route: Route) -> int:
    if not route.source:
        return socket.AF_UNSPEC
    return socket.AF_INET6 if ":" in route.source else socket.AF_INET
