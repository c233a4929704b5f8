"""HTTP for downloads: redirects, proxies, private authorities, and credentials that never reach another host.

Blocking, over :mod:`http.client`. :class:`Client` speaks for one datastore; what a datastore wants in its requests is an
:class:`Authorizer`.
"""

from __future__ import annotations

import base64
import email.utils
import functools
import http.client
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import BinaryIO, Protocol
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

from eaves.node.images.download.errors import CutError, FetchError
from eaves.node.images.download.protocol import Setup
from eaves.node.images.download.proxies import Proxies

_SYSTEM_CA_FOLDER = "/etc/ssl/certs"
_MAX_REDIRECTS = 8
_REDIRECTS = (301, 302, 303, 307, 308)
_ANSWER_LIMIT_S = 60.0
"""Most time until a server begins to answer."""
_SILENCE_S, _ASK_EVERY_S, _UNREACHED_MS = 15, 5, 30_000
"""After this silence the other side's kernel is asked, and given up when it says nothing for so long."""
_RETRY_AFTER_LIMIT_S = 3600.0
WITHOUT_TLS = "RegistryWithoutTls"
_DEFAULT_PORTS = {"http": 80, "https": 443}

Headers = Mapping[str, str]


class Authorizer(Protocol):
    """Adds what proves who we are to requests for the datastore itself."""

    def headers(self, url: SplitResult, headers: Headers) -> dict[str, str]:
        """All headers for a GET of ``url``."""


class Anonymous:
    def headers(self, url: SplitResult, headers: Headers) -> dict[str, str]:
        return dict(headers)


class Basic:
    """RFC 7617."""

    def __init__(self, username: str, password: str) -> None:
        self._value = want_basic(username, password)

    def headers(self, url: SplitResult, headers: Headers) -> dict[str, str]:
        return {**headers, "Authorization": self._value}


