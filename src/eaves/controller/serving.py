"""Serves an ASGI app over TLS: binding, certificates that change without a restart, a stop that lets answers finish.

The operator API and the device gateway each run one :class:`Listener` under the supervisor. It owns the listening sockets and
the TLS context; what is served is the caller's.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.datastructures import Headers
from websockets.exceptions import InvalidState
from websockets.server import ServerProtocol

from eaves.kit.errors import EavesError

BACKLOG = 2048
HANDSHAKE_TIMEOUT_S = 10.0
WAITING_REQUESTS = 16
"""Of one connection, behind the one that is answered. uvicorn keeps all that come at once, and they cost many times their size."""


class ListenError(EavesError):
    """An address cannot be listened on."""

    code = "CannotListen"


class CertificateFilesError(EavesError):
    """A certificate or key file cannot be used."""

    code = "BadCertificate"


class TlsFiles:
    """A server's certificate chain and key, and the context that uses them.

    :meth:`reload` takes changed files up for new connections; those that are open keep theirs. TLS 1.2 is the floor because
    EVE devices may still speak it.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self._certificate = certificate
        self._key = key
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.reload()

    def reload(self) -> None:
        """Read the files again. Raises CertificateFilesError and keeps serving the old ones when they do not fit."""
        # A context that took a half-matching pair could serve no one, so the pair is tried on another one first.
        self._load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        self._load(self.context)

    def _load(self, context: ssl.SSLContext) -> None:
        try:
            context.load_cert_chain(self._certificate, self._key)
        except (OSError, ssl.SSLError) as error:
            raise CertificateFilesError(
                f"cannot be used: {error}",
                element=f"certificate {self._certificate}",
                resolution=f"give a PEM chain and its unencrypted private key ({self._key})",
            ) from error


class Listener:
    """One HTTP server. Create it (binds at once, so that faults show early), then :meth:`run` until cancelled.

    ``port`` is the one listened on, also when 0 was asked. ``on_stop`` is called when the stop begins, before connections are
    waited for: an app ends its endless answers there.
    """

    def __init__(
        self,
        app: Any,
        host: str,
        port: int,
        *,
        tls: TlsFiles | None,
        on_stop: Callable[[], None] = lambda: None,
        keep_alive_s: int = 75,
        stop_timeout_s: int = 5,
        limit_concurrency: int | None = None,
        protocol: type[asyncio.Protocol] | None = None,
        websocket: type[PatientWebSocket] | None = None,
        ping_interval_s: float = 20.0,
        message_limit_bytes: int = 4 * 1024 * 1024,
        date_header: bool = True,
    ) -> None:
        """``protocol`` replaces uvicorn's HTTP protocol, ``websocket`` ours for WebSockets; the rest is about both."""
        self._socket = bind(host, port)
        self.port: int = self._socket.getsockname()[1]
        self._on_stop = on_stop
        config = uvicorn.Config(
            app,
            http=protocol or "httptools",
            ws=websocket or PatientWebSocket,
            ws_max_size=message_limit_bytes,
            ws_ping_interval=ping_interval_s,
            ws_per_message_deflate=False,
            loop="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=date_header,
            backlog=BACKLOG,
            limit_concurrency=limit_concurrency,
            timeout_keep_alive=keep_alive_s,
            timeout_graceful_shutdown=stop_timeout_s,
            ssl_context_factory=(lambda _config, _default: tls.context) if tls is not None else None,
        )
        self._server = _Server(config)

    @property
    def is_started(self) -> bool:
        return self._server.started

    def stop(self) -> None:
        """Begin to stop; :meth:`run` returns when answers under way are finished or their time is over."""
        self._on_stop()
        self._server.should_exit = True

    async def run(self) -> None:
        """Serve until :meth:`stop`. Being cancelled is a stop too: the cancellation is raised after the answers are finished."""
        serving = asyncio.create_task(self._server.serve(sockets=[self._socket]), name=f"serve {self.port}")
        try:
            await asyncio.shield(serving)
        except asyncio.CancelledError:
            self.stop()
            await serving
            raise


