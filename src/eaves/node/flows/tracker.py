"""Connections, drops and DNS answers → flow records. Pure: time is passed in.

Bounded in every direction; what is beyond is counted in ``lost`` and not kept.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from eaves.node.flows import records
from eaves.node.flows.model import Counted, DnsRecord, FlowBatch, FlowRecord, FlowScope, Packet
from eaves.node.networks import decide, recheck, ruleset, switch_counts
from eaves.node.networks.conntrack import Entry, Tuple
from eaves.node.networks.decide import Decision
from eaves.node.networks.model import Layout, WantedVif

OPEN_LIMIT = 8192
LINK_LIMIT = OPEN_LIMIT // 2
"""Open connections of one interface, so that a flood leaves room for the others."""
DONE_LIMIT = 4096
DROPS_LIMIT = 1024
DNS_LIMIT = 1024
OPEN_EVERY_S = 600.0
"""How often a connection that stays open is told."""
_NAMES_LIMIT = 1024

Key = tuple[str, Tuple]
"""(link of the app's interface, the connection as its opener sent; on a switch as the app sends)."""


class _Open(Struct):
    vif: WantedVif
    record: FlowRecord
    told_at: float = -OPEN_EVERY_S
    is_seen: bool = True
    active_at: float = 0.0
    """When its last packet passed; only known on switches."""

    @property
    def is_uncounted(self) -> bool:
        """It was heard of on a switch, and its counters not yet."""
        return self.vif.is_switched and not self.record.sent_packets + self.record.received_packets


class FlowTracker:
    """Feed it with ``note_*``; :meth:`take` gives what there is to tell and forgets what has ended."""

    def __init__(self) -> None:
        self.lost = 0
        self.switch_links: tuple[str, ...] = ()
        """Links of followed interfaces on switches."""
        self._vifs: dict[str, WantedVif] = {}
        self._links: dict[str, WantedVif] = {}
        self._gateways: frozenset[str] = frozenset()
        self._fixed: dict[str, dict[str, tuple[str, ...]]] = {}
        self._resolved: dict[str, frozenset[str]] = {}
        self._open: dict[Key, _Open] = {}
        self._open_on: Counter[str] = Counter()
        """How many of them, by link."""
        self._done: deque[tuple[WantedVif, FlowRecord]] = deque()
        self._drops: dict[tuple[str, FlowRecord], FlowRecord] = {}
        self._dns: deque[tuple[WantedVif, DnsRecord]] = deque()

    def set_layout(self, layout: Layout) -> None:
        """Which interfaces are followed from now on: those on networks that ask for flow logs."""
        logged = {bridge.network_id for bridge in layout.bridges if bridge.flow_log}
        followed = [vif for vif in layout.vifs if vif.network_id in logged and vif.address]
        switched = [vif for vif in layout.switch_vifs if vif.flow_log]
        self._vifs = {vif.address: vif for vif in followed}
        self._links = {vif.link: vif for vif in (*followed, *switched)}
        self.switch_links = tuple(vif.link for vif in switched)
        self._gateways = frozenset(bridge.gateway for bridge in layout.bridges if bridge.network_id in logged)
        self._fixed = ruleset.want_fixed_hosts(layout)
        self._open = {key: found for key, found in self._open.items() if key[0] in self._links}
        self._open_on = Counter(link for link, _ in self._open)

    @property
    def addresses(self) -> frozenset[str]:
        return frozenset(self._vifs)

    @property
    def is_idle(self) -> bool:
        """Nobody is followed."""
        return not self._links

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
                seen = recheck.want_connection(entry, vif.address)
                known = self._start(key, vif, vif.address, seen, now)
            if known is None:
                continue
            known.is_seen = True
            known.record = records.with_counters(known.record, entry)

    def note_end(self, entry: Entry, now: float) -> None:
        """The kernel's last word about a connection."""
        self.note_entry(entry, now)
        for vif in self._parties(entry):
            if (vif.link, entry.original) in self._open:
                self._finish(self._forget((vif.link, entry.original)), now)

    def note_table(self, entries: Iterable[Entry], asked_at: float, now: float) -> None:
        """All connections that there were at ``asked_at``; one that was known by then and is missing has ended unheard."""
        for found in self._open.values():
            found.is_seen = found.vif.is_switched or found.record.started_at >= asked_at
        for entry in entries:
            self.note_entry(entry, now)
        for key in [key for key, found in self._open.items() if not found.is_seen]:
            self._finish(self._forget(key), now)

    def note_begin(self, link: str, packet: Packet, *, is_inbound: bool, now: float) -> None:
        """The first packet of a connection on a switch."""
        vif = self._links.get(link)
        if vif is None:
            return
        near, far = (packet.source, packet.source_port), (packet.destination, packet.destination_port)
        if is_inbound:
            near, far = far, near
        self._want_switched(vif, Tuple(near[0], far[0], packet.protocol, near[1], far[1]), is_inbound, now)

    def note_counted(self, link: str, counted: Iterable[Counted], now: float) -> None:
        """All connections of an interface on a switch that are counted; one that is silent and not among them has ended."""
        vif = self._links.get(link)
        if vif is None:
            return
        heard: set[Tuple] = set()
        for seen in counted:
            sent = Tuple(seen.address, seen.far_address, seen.protocol, seen.port, seen.far_port)
            known = self._want_switched(vif, sent, seen.is_inbound, now - seen.silent_s)
            heard.add(sent)
            if known is not None:
                known.active_at = max(known.active_at, now - seen.silent_s)
                known.record = records.with_sums(
                    known.record,
                    (seen.sent_bytes, seen.sent_packets),
                    (seen.received_bytes, seen.received_packets),
                )
        silent_since = now - switch_counts.SILENCE_S
        ended = [
            key
            for key, found in self._open.items()
            if key[0] == link and found.active_at <= silent_since and key[1] not in heard
        ]
        for key in ended:
            found = self._forget(key)
            if found.is_uncounted:
                self.lost += 1
            else:
                self._finish(found, found.active_at)

    def note_drop(self, link: str, rule_id: int, packet: Packet, *, is_inbound: bool, now: float) -> None:
        """Equal drops of one round become one record with a count."""
        vif = self._links.get(link)
        if vif is None:
            return
        names = {rule.id: rule.name for rule in vif.acls}
        kind = records.want_drop(packet, rule_id, names.get(rule_id, ""), is_inbound=is_inbound)
        key = (link, kind)
        known = self._drops.get(key)
        if known is None and len(self._drops) >= DROPS_LIMIT:
            self.lost += 1
            return
        self._drops[key] = records.with_drop(known or replace(kind, started_at=now), packet, now)

    def note_dns(self, party: str, name: str, addresses: frozenset[str], now: float) -> None:
        """An answer to the app whose address, or whose link on a switch, is ``party``."""
        vif = self._vifs.get(party) or self._links.get(party)
        if vif is None:
            return
        host = name.lower().rstrip(".")
        # Rules on switches name no hosts, and who answers there is not the node's name server.
        if not vif.is_switched and (host in self._resolved or len(self._resolved) < _NAMES_LIMIT):
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
            flows.setdefault(records.want_scope(vif), []).append(record)
        for (link, _), record in self._drops.items():
            flows.setdefault(records.want_scope(self._links[link]), []).append(record) if link in self._links else None
        for found in self._open.values():
            if now - found.told_at >= OPEN_EVERY_S and not found.is_uncounted:
                found.told_at = now
                flows.setdefault(records.want_scope(found.vif), []).append(found.record)
        for vif, dns in self._dns:
            names.setdefault(records.want_scope(vif), []).append(dns)
        self._done.clear()
        self._drops.clear()
        self._dns.clear()
        return [
            batch
            for scope in {**flows, **names}
            for batch in records.split(scope, flows.get(scope, []), names.get(scope, []))
        ]

    def _parties(self, entry: Entry) -> list[WantedVif]:
        ends = dict.fromkeys((entry.original.source, entry.reply.source))
        return [self._vifs[address] for address in ends if address in self._vifs]

    def _want_switched(self, vif: WantedVif, sent: Tuple, is_inbound: bool, begun_at: float) -> _Open | None:
        key = (vif.link, sent)
        if (known := self._open.get(key)) is not None:
            return known
        seen = decide.Connection(
            sent.protocol, sent.source_port, sent.destination, sent.destination_port, is_inbound=is_inbound
        )
        return self._start(key, vif, sent.source, seen, begun_at)

    def _start(self, key: Key, vif: WantedVif, address: str, seen: decide.Connection, begun_at: float) -> _Open | None:
        """None when there is no room for it."""
        if len(self._open) >= OPEN_LIMIT or self._open_on[vif.link] >= LINK_LIMIT:
            self.lost += 1
            return None
        decision = self._decide(vif, seen)
        record = FlowRecord(
            address,
            seen.local_port,
            seen.far_address,
            seen.far_port,
            seen.protocol,
            seen.is_inbound,
            True,
            decision.rule_id,
            decision.rule_name,
            begun_at,
        )
        found = self._open[key] = _Open(vif, record, active_at=begun_at)
        self._open_on[vif.link] += 1
        return found

    def _forget(self, key: Key) -> _Open:
        self._open_on[key[0]] -= 1
        return self._open.pop(key)

    def _decide(self, vif: WantedVif, seen: decide.Connection) -> Decision:
        """The kernel let it pass; without a matching rule the rules have changed meanwhile."""
        known = recheck.Known(self._fixed.get(vif.network_id, {}), self._resolved)
        return decide.decide(vif.acls, seen, known.addresses_of)

    def _finish(self, found: _Open, now: float) -> None:
        if len(self._done) >= DONE_LIMIT:
            self.lost += 1
            return
        self._done.append((found.vif, replace(found.record, ended_at=now)))