def want_basic(username: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


class Client:
    """Requests to one datastore. Each has a connection of its own: they are few and large."""

    def __init__(self, setup: Setup, unreachable: str) -> None:
        """``unreachable``: code of the error when nobody answers."""
        self._setup = setup
        self._unreachable = unreachable
        self._origin = origin_of(urlsplit(setup.base))
        self._context = _want_context(setup)
        self._proxies = Proxies(setup)

    @contextmanager
    def get(self, url: str, headers: Headers, authorizer: Authorizer) -> Iterator[http.client.HTTPResponse]:
        """The final answer, whatever its status. Raises FetchError.

        Credentials go to the datastore's own scheme, host and port, and nowhere else, wherever redirects lead.
        """
        for _ in range(_MAX_REDIRECTS):
            parts = urlsplit(url)
            is_own = origin_of(parts) == self._origin
            sent = authorizer.headers(parts, headers) if is_own else dict(headers)
            # An answer that was not read to its end holds the socket on its own.
            with closing(self._connect(parts)) as connection, closing(self._ask(connection, parts, sent)) as answer:
                if answer.status not in _REDIRECTS or not (location := answer.headers.get("Location")):
                    yield answer
                    return
            url = _follow(url, location)
        raise FetchError(
            "the server redirects in a circle", code="RedirectLoop", resolution="check the datastore's URL"
        )

    @contextmanager
    def send(
        self, method: str, url: str, headers: Headers, body: BinaryIO | None = None
    ) -> Iterator[http.client.HTTPResponse]:
        """The answer to a request that changes something, which no redirect leads elsewhere. Raises FetchError.

        ``headers`` prove already who we are, and tell the size of ``body``.
        """
        parts = urlsplit(url)
        with (
            closing(self._connect(parts)) as connection,
            closing(self._ask(connection, parts, headers, method, body)) as answer,
        ):
            yield answer

    def _ask(
        self,
        connection: http.client.HTTPConnection,
        parts: SplitResult,
        headers: Mapping[str, str],
        method: str = "GET",
        body: BinaryIO | None = None,
    ) -> http.client.HTTPResponse:
        target = parts.path or "/"
        if parts.query:
            target += f"?{parts.query}"
        proxy = self._proxies.choose(parts)
        if proxy is not None and parts.scheme == "http":
            target = f"http://{parts.netloc}{target}"
            headers = {**headers, **_proxy_headers(proxy)}
        server = parts.netloc
        try:
            sent = {"User-Agent": "eaves-node", "Accept-Encoding": "identity", **headers}
            connection.request(method, target, body=body, headers=sent)
            answer = connection.getresponse()
            if connection.sock is not None:
                connection.sock.settimeout(self._setup.stalled_after_s)
        except TimeoutError as error:
            raise self._fail(f"{server} does not answer") from error
        except http.client.BadStatusLine as error:
            if isinstance(error, http.client.RemoteDisconnected):
                raise CutError(f"{server} closed the connection before it answered") from error
            raise FetchError(
                f"{server} does not speak HTTP as it should", resolution="check scheme and port of the datastore"
            ) from error
        except http.client.HTTPException as error:
            raise FetchError(f"{server} gives an answer that is not understood: {error}") from error
        except ssl.SSLError as error:
            raise _explain_tls(error, server) from error
        except OSError as error:
            raise CutError(f"the connection to {server} broke: {error.strerror or error}") from error
        return answer

    def _connect(self, parts: SplitResult) -> http.client.HTTPConnection:
        host, port = parts.hostname or "", parts.port or _DEFAULT_PORTS[parts.scheme]
        proxy = self._proxies.choose(parts)
        dialled = (proxy.hostname or "", proxy.port or 3128) if proxy is not None else (host, port)
        source = (self._setup.address, 0) if self._setup.address else None
        dial_s = min(self._setup.dial_timeout_s, self._setup.stalled_after_s)
        connection: http.client.HTTPConnection
        if parts.scheme == "https":
            connection = http.client.HTTPSConnection(
                *dialled, timeout=dial_s, source_address=source, context=self._context
            )
            if proxy is not None:
                connection.set_tunnel(host, port, _proxy_headers(proxy))
        else:
            connection = http.client.HTTPConnection(*dialled, timeout=dial_s, source_address=source)
        if self._setup.interface:
            # The hook of http.client for whoever makes sockets otherwise; it has no public name, and every Python has had it since 3.4.
            setattr(connection, "_create_connection", functools.partial(_connect_bound, self._setup.interface))  # noqa: B010
        where = f"proxy {dialled[0]}:{dialled[1]}" if proxy is not None else f"{host}:{port}"
        try:
            connection.connect()
        except ssl.SSLError as error:
            raise _explain_tls(error, f"{host}:{port}") from error
        except socket.gaierror as error:
            raise self._fail(f"the name {dialled[0]} cannot be resolved: {error.strerror}") from error
        except TimeoutError as error:
            raise self._fail(f"{where} does not answer within {dial_s:g} s") from error
        except OSError as error:
            # A proxy that refuses the tunnel is an OSError without a number too.
            raise self._fail(f"no connection to {where}: {error.strerror or error}") from error
        if connection.sock is not None:
            _watch(connection.sock)
            connection.sock.settimeout(min(_ANSWER_LIMIT_S, self._setup.stalled_after_s))
        return connection

    def _fail(self, message: str) -> FetchError:
        return FetchError(
            message, code=self._unreachable, resolution="check the datastore's address and the node's network"
        )


def _watch(connection: socket.socket) -> None:
    """Let the kernel end it when the other side is out of reach: of a way out that moved nobody would tell it. tcp(7)."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _SILENCE_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _ASK_EVERY_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNREACHED_MS)


def _connect_bound(
    interface: str, address: tuple[str, int], timeout: float | None, source: tuple[str, int] | None
) -> socket.socket:
    """Like :func:`socket.create_connection`, by one interface whatever the routes say. Raises OSError, the last one of several."""
    failure: OSError | None = None
    for family, kind, protocol, _, found in socket.getaddrinfo(*address, type=socket.SOCK_STREAM):
        made = socket.socket(family, kind, protocol)
        try:
            made.settimeout(timeout)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode() + b"\0")
            if source:
                made.bind(source)
            made.connect(found)
        except OSError as error:
            made.close()
            failure = error
        else:
            return made
    raise failure or OSError(f"{address[0]} has no address")


def origin_of(parts: SplitResult) -> tuple[str, str, int]:
    return parts.scheme, (parts.hostname or "").lower(), parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)


def parse_retry_after(text: str | None, now: float) -> float:
    """Seconds of a Retry-After header (RFC 9110), bounded; 0 = none."""
    if not text:
        return 0.0
    if text.isascii() and text.isdecimal():
        wait_s = float(text)
    else:
        try:
            wait_s = email.utils.parsedate_to_datetime(text).timestamp() - now
        except (ValueError, TypeError):
            return 0.0
    return min(max(wait_s, 0.0), _RETRY_AFTER_LIMIT_S)


def as_status_error(answer: http.client.HTTPResponse, what: str, *, has_credentials: bool) -> FetchError:
    """The error for an answer that is no success."""
    status = answer.status
    after_s = parse_retry_after(answer.headers.get("Retry-After"), time.time())
    if status in (401, 403):
        remedy = (
            "check user name and password of the datastore" if has_credentials else "give the datastore credentials"
        )
        return FetchError(
            f"the server answers {status} for {what}: access is denied", code="AuthenticationFailed", resolution=remedy
        )
    if status in (404, 410):
        return FetchError(
            f"the server has no {what}",
            code="ImageNotFound",
            resolution="check the image's name and tag, and that the datastore has it",
        )
    if status == 429:
        return FetchError(
            f"the server answers 429 for {what}: too many requests",
            code="TooManyRequests",
            resolution="it is asked again later; give the datastore credentials or a mirror if this persists",
            retry_after_s=after_s,
        )
    return FetchError(
        f"the server answers {status} {answer.reason} for {what}",
        resolution="it is asked again; ask who runs the server if this persists",
        retry_after_s=after_s,
    )


def _follow(url: str, location: str) -> str:
    target = urljoin(url, location)
    parts = urlsplit(target)
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise FetchError("the server redirects to what is no HTTP address", code="BadRedirect")
    if url.startswith("https:") and parts.scheme == "http":
        raise FetchError(
            f"the server redirects to {parts.netloc} without TLS",
            code="BadRedirect",
            resolution="ask who runs the server for an https address",
        )
    return target


def _want_context(setup: Setup) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(capath=_SYSTEM_CA_FOLDER)
    for pem in setup.ca_pems:
        try:
            context.load_verify_locations(cadata=pem)
        except (ssl.SSLError, ValueError) as error:
            raise FetchError(
                "a CA certificate of the datastore cannot be read",
                code="BadCertificate",
                retryable=False,
                resolution="check the datastore's CA certificates",
            ) from error
    return context


def _explain_tls(error: ssl.SSLError, server: str) -> FetchError:
    if isinstance(error, ssl.SSLCertVerificationError):
        return FetchError(
            f"the certificate of {server} is not trusted: {error.verify_message}",
            code="CertificateUntrusted",
            resolution="give the datastore the server's CA certificate, and check the node's clock",
        )
    if error.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST"):
        return FetchError(
            f"{server} speaks without TLS",
            code=WITHOUT_TLS,
            resolution="name the datastore with http:// if it is meant to speak without TLS",
        )
    return CutError(f"TLS with {server} broke: {error.reason or error}")


def _proxy_headers(proxy: SplitResult) -> dict[str, str]:
    if not proxy.username:
        return {}
    return {"Proxy-Authorization": want_basic(unquote(proxy.username), unquote(proxy.password or ""))}
