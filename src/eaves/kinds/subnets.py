"""Arithmetic of a network's addresses: subnet, gateway, DHCP range, overlap, choice of a free subnet.

Admission chooses subnets for networks that ask for none, compile fills in gateway and range. IPv4 only: local network
instances of the device API know no other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network

POOL = IPv4Network("10.160.0.0/11")
"""Subnets are chosen from here: private, and away from what Docker, Podman, K3s and most site routers take for themselves."""

POOL_PREFIX = 24
SMALLEST_PREFIX = 29
"""A subnet needs room for the gateway, a few apps, network and broadcast address."""


def subnet_of(text: str) -> IPv4Network:
    """The subnet that ``text`` names. Raises ``ValueError`` for anything else, host bits included."""
    return IPv4Network(text)


def overlaps(one: str, other: str) -> bool:
    """Whether two subnets share an address. Raises ``ValueError`` when either is none."""
    return IPv4Network(one).overlaps(IPv4Network(other))


def default_gateway(subnet: IPv4Network) -> IPv4Address:
    """The first host address."""
    return subnet.network_address + 1


def default_dhcp_range(subnet: IPv4Network) -> tuple[IPv4Address, IPv4Address]:
    """First and last address given out: the lower quarter (at most 64 addresses) stays free for fixed ones."""
    reserved = max(2, min(64, subnet.num_addresses // 4))
    return subnet.network_address + reserved, subnet.broadcast_address - 1


def allocate_subnet(existing: Iterable[str], uid: str) -> str:
    """A subnet from the pool that overlaps none of ``existing``, where the search starts at a place given by ``uid``.

    The same network therefore tends to get the same subnet, and networks made at the same moment by two processes
    different ones. When the pool is used up a subnet is used twice: networks on different nodes may share one, and
    admission refuses those on a common node.
    """
    taken = _taken_slots(existing)
    slots = 1 << (POOL_PREFIX - POOL.prefixlen)
    start = int.from_bytes(hashlib.sha256(uid.encode()).digest()[:4]) % slots
    slot = next((s for s in ((start + step) % slots for step in range(slots)) if s not in taken), start)
    address = POOL.network_address + slot * (1 << (32 - POOL_PREFIX))
    return f"{address}/{POOL_PREFIX}"


def _taken_slots(existing: Iterable[str]) -> set[int]:
    taken: set[int] = set()
    first = int(POOL.network_address)
    slot_size = 1 << (32 - POOL_PREFIX)
    for text in existing:
        try:
            network = IPv4Network(text, strict=False)
        except ValueError:
            continue
        if network.overlaps(POOL):
            low = max(int(network.network_address), first)
            high = min(int(network.broadcast_address), int(POOL.broadcast_address))
            taken.update(range((low - first) // slot_size, (high - first) // slot_size + 1))
    return taken