class _Handshake(ServerProtocol):
    """Leaves the choice of a subprotocol to the application, and with it the reading of their names.

    Kubernetes' own for a port-forward (``SPDY/3.1+portforward.k8s.io``) is no token of RFC 6455 and would be refused.
    """

    def process_subprotocol(self, headers: Headers) -> None:
        return None


class PatientWebSocket(WebSocketsSansIOProtocol):
    """uvicorn's protocol, which does not take a client for dead whose answer to a ping waits behind messages that nobody takes yet."""

    def __init__(self, config: uvicorn.Config, *given: Any, **options: Any) -> None:
        super().__init__(config, *given, **options)
        self.conn = _Handshake(max_size=config.ws_max_size, logger=self.logger)

    def keepalive_timeout(self) -> None:
        if not self.read_paused:
            super().keepalive_timeout()
            return
        self.pong_timer = None
        self.pending_ping_payload = None
        self.schedule_ping()

    async def send(self, message: Any) -> None:
        await super().send(message)
        if self.close_sent and self.initial_response is not None:
            # A whole answer in place of a WebSocket ends the handshake too; uvicorn would log an error for each.
            self.handshake_complete = True

    def shutdown(self) -> None:
        try:
            super().shutdown()
        except InvalidState:
            # uvicorn does not expect that the other side has begun to close.
            self.transport.close()


class _Server(uvicorn.Server):
    """uvicorn's server without its signal handlers (signals belong to the daemon's bootstrap), which minds handshakes.

    They have a limit, and those under way end with the server: uvicorn knows of a connection only when TLS is up.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._accepting: set[asyncio.Task[Any]] = set()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        config = self.config
        loop = asyncio.get_running_loop()

        def make_protocol() -> asyncio.Protocol:
            # asyncio asks for it in the task that then does the handshake.
            if (task := asyncio.current_task()) is not None:
                self._accepting.add(task)
                task.add_done_callback(self._accepting.discard)
            make: Callable[..., asyncio.Protocol] = config.http_protocol_class
            return make(config=config, server_state=self.server_state, app_state={}, _loop=loop)

        # asyncio's limit of 60 s would let strangers hold ten times the memory with connections that never speak TLS.
        limit_s = HANDSHAKE_TIMEOUT_S if config.ssl is not None else None
        self.servers = [
            await loop.create_server(
                make_protocol, sock=sock, ssl=config.ssl, backlog=config.backlog, ssl_handshake_timeout=limit_s
            )
            for sock in sockets or ()
        ]
        self.started = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        for task in self._accepting:
            task.cancel()
        await asyncio.gather(*self._accepting, return_exceptions=True)
        # Those whose handshake ended meanwhile, and those whose client does not answer the end of TLS.
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        # The loop closes their sockets in its next round.
        await asyncio.sleep(0)


def bind(host: str, port: int) -> socket.socket:
    """A listening address. Raises ListenError with what to do when it is taken, not ours or not allowed."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sends small pieces at once only on sockets that say that they are TCP's; else the second one of an answer waits 40 ms.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        want_keepalive(listening)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listening.bind((host, port))
        # A bound socket refuses no second one until it listens, and the fault must show here rather than when serving starts.
        listening.listen(BACKLOG)
        listening.setblocking(False)
    except OSError as error:
        listening.close()
        raise _listen_error(host, port, error) from error
    return listening


def want_keepalive(sock: socket.socket) -> None:
    """Have the kernel find dead peers within two minutes, also where a program's own pings cannot: while nobody reads.

    Connections accepted from a listening socket inherit it.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 4)):
        sock.setsockopt(socket.IPPROTO_TCP, option, value)


def _listen_error(host: str, port: int, error: OSError) -> ListenError:
    address = f"address {host}:{port}"
    if error.errno == errno.EADDRINUSE:
        remedy = f"see who listens there with 'ss -ltnp sport = :{port}', end it or set another port"
        return ListenError("is in use by another program", element=address, resolution=remedy)
    if error.errno == errno.EADDRNOTAVAIL:
        return ListenError(
            "is not an address of this machine", element=address, resolution="listen on 0.0.0.0 or on an own address"
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return ListenError("needs more rights", element=address, resolution="choose a port above 1023 or run as root")
    return ListenError(f"cannot be listened on: {error.strerror or error}", element=address)
