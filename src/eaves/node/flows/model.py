"""Flow records in the node's own words."""

from __future__ import annotations

from msgspec import Struct


class FlowScope(Struct, frozen=True):
    """One interface of one app: what a message of the device API is about."""

    app_id: str
    interface: str
    link: str
    network_id: str


class FlowRecord(Struct, frozen=True):
    """A connection, or packets of one kind that were dropped. The app is the source, whoever began.

    ``ended_at`` 0 = it is still open: the counters are those until now, and a later record of the same start replaces this one.
    Times are Unix seconds; ``sent`` is by the app. ``rule_id`` 0 = no rule matched.
    """

    address: str
    port: int
    far_address: str
    far_port: int
    protocol: int
    is_inbound: bool
    is_allowed: bool
    rule_id: int
    rule_name: str
    started_at: float
    ended_at: float = 0.0
    sent_bytes: int = 0
    sent_packets: int = 0
    received_bytes: int = 0
    received_packets: int = 0


class Counted(Struct, frozen=True):
    """A connection of an app on a switch as the firewall counts it: the app's end first, ports 0 for protocols without.

    ``silent_s``: time since its last packet.
    """

    address: str
    far_address: str
    protocol: int
    port: int
    far_port: int
    is_inbound: bool
    silent_s: float
    sent_packets: int = 0
    sent_bytes: int = 0
    received_packets: int = 0
    received_bytes: int = 0


class DnsRecord(Struct, frozen=True):
    """An answer that the network's name server gave to the app."""

    name: str
    addresses: tuple[str, ...]
    at: float


class FlowBatch(Struct, frozen=True):
    """What one message tells."""

    scope: FlowScope
    flows: tuple[FlowRecord, ...] = ()
    dns: tuple[DnsRecord, ...] = ()


class FlowCount(Struct, frozen=True):
    """How many messages, and records in them."""

    messages: int = 0
    flows: int = 0
    dns: int = 0

    def plus(self, batch: FlowBatch) -> FlowCount:
        return FlowCount(self.messages + 1, self.flows + len(batch.flows), self.dns + len(batch.dns))


class FlowFigures(Struct, frozen=True):
    """What became of flow records since the daemon's start. ``failed``: attempts, each is tried again or dropped."""

    sent: FlowCount = FlowCount()
    dropped: FlowCount = FlowCount()
    failed: FlowCount = FlowCount()


class Packet(Struct, frozen=True):
    """The head of one packet."""

    source: str
    destination: str
    protocol: int
    source_port: int
    destination_port: int
    size_bytes: int
    payload: bytes = b""
    """What follows a UDP header, as far as it was copied."""
