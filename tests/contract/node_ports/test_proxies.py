"""PAC files by the interpreter itself, and where they come from."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from eaves.node.desired.port_model import IpSetup, PortSetup, ProxyScheme, ProxyServer, ProxySetup
from eaves.node.images.download.errors import FetchError
from eaves.node.images.download.protocol import Setup
from eaves.node.images.download.proxies import Proxies
from eaves.node.link.client import Proxy, Server
from eaves.node.link.tls import want_context
from eaves.node.portproxies import ProxyFinder
from eaves.node.ports.errors import PortError
from eaves.testing.daemons import wait_for
from eaves.testing.namespaces import Namespace
from eaves.testing.tcp_server import TcpServer

CONTROLLER = Server("controller.shop.example", 8443)
PAC = """
function FindProxyForURL(url, host) {
  if (dnsDomainIs(host, ".shop.example") && url.substring(0, 6) == "https:") return "PROXY proxy.example:3129";
  return "DIRECT";
}
"""


@pytest.fixture
def finder() -> ProxyFinder:
    return ProxyFinder(CONTROLLER, lambda: want_context(b"", use_system=False))


class PacServer:
    """Serves one file and counts who asked."""

    def __init__(self, status: str = "200 OK") -> None:
        self.status = status
        self.asked: list[bytes] = []
        self.server = TcpServer(self._talk)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked.append((await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[0])
        writer.write(f"HTTP/1.1 {self.status}\r\ncontent-length: {len(PAC)}\r\n\r\n{PAC}".encode())
        await writer.drain()
        writer.close()


@pytest.fixture
async def served() -> AsyncIterator[PacServer]:
    found = PacServer()
    await found.server.start()
    yield found
    await found.server.stop()


def port(**proxy: Any) -> PortSetup:
    # No interface: what answers is on this machine's own loopback.
    return PortSetup("wan", "", proxy=ProxySetup(**proxy), ip=IpSetup(domain="nowhere.invalid"))


async def test_a_file_says_which_proxy(finder: ProxyFinder) -> None:
    assert await finder.find(port(pac=PAC), "") == Proxy("proxy.example", 3129)
    assert await finder.find(port(pac=PAC.replace("shop", "other")), "") is None


async def test_named_servers_need_no_file(finder: ProxyFinder) -> None:
    server = ProxyServer(ProxyScheme.HTTP, "proxy.example", 81)
    assert await finder.find(port(servers=(server,)), "") == Proxy("proxy.example", 81)
    assert await finder.find(port(servers=(server,), exceptions=(".shop.example",)), "") is None


async def test_a_file_is_fetched_once(finder: ProxyFinder, served: PacServer) -> None:
    asking = port(pac_url=f"http://127.0.0.1:{served.server.port}/proxy.pac?x=1")
    for _ in range(2):
        assert await finder.find(asking, "") == Proxy("proxy.example", 3129)
    assert served.asked == [b"GET /proxy.pac?x=1 HTTP/1.1"]


async def test_a_file_that_is_not_there_is_told(finder: ProxyFinder, served: PacServer) -> None:
    served.status = "404 Not Found"
    with pytest.raises(PortError, match="answers 404"):
        await finder.find(port(pac_url=f"http://127.0.0.1:{served.server.port}/proxy.pac"), "")


async def test_where_nothing_can_be_discovered_the_way_is_direct(finder: ProxyFinder) -> None:
    assert await finder.find(port(discover=True), "") is None


DISCOVER = """
import asyncio, sys
from eaves.node.desired.port_model import PortSetup, ProxySetup
from eaves.node.link.client import Server
from eaves.node.link.tls import want_context
from eaves.node.portproxies import ProxyFinder

finder = ProxyFinder(Server("controller.shop.example", 8443), lambda: want_context(b"", use_system=False))
found = asyncio.run(finder.find(PortSetup("wan", "", proxy=ProxySetup(discover=True)), ""))
print(found and f"{found.host}:{found.port}")
"""


def test_a_file_is_discovered_by_the_name_of_the_sites_domain(tmp_path: Path) -> None:
    """By a real DNS server and a web server on port 80, in a network stack with a resolver of its own (RFC draft WPAD, section 4.4.2)."""
    (tmp_path / "resolv.conf").write_text("search floor.shop.example\nnameserver 127.0.0.1\n")
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "wpad.dat").write_text(PAC)
    inside = f'mount --bind {tmp_path}/resolv.conf /etc/resolv.conf && exec "$@"'
    with Namespace() as site, contextlib.ExitStack() as stack:
        dns = (
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--no-hosts",
            "--no-resolv",
            "--user=root",
            "--pid-file=",
        )
        # Only the shorter name is there: the search goes on from the longer one.
        for argv in (
            ("dnsmasq", *dns, "--address=/wpad.shop.example/127.0.0.80", "--address=/#/"),
            ("busybox", "httpd", "-f", "-p", "127.0.0.80:80", "-h", str(tmp_path / "www")),
        ):
            server = subprocess.Popen(site.argv(*argv), stdin=subprocess.DEVNULL)
            stack.callback(server.wait)
            stack.callback(server.kill)
        asking = ("unshare", "--mount", "sh", "-ec", inside, "sh", sys.executable, "-c", DISCOVER)
        # The servers may not listen yet when they are asked first.
        wait_for("the file to be found", lambda: site.run(*asking).strip() == "proxy.example:3129", 60)


@pytest.mark.parametrize(
    "pac", ["this is no program (", "function FindProxyForURL(u, h) { throw 'no'; }", "function other() {}"]
)
async def test_a_broken_file_is_told(finder: ProxyFinder, pac: str) -> None:
    with pytest.raises(PortError, match="cannot be run"):
        await finder.find(port(pac=pac), "")


async def test_a_file_without_end_is_ended(finder: ProxyFinder) -> None:
    with pytest.raises(PortError, match="cannot be run"):
        await finder.find(port(pac="function FindProxyForURL(u, h) { while (true) {} }"), "")


def test_downloads_ask_a_file_for_each_host() -> None:
    proxies = Proxies(Setup(kind="http", base="http://files.shop.example", folder="/", pac=PAC))
    tunnel = proxies.choose(urlsplit("https://files.shop.example/disk"))
    assert tunnel is not None
    assert tunnel.netloc == "proxy.example:3129"
    assert proxies.choose(urlsplit("https://elsewhere.example/disk")) is None, "where a redirect leads"
    assert proxies.choose(urlsplit("http://127.0.0.1/disk")) is None
    broken = Proxies(Setup(kind="http", base="http://files.shop.example", folder="/", pac="this is no program ("))
    with pytest.raises(FetchError, match="cannot be run"):
        broken.choose(urlsplit("https://files.shop.example/disk"))
