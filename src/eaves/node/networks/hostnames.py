"""Keeps the addresses of host names that rules speak of current.

dnsmasq puts an address into its name's set before it answers the app, so the first packet after a look-up already passes. What it
answers from its cache it does not put in again, and an app may know the address from before the rule; hence this asks
for each name itself: at once when a rule names it, then again and again. An address that DNS no longer says runs out by its time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping

import msgspec

from eaves.kit import process
from eaves.node.instance import Instance
from eaves.node.networks import lookup, ruleset
from eaves.node.networks.model import Layout

log = logging.getLogger(__name__)

REFRESH_S = 300.0
_AT_ONCE = 16


class HostNames:
    """One for all networks; ``service`` tells it the layout whose table and name servers are in place."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._wanted: frozenset[tuple[str, str]] = frozenset()
        self._wake = asyncio.Event()

    def set_layout(self, layout: Layout) -> None:
        """New names are asked for at once."""
        wanted = want_lookups(layout)
        if wanted - self._wanted:
            self._wake.set()
        self._wanted = wanted

    async def run(self) -> None:
        """For ever."""
        while True:
            self._wake.clear()
            await self._refresh()
            try:
                async with asyncio.timeout(REFRESH_S if self._wanted else None):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def load(self, hosts: Iterable[str]) -> dict[str, frozenset[str]]:
        """The addresses that the kernel holds for each of ``hosts`` now."""
        return {host: await self._load_set(ruleset.name_host_set(host)) for host in sorted(set(hosts))}

    async def _refresh(self) -> None:
        gate = asyncio.Semaphore(_AT_ONCE)

        async def find(gateway: str, host: str) -> tuple[str, frozenset[str]]:
            async with gate:
                return host, await lookup.find_addresses(gateway, host)

        found = await asyncio.gather(*(find(gateway, host) for gateway, host in sorted(self._wanted)))
        addresses: dict[str, frozenset[str]] = {}
        for host, said in found:
            addresses[host] = addresses.get(host, frozenset()) | said
        transaction = render_renewal(self._instance.table, addresses)
        if not transaction:
            return
        try:
            await process.run(["nft", "-f", "-"], stdin=transaction.encode(), timeout_s=20)
        except process.ProcessError as error:
            # The rule may be gone meanwhile, and its set with it; the next round knows.
            log.warning("addresses of host names were not renewed: error=%s", error)

    async def _load_set(self, name: str) -> frozenset[str]:
        argv = ["nft", "-j", "list", "set", "inet", self._instance.table, name]
        shown = await process.run(argv, timeout_s=20, check=False)
        return parse_elements(shown.stdout) if shown.returncode == 0 else frozenset()


def want_lookups(layout: Layout) -> frozenset[tuple[str, str]]:
    """(gateway whose dnsmasq is asked, host)."""
    hosts = ruleset.want_hosts(layout)
    return frozenset(
        (bridge.gateway, host) for bridge in layout.bridges for host in hosts.get(bridge.network_id, set())
    )


def render_renewal(table: str, addresses: Mapping[str, frozenset[str]]) -> str:
    """A transaction that gives each element its full time again. Older kernels keep the time of an element that is added twice."""
    lines = []
    for host, found in sorted(addresses.items()):
        if found:
            element = f"element inet {table} {ruleset.name_host_set(host)} {{ {', '.join(sorted(found))} }}"
            lines += [f"add {element}", f"delete {element}", f"add {element}"]
    return "".join(f"{line}\n" for line in lines)


def parse_elements(text: bytes) -> frozenset[str]:
    """Elements of a set as ``nft -j`` lists it; those with a time are objects."""
    shown = msgspec.json.decode(text or b"{}")
    found = set()
    for item in shown.get("nftables", []):
        for element in item.get("set", {}).get("elem", []):
            found.add(element["elem"]["val"] if isinstance(element, dict) else element)
    return frozenset(text for text in found if isinstance(text, str))
