"""What connections through the port of an app on a switch are told apart by, as nftables text. Pure.

A key is a connection seen from the app: its address, the far one, protocol and ports; packets both ways have the same.
"""

from __future__ import annotations

from enum import StrEnum

STREAM_TIMEOUT = "3h"
"""Longer than the pause after which TCP asks whether the other side is still there."""
OTHER_TIMEOUT = "3m"
CLOSING_TIMEOUT = "1m"
WITH_PORTS = "{ tcp, udp, sctp, dccp }"
FAMILIES = (("4", "ip", "ipv4_addr"), ("6", "ip6", "ipv6_addr"))
"""(number in names of sets, family of matches, type of addresses)."""


class Way(StrEnum):
    OUT = "from"
    IN = "to"


def render_set(name: str, address: str, *, has_ports: bool, timeout: str, size: int) -> str:
    """The declaration of a set of keys with addresses of type ``address``."""
    key = f"{address} . {address} . inet_proto" + (" . inet_service . inet_service" if has_ports else "")
    return f"  set {name} {{ type {key}; flags dynamic,timeout; timeout {timeout}; size {size}; }}"


def render_pair(family: str, way: Way) -> str:
    """The key of a packet without ports."""
    near, far = ("saddr", "daddr") if way is Way.OUT else ("daddr", "saddr")
    return f"{family} {near} . {family} {far} . meta l4proto"


def render_key(family: str, way: Way) -> str:
    near, far = ("sport", "dport") if way is Way.OUT else ("dport", "sport")
    return f"{render_pair(family, way)} . th {near} . th {far}"
