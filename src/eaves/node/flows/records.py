"""Makes, adds up and groups flow records. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from eaves.node.flows.model import DnsRecord, FlowBatch, FlowRecord, FlowScope, Packet
from eaves.node.networks.conntrack import Entry
from eaves.node.networks.model import WantedVif

BATCH_LIMIT = 200
"""Records in one message."""


def want_scope(vif: WantedVif) -> FlowScope:
    return FlowScope(vif.app_id, vif.name, vif.link, vif.network_id)


def want_drop(packet: Packet, rule_id: int, rule_name: str, *, is_inbound: bool) -> FlowRecord:
    """The record of dropped packets like this one, of no time yet."""
    near, far = (packet.source, packet.source_port), (packet.destination, packet.destination_port)
    if is_inbound:
        near, far = far, near
    return FlowRecord(*near, *far, packet.protocol, is_inbound, False, rule_id, rule_name, 0.0)


def with_drop(record: FlowRecord, packet: Packet, now: float) -> FlowRecord:
    """One more packet."""
    if record.is_inbound:
        size = record.received_bytes + packet.size_bytes
        return replace(record, ended_at=now, received_bytes=size, received_packets=record.received_packets + 1)
    size = record.sent_bytes + packet.size_bytes
    return replace(record, ended_at=now, sent_bytes=size, sent_packets=record.sent_packets + 1)


def with_counters(record: FlowRecord, entry: Entry) -> FlowRecord:
    sent = (entry.original_bytes, entry.original_packets)
    received = (entry.reply_bytes, entry.reply_packets)
    return with_sums(record, *((received, sent) if record.is_inbound else (sent, received)))


def with_sums(record: FlowRecord, sent: tuple[int, int], received: tuple[int, int]) -> FlowRecord:
    """(bytes, packets) both ways; they never fall."""
    return replace(
        record,
        sent_bytes=max(record.sent_bytes, sent[0]),
        sent_packets=max(record.sent_packets, sent[1]),
        received_bytes=max(record.received_bytes, received[0]),
        received_packets=max(record.received_packets, received[1]),
    )


def split(scope: FlowScope, flows: list[FlowRecord], names: list[DnsRecord]) -> Iterator[FlowBatch]:
    """Messages of bounded size."""
    for start in range(0, max(len(flows), len(names)), BATCH_LIMIT):
        part = slice(start, start + BATCH_LIMIT)
        yield FlowBatch(scope, tuple(flows[part]), tuple(names[part]))
