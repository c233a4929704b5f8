"""Ends the connections that are left on an uplink that failed, so that they start anew by the one that took over.

A connection keeps its uplink's address for life. Without this a UDP talk would go on into the dead uplink for as long as it goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from eaves.node.networks import conntrack
from eaves.node.networks.model import Layout, SeenHost


def list_failed(former: Layout | None, now: Layout, faulty: Iterable[str]) -> dict[str, str]:
    """Network id → interface that it left because that failed. Pure."""
    failed = set(faulty)
    before = {bridge.network_id: bridge.uplink for bridge in former.bridges} if former is not None else {}
    return {
        bridge.network_id: uplink
        for bridge in now.bridges
        if (uplink := before.get(bridge.network_id, "")) in failed and bridge.uplink and bridge.uplink != uplink
    }


def pick_stranded(entries: Iterable[conntrack.Entry], addresses: frozenset[str]) -> list[conntrack.Entry]:
    """Connections that left with one of these addresses of an uplink. Pure."""
    return [entry for entry in entries if entry.reply.destination in addresses]


async def end_stranded(layout: Layout, failed: Mapping[str, str], seen: SeenHost) -> int:
    """Answers how many connections were ended. Raises OSError."""
    ended = 0
    for interface in sorted(set(failed.values())):
        port = seen.ports.get(interface)
        own = frozenset(address.split("/")[0] for address in port.addresses) if port is not None else frozenset()
        apps = frozenset(vif.address for vif in layout.vifs if failed.get(vif.network_id) == interface)
        if own and apps:
            entries = await asyncio.to_thread(conntrack.list_entries, apps)
            ended += await asyncio.to_thread(conntrack.end_entries, pick_stranded(entries, own))
    return ended
