"""Finds the proxy of a port for the controller: named, by a PAC file, or by WPAD. Used by :mod:`eaves.node.portlink`."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from eaves.kit import process
from eaves.kit.errors import EavesError
from eaves.node.desired.port_model import PortSetup, ProxyScheme, ProxyServer, ProxySetup
from eaves.node.images.ways import WebProxy
from eaves.node.link import tls
from eaves.node.link.client import HttpClient, Proxy, Route, Server
from eaves.node.ports.errors import PortError
from eaves.node.ports.pac import Question
from eaves.node.ports.proxies import choose_server, list_wpad_urls, parse_answer
from eaves.node.report.facts import load_resolvers

log = logging.getLogger(__name__)

KEPT_S = 600.0
_PAC_LIMIT_BYTES = 1 << 20
_FETCH_TIMEOUT_S = 10.0
_RUN_TIMEOUT_S = 20.0


class _Kept(Struct, frozen=True):
    """Text of a file, and the proxy that it names for the controller once it was asked."""

    pac: str
    at: float
    proxy: Proxy | None = None
    is_asked: bool = False


class ProxyFinder:
    """Files and answers are kept for ten minutes, and had anew when the port's settings or addresses change."""

    def __init__(self, server: Server, want_context: Callable[[], tls.ResumingContext]) -> None:
        self._server = server
        self._want_context = want_context
        self._kept: dict[tuple[PortSetup, str], _Kept] = {}

    async def find(self, port: PortSetup, source: str) -> Proxy | None:
        """The proxy for the controller; None = directly. Raises EavesError when the settings cannot be followed."""
        proxy = port.proxy
        if not _has_file(proxy):
            return _want_proxy(choose_server(proxy, self._server.host))
        kept = await self._keep(port, source)
        if not kept.is_asked:
            found = _want_proxy(await self._ask(kept.pac)) if kept.pac else None
            kept = self._kept[port, source] = replace(kept, proxy=found, is_asked=True)
        return kept.proxy

    async def find_web(self, port: PortSetup, source: str) -> WebProxy:
        """The same for whatever host, as downloads want it. Raises EavesError."""
        if not _has_file(port.proxy):
            return want_web_proxy(port.proxy)
        return WebProxy(pac=(await self._keep(port, source)).pac, ca_pems=port.proxy.ca_pems)

    async def _keep(self, port: PortSetup, source: str) -> _Kept:
        now = asyncio.get_running_loop().time()
        kept = self._kept.get((port, source))
        if kept is None or now - kept.at >= KEPT_S:
            kept = _Kept(port.proxy.pac or await self._fetch_pac(port, source), now)
            self._kept = {key: entry for key, entry in self._kept.items() if now - entry.at < KEPT_S}
            self._kept[port, source] = kept
        return kept

    async def _fetch_pac(self, port: PortSetup, source: str) -> str:
        """The file's text; empty when none could be discovered. Raises EavesError when a URL was named and gives none."""
        if port.proxy.pac_url:
            return await self._fetch(port.proxy.pac_url, port, source)
        domains: Sequence[str] = (port.ip.domain,) if port.ip.domain else (await load_resolvers())[1]
        for url in list_wpad_urls(domains):
            try:
                return await self._fetch(url, port, source)
            except EavesError as error:
                log.info("no proxy auto-configuration file there: url=%s error=%s", url, error)
        return ""

    async def _fetch(self, url: str, port: PortSetup, source: str) -> str:
        parts = urlsplit(url)
        is_tls = parts.scheme == "https"
        server = Server(parts.hostname or "", parts.port or (443 if is_tls else 80), is_tls)
        client = HttpClient(
            server,
            self._want_context(),
            dial_timeout_s=_FETCH_TIMEOUT_S,
            send_timeout_s=_FETCH_TIMEOUT_S,
            answer_limit_bytes=_PAC_LIMIT_BYTES,
        )
        try:
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            answer = await client.request("GET", target, route=Route(source, None, port.interface))
        finally:
            await client.close()
        if answer.status != 200:
            raise PortError(f"the proxy auto-configuration file cannot be had: {url} answers {answer.status}")
        return answer.body.decode("utf-8", "replace")

    async def _ask(self, pac: str) -> ProxyServer | None:
        question = Question(pac, f"https://{self._server.authority}/", self._server.host)
        try:
            done = await process.run(
                [sys.executable, "-P", "-m", "eaves.node.ports.pac"],
                stdin=msgspec.json.encode(question),
                timeout_s=_RUN_TIMEOUT_S,
            )
        except EavesError as error:
            raise PortError(
                "its proxy auto-configuration file cannot be run",
                details=error.details or str(error),
                resolution="correct the file; it must define FindProxyForURL and end soon",
            ) from error
        return parse_answer(done.stdout.decode("utf-8", "replace"))


def _want_proxy(server: ProxyServer | None) -> Proxy | None:
    return Proxy(server.host, server.port) if server is not None else None


def _has_file(proxy: ProxySetup) -> bool:
    return bool(proxy.pac or proxy.pac_url or proxy.discover)


def want_web_proxy(proxy: ProxySetup) -> WebProxy:
    """Of servers that are named."""
    found = {server.scheme: server for server in proxy.servers}
    # As for the controller: one that is named for HTTP takes TLS too where none is named for it.
    ways = (("HTTPS_PROXY", (ProxyScheme.HTTPS, ProxyScheme.HTTP)), ("HTTP_PROXY", (ProxyScheme.HTTP,)))
    variables = [
        (name, _render_url(next(found[scheme] for scheme in schemes if scheme in found)))
        for name, schemes in ways
        if any(scheme in found for scheme in schemes)
    ]
    return WebProxy((*variables, ("NO_PROXY", ",".join(proxy.exceptions))), ca_pems=proxy.ca_pems)


def _render_url(server: ProxyServer) -> str:
    return f"http://{f'[{server.host}]' if ':' in server.host else server.host}:{server.port}"
