"""Finds the proxy of a port for the controller: named, by a PAC file, or by WPAD. Used by :mod:`eaves.node.portlink`."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from eaves.kit import process
from eaves.kit.errors import EavesError
from eaves.node.desired.port_model import PortSetup, ProxyServer
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


class _Found(Struct, frozen=True):
    proxy: Proxy | None
    at: float


class ProxyFinder:
    """Answers are kept for ten minutes, and asked for anew when the port's settings or addresses change."""

    def __init__(self, server: Server, want_context: Callable[[], tls.ResumingContext]) -> None:
        self._server = server
        self._want_context = want_context
        self._kept: dict[tuple[PortSetup, str], _Found] = {}

    async def find(self, port: PortSetup, source: str) -> Proxy | None:
        """None = directly. Raises EavesError when the settings cannot be followed."""
        proxy = port.proxy
        if not (proxy.pac or proxy.pac_url or proxy.discover):
            return _want_proxy(choose_server(proxy, self._server.host))
        now = asyncio.get_running_loop().time()
        kept = self._kept.get((port, source))
        if kept is not None and now - kept.at < KEPT_S:
            return kept.proxy
        pac = proxy.pac or await self._fetch_pac(port, source)
        found = _want_proxy(await self._ask(pac)) if pac else None
        self._kept = {key: entry for key, entry in self._kept.items() if now - entry.at < KEPT_S}
        self._kept[port, source] = _Found(found, now)
        return found

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
