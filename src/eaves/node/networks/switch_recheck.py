"""Forgets the open connections of an app on a switch that its edited rules forbid; those that they allow go on.

The counterpart of ``recheck`` for the sets of ``switch_rules``. A remembered connection does not say who opened it, so it stays if
the rules allow it either way; which is all that a new packet would need.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from eaves.kit import process
from eaves.node.networks import decide, switch_rules
from eaves.node.networks.model import WantedVif

_NUMBERS = {"icmp": 1, "tcp": 6, "udp": 17, "dccp": 33, "ipv6-icmp": 58, "sctp": 132}
_DNS_PORT = 53
Element = tuple[str | int, ...]
"""(app's address, far address, protocol[, app's port, far port])."""


async def end_forbidden(vifs: Iterable[WantedVif], table: str) -> int:
    """Answers how many were forgotten. Raises ProcessError."""
    lines: list[str] = []
    for vif in vifs:
        for name in switch_rules.list_sets(vif.link):
            if name.startswith("closing"):
                continue
            argv = ["nft", "-j", "-n", "list", "set", "bridge", table, name]
            shown = await process.run(argv, timeout_s=20, check=False)
            if shown.returncode:
                continue
            for element in list_forbidden(vif, parse_elements(shown.stdout)):
                # Added before, since it may have run out meanwhile and a transaction fails as a whole.
                what = f"element bridge {table} {name} {{ {' . '.join(str(part) for part in element)} }}"
                lines += [f"add {what}", f"delete {what}"]
    if lines:
        await process.run(["nft", "-f", "-"], stdin="".join(f"{line}\n" for line in lines).encode(), timeout_s=20)
    return len(lines) // 2


def list_forbidden(vif: WantedVif, elements: Iterable[Element]) -> list[Element]:
    """Those that no rule of the interface allows now. Pure."""
    return [element for element in elements if not _is_allowed(vif, element)]


def parse_elements(text: bytes) -> list[Element]:
    """Elements of a set as ``nft -j -n`` lists it."""
    shown = msgspec.json.decode(text or b"{}")
    found: list[Element] = []
    for item in shown.get("nftables", []):
        for element in item.get("set", {}).get("elem", []):
            key: Any = element["elem"]["val"] if "elem" in element else element
            found.append(tuple(key["concat"]))
    return found


def _is_allowed(vif: WantedVif, element: Element) -> bool:
    _, far_address, protocol, *ports = element
    number = protocol if isinstance(protocol, int) else _NUMBERS.get(protocol, -1)
    local_port, far_port = (int(port) for port in ports) if ports else (0, 0)
    if far_port == _DNS_PORT and number in (6, 17):
        return True
    return any(
        decide.decide(
            vif.acls,
            decide.Connection(number, local_port, str(far_address), far_port, is_inbound=is_inbound),
            lambda _: (),
        ).is_allowed
        for is_inbound in (False, True)
    )
