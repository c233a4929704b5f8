"""Connections, drops and DNS answers → flow records. Pure: time is passed in.

Bounded in every direction; what is beyond is counted in ``lost`` and not kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from eaves.node.flows.model import DnsRecord, FlowBatch, FlowRecord, FlowScope, Packet
from eaves.node.networks import decide, recheck, ruleset
from eaves.node.networks.conntrack import Entry, Tuple
from eaves.node.networks.decide import Decision
from eaves.node.networks.model import Layout, WantedVif

OPEN_LIMIT = 8192
DONE_LIMIT = 4096
DROPS_LIMIT = 1024
DNS_LIMIT = 1024
BATCH_LIMIT = 200
"""Records in one message."""
OPEN_EVERY_S = 600.0
"""How often a connection that stays open is told."""
_NAMES_LIMIT = 1024

Key = tuple[str, Tuple]
"""(link of the app's interface, the connection as its opener sent)."""


class _Open(Struct):
    vif: WantedVif
    record: FlowRecord
    told_at: float = -OPEN_EVERY_S
    is_seen: bool = True


class FlowTracker:
    """Feed it with ``note_*``; :meth:`take` gives what there is to tell and forgets what has ended."""

    def __init__(self) -> None:
        self.lost = 0
        self._vifs: dict[str, WantedVif] = {}
        self._links: dict[str, WantedVif] = {}
        self._gateways: frozenset[str] = frozenset()
        self._fixed: dict[str, dict[str, tuple[str, ...]]] = {}
        self._resolved: dict[str, frozenset[str]] = {}
        self._open: dict[Key, _Open] = {}
        self._done: deque[tuple[WantedVif, FlowRecord]] = deque()
        self._drops: dict[tuple[str, FlowRecord], FlowRecord] = {}
        self._dns: deque[tuple[WantedVif, DnsRecord]] = deque()

    def set_layout(self, layout: Layout) -> None:
        """Which interfaces are followed from now on: those on networks that ask for flow logs."""
        logged = {bridge.network_id for bridge in layout.bridges if bridge.flow_log}
        followed = [vif for vif in layout.vifs if vif.network_id in logged and vif.address]
        self._vifs = {vif.address: vif for vif in followed}
        self._links = {vif.link: vif for vif in followed}
        self._gateways = frozenset(bridge.gateway for bridge in layout.bridges if bridge.network_id in logged)
        self._fixed = ruleset.want_fixed_hosts(layout)
        self._open = {key: found for key, found in self._open.items() if key[0] in self._links}

    @property
    def addresses(self) -> frozenset[str]:
        return frozenset(self._vifs)

    @property
    def hosts(self) -> frozenset[str]:
        """Host names of the rules of followed interfaces."""
        return frozenset(rule.host.lower() for vif in self._links.values() for rule in vif.acls if rule.host)

    def note_hosts(self, resolved: Mapping[str, frozenset[str]]) -> None:
        """What the kernel holds for host names of rules."""
        self._resolved |= resolved

    def note_entry(self, entry: Entry, now: float) -> None:
        """A connection as it is now; the first word about it is its start."""
        if recheck.is_always_allowed(entry, self._gateways):
            return
        for vif in self._parties(entry):
            key = (vif.link, entry.original)
            known = self._open.get(key)
            if known is None:
                if len(self._open) >= OPEN_LIMIT:
                    self.lost += 1
                    continue
                known = self._open[key] = _Open(vif, self._start(vif, entry, now))
            known.is_seen = True
            known.record = _with_counters(known.record, entry)

    def note_end(self, entry: Entry, now: float) -> None:
        """The kernel's last word about a connection."""
        self.note_entry(entry, now)
        for vif in self._parties(entry):
            if (found := self._open.pop((vif.link, entry.original), None)) is not None:
                self._finish(found, now)

    def note_table(self, entries: Iterable[Entry], asked_at: float, now: float) -> None:
        """All connections that there were at ``asked_at``; one that was known by then and is missing has ended unheard."""
        for found in self._open.values():
            found.is_seen = found.record.started_at >= asked_at
        for entry in entries:
            self.note_entry(entry, now)
        for key in [key for key, found in self._open.items() if not found.is_seen]:
            self._finish(self._open.pop(key), now)

    def note_drop(self, link: str, rule_id: int, packet: Packet, *, is_inbound: bool, now: float) -> None:
        """Equal drops of one round become one record with a count."""
        vif = self._links.get(link)
        if vif is None:
            return
        near = (packet.source, packet.source_port, packet.destination, packet.destination_port)
        address, port, far_address, far_port = near[2:] + near[:2] if is_inbound else near
        names = {rule.id: rule.name for rule in vif.acls}
        kind = FlowRecord(
            address,
            port,
            far_address,
            far_port,
            packet.protocol,
            is_inbound,
            False,
            rule_id,
            names.get(rule_id, ""),
            0.0,
        )
        key = (link, kind)
        known = self._drops.get(key)
        if known is None and len(self._drops) >= DROPS_LIMIT:
            self.lost += 1
            return
        known = known or replace(kind, started_at=now)
        size = packet.size_bytes
        counters = (
            {"received_bytes": known.received_bytes + size, "received_packets": known.received_packets + 1}
            if is_inbound
            else {"sent_bytes": known.sent_bytes + size, "sent_packets": known.sent_packets + 1}
        )
        self._drops[key] = replace(known, ended_at=now, **counters)

    def note_dns(self, address: str, name: str, addresses: frozenset[str], now: float) -> None:
        """An answer to the app at ``address``."""
        vif = self._vifs.get(address)
        if vif is None:
            return
        host = name.lower().rstrip(".")
        if host in self._resolved or len(self._resolved) < _NAMES_LIMIT:
            self._resolved[host] = self._resolved.get(host, frozenset()) | addresses
        if len(self._dns) >= DNS_LIMIT:
            self.lost += 1
            return
        self._dns.append((vif, DnsRecord(host, tuple(sorted(addresses)), now)))

    def take(self, now: float) -> list[FlowBatch]:
        """What there is to tell, by interface."""
        flows: dict[FlowScope, list[FlowRecord]] = {}
        names: dict[FlowScope, list[DnsRecord]] = {}
        for vif, record in self._done:
            flows.setdefault(_scope(vif), []).append(record)
        for (link, _), record in self._drops.items():
            flows.setdefault(_scope(self._links[link]), []).append(record) if link in self._links else None
        for found in self._open.values():
            if now - found.told_at >= OPEN_EVERY_S:
                found.told_at = now
                flows.setdefault(_scope(found.vif), []).append(found.record)
        for vif, dns in self._dns:
            names.setdefault(_scope(vif), []).append(dns)
        self._done.clear()
        self._drops.clear()
        self._dns.clear()
        return [
            batch for scope in {**flows, **names} for batch in _split(scope, flows.get(scope, []), names.get(scope, []))
        ]

    def _parties(self, entry: Entry) -> list[WantedVif]:
        ends = dict.fromkeys((entry.original.source, entry.reply.source))
        return [self._vifs[address] for address in ends if address in self._vifs]

    def _start(self, vif: WantedVif, entry: Entry, now: float) -> FlowRecord:
        seen = recheck.want_connection(entry, vif.address)
        decision = self._decide(vif, seen)
        return FlowRecord(
            vif.address,
            seen.local_port,
            seen.far_address,
            seen.far_port,
            seen.protocol,
            seen.is_inbound,
            True,
            decision.rule_id,
            decision.rule_name,
            now,
        )

    def _decide(self, vif: WantedVif, seen: decide.Connection) -> Decision:
        """The kernel let it pass; without a matching rule the rules have changed meanwhile."""
        known = recheck.Known(self._fixed.get(vif.network_id, {}), self._resolved)
        return decide.decide(vif.acls, seen, known.addresses_of)

    def _finish(self, found: _Open, now: float) -> None:
        if len(self._done) >= DONE_LIMIT:
            self.lost += 1
            return
        self._done.append((found.vif, replace(found.record, ended_at=now)))


def _scope(vif: WantedVif) -> FlowScope:
    return FlowScope(vif.app_id, vif.name, vif.link, vif.network_id)


def _with_counters(record: FlowRecord, entry: Entry) -> FlowRecord:
    sent = (entry.original_bytes, entry.original_packets)
    received = (entry.reply_bytes, entry.reply_packets)
    if record.is_inbound:
        sent, received = received, sent
    return replace(
        record,
        sent_bytes=max(record.sent_bytes, sent[0]),
        sent_packets=max(record.sent_packets, sent[1]),
        received_bytes=max(record.received_bytes, received[0]),
        received_packets=max(record.received_packets, received[1]),
    )


def _split(scope: FlowScope, flows: list[FlowRecord], names: list[DnsRecord]) -> Iterable[FlowBatch]:
    for start in range(0, max(len(flows), len(names)), BATCH_LIMIT):
        part = slice(start, start + BATCH_LIMIT)
        yield FlowBatch(scope, tuple(flows[part]), tuple(names[part]))
