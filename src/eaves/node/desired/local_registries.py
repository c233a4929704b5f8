"""Registries of a node's own surroundings, which the field asks without TLS when they have none. Pure.

EVE's download code (go-containerregistry, ``pkg/name``) tries TLS first and then does without for hosts of these kinds, and Eden's own
registry is one of them. Who runs Eaves' controller says which registries have no TLS, so its configs rule this out.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

_NETWORKS = tuple(
    ipaddress.ip_network(network)
    for network in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "::1/128")
)
_SUFFIXES = (".local", ".localhost")


def is_local_registry(server: str) -> bool:
    """``server``: ``host[:port]``."""
    host = (urlsplit(f"//{server}").hostname or "").lower()
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(_SUFFIXES)
    return any(address in network for network in _NETWORKS)
