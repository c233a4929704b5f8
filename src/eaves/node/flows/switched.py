"""Reads the counters that ``networks.switch_counts`` keeps of connections on switches. Blocking; for threads."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable

from eaves.node.flows.model import Counted
from eaves.node.networks import setdump, switch_counts
from eaves.node.networks.setdump import Element

_SHAPES = {
    ("4", True): struct.Struct("!4s4sB3xH2xH2x"),
    ("4", False): struct.Struct("!4s4sB3x"),
    ("6", True): struct.Struct("!16s16sB3xH2xH2x"),
    ("6", False): struct.Struct("!16s16sB3x"),
}
"""(number of the family in the sets' names, whether keys have ports) → the key: near and far address, protocol, near and far port."""
_FAMILIES = {"4": socket.AF_INET, "6": socket.AF_INET6}


def load_counted(table: str, link: str) -> tuple[list[Counted], bool]:
    """Connections of the app at ``link``, and whether there was no room to count all. Raises OSError."""
    found: list[Counted] = []
    is_full = False
    for number, has_ports in _SHAPES:
        sent, got, calls = (
            _list(table, switch_counts.name_set(kind, number, link, has_ports=has_ports))
            for kind in ("sent", "got", "calls")
        )
        is_full |= max(len(sent), len(got)) >= switch_counts.SIZE
        found += join(number, sent, got, {element.key for element in calls}, has_ports=has_ports)
    return found, is_full


def join(
    number: str, sent: Iterable[Element], got: Iterable[Element], calls: set[bytes], *, has_ports: bool
) -> list[Counted]:
    """Both ways of each connection. Pure."""
    by_key = {element.key: element for element in got}
    pairs = [(element, by_key.pop(element.key, Element(element.key))) for element in sent]
    pairs += [(Element(key), element) for key, element in by_key.items()]
    shape = _SHAPES[number, has_ports]
    texts = _Texts(_FAMILIES[number])
    return [
        _want_counted(texts, shape.unpack(ours.key), ours.key in calls, ours, theirs)
        for ours, theirs in pairs
        if len(ours.key) == shape.size
    ]


class _Texts(dict[bytes, str]):
    """Packed address → text, one object for all connections of an address: a flood has thousands, and they are kept."""

    def __init__(self, family: int) -> None:
        self._family = family

    def __missing__(self, packed: bytes) -> str:
        text = self[packed] = socket.inet_ntop(self._family, packed)
        return text


def _want_counted(
    texts: _Texts, key: tuple[bytes, bytes, int, *tuple[int, ...]], is_inbound: bool, sent: Element, got: Element
) -> Counted:
    near, far, protocol, *ports = key
    port, far_port = ports or (0, 0)
    return Counted(
        texts[near],
        texts[far],
        protocol,
        port,
        far_port,
        is_inbound,
        max(0.0, switch_counts.SILENCE_S - max(sent.left_s, got.left_s)),
        sent.packets,
        sent.size_bytes,
        got.packets,
        got.size_bytes,
    )


def _list(table: str, name: str) -> list[Element]:
    """Without the set nothing was counted: the firewall is being made, or the log was switched off meanwhile."""
    try:
        return list(setdump.list_elements(setdump.BRIDGE, table, name))
    except FileNotFoundError:
        return []
