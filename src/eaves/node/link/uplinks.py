"""Which way out to take: uplinks by ascending cost, rotating among equals, failed ones last.

``calls`` asks for a plan before each request and reports what happened. Without configured uplinks the host's own routing decides
and there is one attempt without a source address. :func:`plan_attempts` is pure; :class:`Uplinks` holds what was seen.
"""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from eaves.kit import process
from eaves.kit.errors import EavesError

log = logging.getLogger(__name__)

RETRY_FAILED_S = 300.0
"""A failed uplink is tried in its turn again after this time (``timer.port.testinterval``)."""
_ADDRESSES_KEPT_S = 30.0


class Uplink(Struct, frozen=True):
    """A way out: a host interface with a label for people and a cost from 0 (best) to 255."""

    label: str
    interface: str
    cost: int = 0
    is_bound: bool = False
    """Packets leave by the interface whatever the host's routes say: they are Eaves' own, one for each uplink."""


class Attempt(Struct, frozen=True):
    """One try: ``label`` of the uplink (empty = the host decides), the source address, and the interface to leave by (empty likewise)."""

    label: str
    source: str
    interface: str = ""


HOST_ROUTING = Attempt("", "")


def plan_attempts(
    uplinks: Sequence[Uplink], addresses: Mapping[str, Sequence[str]], failed: frozenset[str], iteration: int
) -> list[Attempt]:
    """The attempts of one request in order. ``addresses`` by interface, ``failed`` labels are left out unless all are."""
    if not uplinks:
        return [HOST_ROUTING]
    usable = [uplink for uplink in uplinks if addresses.get(uplink.interface)]
    working = [uplink for uplink in usable if uplink.label not in failed] or usable
    ordered: list[Uplink] = []
    for _, members in itertools.groupby(
        sorted(working, key=lambda uplink: uplink.cost), key=lambda uplink: uplink.cost
    ):
        peers = list(members)
        start = iteration % len(peers)
        ordered += peers[start:] + peers[:start]
    return [
        Attempt(uplink.label, source, uplink.interface if uplink.is_bound else "")
        for uplink in ordered
        for source in addresses[uplink.interface]
    ]


def parse_addresses(text: bytes) -> dict[str, tuple[str, ...]]:
    """Usable source addresses by interface from ``ip -j addr``: global ones, IPv4 before IPv6, no temporary failures."""
    found: dict[str, tuple[str, ...]] = {}
    links: list[dict[str, Any]] = msgspec.json.decode(text)
    for link in links:
        entries = [entry for entry in link.get("addr_info", ()) if _is_usable(entry)]
        entries.sort(key=lambda entry: entry["family"] != "inet")
        if entries:
            found[str(link["ifname"])] = tuple(str(entry["local"]) for entry in entries)
    return found


def _is_usable(entry: Mapping[str, Any]) -> bool:
    if entry.get("tentative") or entry.get("dadfailed") or entry.get("deprecated") or "local" not in entry:
        return False
    address = ipaddress.ip_address(str(entry["local"]))
    return not (address.is_loopback or address.is_link_local or address.is_multicast)


async def load_addresses() -> dict[str, tuple[str, ...]]:
    """Ask the kernel, by ``ip``. Raises EavesError when it is not installed or fails."""
    done = await process.run(["ip", "-j", "addr", "show"], timeout_s=10)
    return parse_addresses(done.stdout)


class Uplinks:
    """What is known of the uplinks now."""

    def __init__(
        self,
        configured: Sequence[Uplink],
        *,
        load: Callable[[], Any] = load_addresses,
    ) -> None:
        self._configured = tuple(configured)
        self._load = load
        self._addresses: dict[str, tuple[str, ...]] = {}
        self._loaded_at = -_ADDRESSES_KEPT_S
        self._failed_at: dict[str, float] = {}
        self._iteration = 0

    @property
    def configured(self) -> tuple[Uplink, ...]:
        return self._configured

    def configure(self, uplinks: Sequence[Uplink]) -> None:
        """Others from now on."""
        if tuple(uplinks) != self._configured:
            self._configured = tuple(uplinks)
            self._failed_at.clear()
            self._loaded_at = -_ADDRESSES_KEPT_S

    async def attempts(self) -> list[Attempt]:
        """The plan for one request; no attempt when no uplink has an address."""
        if not self._configured:
            return [HOST_ROUTING]
        now = asyncio.get_running_loop().time()
        if now - self._loaded_at >= _ADDRESSES_KEPT_S:
            await self._refresh(now)
        failed = frozenset(label for label, at in self._failed_at.items() if now - at < RETRY_FAILED_S)
        self._iteration += 1
        return plan_attempts(self._configured, self._addresses, failed, self._iteration)

    def note_success(self, attempt: Attempt) -> None:
        self._failed_at.pop(attempt.label, None)

    def note_failure(self, attempt: Attempt) -> None:
        self._failed_at[attempt.label] = asyncio.get_running_loop().time()
        # The address may be gone; the next request looks again.
        self._loaded_at = -_ADDRESSES_KEPT_S

    async def _refresh(self, now: float) -> None:
        try:
            addresses = await self._load()
        except EavesError as error:
            log.warning("addresses of uplinks cannot be read, using the known ones: error=%s", error)
            return
        changed = {
            interface
            for interface in {*addresses, *self._addresses}
            if addresses.get(interface) != self._addresses.get(interface)
        }
        for uplink in self._configured:
            if uplink.interface in changed:
                self._failed_at.pop(uplink.label, None)
        self._addresses, self._loaded_at = addresses, now
