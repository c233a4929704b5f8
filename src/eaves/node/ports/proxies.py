"""Which proxy a port's settings mean for one host. Pure.

A proxy auto-configuration file answers with a list such as ``PROXY proxy.example:3128; DIRECT``; its form is a convention of browsers.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address, ip_network

from eaves.node.desired.port_model import ProxyScheme, ProxyServer, ProxySetup
from eaves.node.ports.errors import PortError

_USUAL_PORT = 3128
_OURS = (ProxyScheme.HTTPS, ProxyScheme.HTTP)
"""Whose proxies tunnel TLS for us, in the order of choice."""


def choose_server(proxy: ProxySetup, host: str) -> ProxyServer | None:
    """Of the servers that are named; None = directly."""
    if is_exception(host, proxy.exceptions):
        return None
    found = {server.scheme: server for server in proxy.servers}
    return next((found[scheme] for scheme in _OURS if scheme in found), None)


def is_exception(host: str, exceptions: Sequence[str]) -> bool:
    """Whether ``host`` is one of, or below or in one of, ``exceptions``; loopback always is."""
    try:
        address = ip_address(host.strip("[]"))
    except ValueError:
        address = None
    if host == "localhost" or (address is not None and address.is_loopback):
        return True
    return any(_matches(host.lower(), address, entry.strip().lower()) for entry in exceptions)


def _matches(host: str, address: object, entry: str) -> bool:
    if not entry:
        return False
    name = entry.lstrip("*").lstrip(".")
    if entry == "*" or host == name or host.endswith(f".{name}"):
        return True
    try:
        return address is not None and "/" in entry and address in ip_network(entry, strict=False)
    except ValueError:
        return False


def parse_answer(answer: str) -> ProxyServer | None:
    """The first entry that can be used; None = directly. Raises PortError when there is none."""
    for entry in filter(None, (part.strip() for part in answer.split(";"))):
        kind, _, where = entry.partition(" ")
        if kind.upper() == "DIRECT":
            return None
        if kind.upper() in ("PROXY", "HTTP"):
            host, _, port = where.strip().rpartition(":")
            if not port.isdecimal():
                host, port = where.strip(), str(_USUAL_PORT)
            if host and 0 < int(port) < 65536:
                return ProxyServer(ProxyScheme.HTTPS, host.strip("[]"), int(port))
    raise PortError(
        "its proxy auto-configuration file names no proxy that can be used",
        details=answer[:200],
        resolution="let it name an HTTP proxy (PROXY host:port) or DIRECT for the controller",
    )


def list_wpad_urls(domains: Sequence[str]) -> list[str]:
    """Where a file is looked for, of the longest name first; never in a top-level domain, which belongs to strangers."""
    urls: dict[str, None] = {}
    for domain in domains:
        labels = domain.strip(".").lower().split(".")
        for start in range(max(1, len(labels) - 1)):
            if len(labels) - start >= 2 or len(labels) == 1:
                urls[f"http://wpad.{'.'.join(labels[start:])}/wpad.dat"] = None
    return list(urls)
