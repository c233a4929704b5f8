"""Ends the open connections of an app that its edited rules forbid; those that they allow go on.

The table accepts packets of open connections unseen, so an edit alone would leave them. ``service`` calls this after the table
was changed: for the interfaces whose rules differ, and for all of them once after a start, since the last daemon may have died
between the two.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping

from msgspec import Struct

from eaves.node.networks import conntrack, decide, ruleset
from eaves.node.networks.model import Layout, WantedVif

_DNS_PORT = 53


class Known(Struct, frozen=True):
    """Addresses by host name, for one network: what the node itself knows and what DNS said."""

    fixed: Mapping[str, tuple[str, ...]] = {}
    resolved: Mapping[str, frozenset[str]] = {}

    def addresses_of(self, host: str) -> Collection[str]:
        return self.fixed.get(host) or self.resolved.get(host, frozenset())


def list_changed(former: Layout | None, layout: Layout) -> tuple[WantedVif, ...]:
    """Interfaces whose connections need a look: edited ones, and new ones, whose address may have been another app's."""
    return list_edited(former.vifs if former is not None else (), layout.vifs)


def list_edited(former: Iterable[WantedVif], wanted: Iterable[WantedVif]) -> tuple[WantedVif, ...]:
    """Those of ``wanted`` that have other rules or another address than before."""
    before = {vif.link: (vif.address, vif.acls) for vif in former}
    return tuple(vif for vif in wanted if before.get(vif.link) != (vif.address, vif.acls))


async def end_forbidden(vifs: Iterable[WantedVif], layout: Layout, resolved: Mapping[str, frozenset[str]]) -> int:
    """Answers how many connections were ended. Raises OSError."""
    looked_at = tuple(vifs)
    if not looked_at:
        return 0
    addresses = frozenset(vif.address for vif in looked_at)
    entries = await asyncio.to_thread(conntrack.list_entries, addresses)
    forbidden = list_forbidden(looked_at, layout, resolved, entries)
    return await asyncio.to_thread(conntrack.end_entries, forbidden) if forbidden else 0


def list_forbidden(
    vifs: Iterable[WantedVif],
    layout: Layout,
    resolved: Mapping[str, frozenset[str]],
    entries: Iterable[conntrack.Entry],
) -> list[conntrack.Entry]:
    """Those of ``entries`` that no rule allows now. Pure."""
    by_address = {vif.address: vif for vif in vifs}
    gateways = {bridge.gateway for bridge in layout.bridges}
    fixed = ruleset.want_fixed_hosts(layout)
    found = []
    for entry in entries:
        for address in {entry.original.source, entry.reply.source} & by_address.keys():
            vif = by_address[address]
            known = Known(fixed.get(vif.network_id, {}), resolved)
            if not is_always_allowed(entry, gateways) and not is_allowed(vif, entry, known):
                found.append(entry)
                break
    return found


def is_allowed(vif: WantedVif, entry: conntrack.Entry, known: Known) -> bool:
    return decide.decide(vif.acls, want_connection(entry, vif.address), known.addresses_of).is_allowed


def is_always_allowed(entry: conntrack.Entry, gateways: Collection[str]) -> bool:
    """DNS, DHCP and metadata need no rule; connections that another one opened follow that one."""
    sent = entry.original
    is_dns = sent.destination in gateways and sent.destination_port == _DNS_PORT
    is_dhcp = sent.protocol == 17 and {sent.source_port, sent.destination_port} == {67, 68}
    return entry.is_helped or is_dns or is_dhcp or sent.destination == ruleset.METADATA_ADDRESS


def want_connection(entry: conntrack.Entry, address: str) -> decide.Connection:
    """The entry as the interface with ``address`` sees it, after the translations that come before the rules."""
    sent, answered = entry.original, entry.reply
    if sent.source == address:
        return decide.Connection(
            sent.protocol, sent.source_port, answered.source, answered.source_port, is_inbound=False
        )
    node_port = sent.destination_port if entry.is_redirected else 0
    return decide.Connection(
        sent.protocol,
        answered.source_port,
        sent.source,
        sent.source_port,
        is_inbound=True,
        node_port=node_port,
    )
