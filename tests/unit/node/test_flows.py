"""Flow records from connections, drops and DNS answers."""

from __future__ import annotations

import socket
import struct

from hypothesis import given
from hypothesis import strategies as st

from eaves.node.desired.model import AclAction, AclDirection, AclRule
from eaves.node.flows import packets, records, tracker
from eaves.node.flows.model import FlowBatch, FlowRecord, Packet
from eaves.node.flows.tracker import FlowTracker
from eaves.node.networks.conntrack import Entry, Tuple
from eaves.node.networks.model import Layout, WantedBridge, WantedNetns, WantedVif
from eaves.node.report.flows import want_flow_message
from eaves.wire.pb.flowlog import flowlog_pb2

RULE = AclRule(12, "web", AclDirection.BOTH, AclAction.ALLOW, protocol="tcp")


def vif(app_id: str, address: str) -> WantedVif:
    return WantedVif(
        app_id, "default", "eth0", f"evv{app_id}", "n", "evbr0", address, 24, "10.0.0.1", "02::", 1500, (RULE,)
    )


BRIDGE = WantedBridge("n", "evbr0", "10.0.0.1/24", "10.0.0.0/24", 1500, False, flow_log=True)
LAYOUT = Layout(
    (BRIDGE,),
    (
        WantedNetns("a", "a", ("a",), (vif("a", "10.0.0.2"),)),
        WantedNetns("b", "b", ("b",), (vif("b", "10.0.0.3"),)),
    ),
)


def entry(
    source: str, target: str, port: int = 443, *, sent: int = 0, answered: int = 0, source_port: int = 999
) -> Entry:
    original = Tuple(source, target, 6, source_port, port)
    return Entry(original, Tuple(target, source, 6, port, source_port), b"", False, 1, sent, 1, answered)


def start() -> FlowTracker:
    found = FlowTracker()
    found.set_layout(LAYOUT)
    return found


def flows(batches: list[FlowBatch]) -> list[FlowRecord]:
    return [record for batch in batches for record in batch.flows]


def test_a_connection_is_told_when_it_is_seen_and_when_it_ends() -> None:
    seen = start()
    seen.note_entry(entry("10.0.0.2", "192.0.2.7"), 100.0)
    (first,) = flows(seen.take(101.0))
    assert (first.started_at, first.ended_at, first.rule_id, first.rule_name) == (100.0, 0.0, 12, "web")
    seen.note_table([entry("10.0.0.2", "192.0.2.7", sent=10)], 101.9, 102.0)
    assert flows(seen.take(103.0)) == [], "an open one is told again only now and then"
    assert flows(seen.take(101.0 + tracker.OPEN_EVERY_S))[0].sent_bytes == 10
    seen.note_end(entry("10.0.0.2", "192.0.2.7", sent=30, answered=50), 900.0)
    (last,) = flows(seen.take(901.0))
    assert (last.started_at, last.ended_at, last.sent_bytes, last.received_bytes) == (100.0, 900.0, 30, 50)
    assert flows(seen.take(902.0)) == []


def test_one_that_ended_unheard_is_told_with_its_last_counters() -> None:
    seen = start()
    seen.note_table([entry("10.0.0.2", "192.0.2.7", sent=10)], 100.0, 100.0)
    seen.take(100.0)
    seen.note_table([], 160.0, 160.0)
    (last,) = flows(seen.take(160.0))
    assert (last.ended_at, last.sent_bytes) == (160.0, 10)


def test_one_that_begins_while_the_table_is_read_goes_on() -> None:
    seen = start()
    seen.note_entry(entry("10.0.0.2", "192.0.2.7"), 100.5)
    seen.note_table([], 100.0, 101.0)
    (first,) = flows(seen.take(101.0))
    assert first.ended_at == 0.0


def test_a_connection_between_apps_is_told_for_both() -> None:
    seen = start()
    seen.note_end(entry("10.0.0.2", "10.0.0.3", 80, sent=7, answered=9), 100.0)
    batches = {batch.scope.app_id: batch.flows[0] for batch in seen.take(100.0)}
    assert (batches["a"].is_inbound, batches["a"].sent_bytes, batches["a"].far_port) == (False, 7, 80)
    assert (batches["b"].is_inbound, batches["b"].sent_bytes, batches["b"].port) == (True, 9, 80)


def test_dns_and_strangers_are_no_flows() -> None:
    seen = start()
    seen.note_end(entry("10.0.0.2", "10.0.0.1", 53), 100.0)
    seen.note_end(entry("192.0.2.1", "192.0.2.2"), 100.0)
    seen.note_dns("10.0.0.9", "example.org", frozenset(), 100.0)
    seen.note_drop("evvother", 0, Packet("1.1.1.1", "10.0.0.2", 6, 1, 2, 40), is_inbound=True, now=100.0)
    assert seen.take(100.0) == []


def test_equal_drops_are_counted_in_one_record() -> None:
    seen = start()
    for second in range(3):
        packet = Packet("198.51.100.9", "10.0.0.2", 17, 5000, 161, 100)
        seen.note_drop("evva", 0, packet, is_inbound=True, now=100.0 + second)
    (drop,) = flows(seen.take(103.0))
    assert (drop.address, drop.port, drop.far_address, drop.far_port) == ("10.0.0.2", 161, "198.51.100.9", 5000)
    assert (drop.received_packets, drop.received_bytes, drop.started_at, drop.ended_at) == (3, 300, 100.0, 102.0)
    assert not drop.is_allowed


def test_floods_stay_within_bounds_and_are_counted() -> None:
    seen = start()
    for number in range(tracker.LINK_LIMIT + 100):
        seen.note_entry(entry("10.0.0.2", "192.0.2.7", number + 1), 100.0)
    for number in range(tracker.DROPS_LIMIT + 100):
        seen.note_drop("evva", 0, Packet("10.0.0.2", "192.0.2.7", 17, 1, number, 9), is_inbound=False, now=100.0)
    for number in range(tracker.DNS_LIMIT + 100):
        seen.note_dns("10.0.0.2", f"n{number}.example", frozenset(), 100.0)
    assert seen.lost == 300
    batches = seen.take(100.0)
    assert max(len(batch.flows) + len(batch.dns) for batch in batches) <= 2 * records.BATCH_LIMIT
    assert len(flows(batches)) == tracker.LINK_LIMIT + tracker.DROPS_LIMIT


def test_a_flood_of_one_app_leaves_room_for_another_and_what_ends_makes_room() -> None:
    seen = start()
    for number in range(tracker.LINK_LIMIT + 1):
        seen.note_entry(entry("10.0.0.2", "192.0.2.7", number + 1), 100.0)
    assert seen.lost == 1
    seen.note_entry(entry("10.0.0.3", "192.0.2.7"), 100.0)
    seen.note_end(entry("10.0.0.2", "192.0.2.7", 1), 101.0)
    seen.note_entry(entry("10.0.0.2", "192.0.2.8"), 102.0)
    assert seen.lost == 1
    assert {batch.scope.app_id for batch in seen.take(103.0)} == {"a", "b"}
    seen.note_table([], 200.0, 200.0)
    for number in range(tracker.LINK_LIMIT):
        seen.note_entry(entry("10.0.0.2", "192.0.2.9", number + 1), 201.0)
    assert seen.lost == 2, "the board for records that ended has its own bound"


def test_messages_have_the_fields_of_the_device_api() -> None:
    seen = start()
    seen.note_end(entry("10.0.0.2", "192.0.2.7", sent=30), 100.0)
    seen.note_dns("10.0.0.2", "Example.org.", frozenset({"192.0.2.7"}), 99.0)
    (batch,) = seen.take(100.0)
    message = want_flow_message("device", batch)
    assert (message.devId, message.scope.uuid, message.scope.intf) == ("device", "a", "default")
    assert (message.scope.localIntf, message.scope.netInstUUID) == ("evva", "n")
    assert (message.flows[0].aclId, message.flows[0].txBytes, message.flows[0].action) == (
        12,
        30,
        flowlog_pb2.ActionAccept,
    )
    assert (message.dnsReqs[0].hostName, list(message.dnsReqs[0].addrs)) == ("example.org", ["192.0.2.7"])


def test_heads_of_packets_are_read() -> None:
    udp = struct.pack("!HHHH", 53, 4000, 16, 0) + b"payload!"
    head = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 36, 0, 0, 64, 17, 0, socket.inet_aton("10.0.0.1"), socket.inet_aton("10.0.0.2")
    )
    assert packets.parse_packet(head + udp) == Packet("10.0.0.1", "10.0.0.2", 17, 53, 4000, 36, b"payload!")
    six = struct.pack("!IHBB16s16s", 6 << 28, 8, 58, 64, bytes(15) + b"\x01", bytes(15) + b"\x02") + bytes(8)
    assert packets.parse_packet(six) == Packet("::1", "::2", 58, 0, 0, 48)


def test_ports_are_found_behind_headers_for_the_way_of_an_ipv6_packet() -> None:
    ports = struct.pack("!HHHH", 4000, 443, 8, 0)
    options = bytes((43, 0)) + bytes(6) + bytes((17, 1)) + bytes(14)
    head = struct.pack("!IHBB16s16s", 6 << 28, 32, 0, 64, bytes(15) + b"\x01", bytes(15) + b"\x02")
    assert packets.parse_packet(head + options + ports) == Packet("::1", "::2", 17, 4000, 443, 72, b"")


def answer(kind: int, *records: tuple[int, bytes]) -> bytes:
    """A DNS message that answers a question about shop.example."""
    message = struct.pack("!HHHHHH", 7, 0x8180, 1, len(records), 0, 0) + b"\x04shop\x07example\0"
    message += struct.pack("!HH", kind, 1)
    for found, data in records:
        message += b"\xc0\x0c" + struct.pack("!HHIH", found, 1, 60, len(data)) + data
    return message


def test_dns_answers_of_both_families_are_read() -> None:
    four, six = socket.inet_aton("192.0.2.7"), socket.inet_pton(socket.AF_INET6, "2001:db8::7")
    alias = (5, b"\x03www\xc0\x0c")
    assert packets.parse_dns_answer(answer(1, alias, (1, four))) == ("shop.example", frozenset({"192.0.2.7"}))
    assert packets.parse_dns_answer(answer(28, alias, (28, six))) == ("shop.example", frozenset({"2001:db8::7"}))
    assert packets.parse_dns_answer(answer(1)) == ("shop.example", frozenset()), "a name that there is not"
    assert packets.parse_dns_answer(answer(28)) is None, "the answer about IPv4 tells of the name"
    assert packets.parse_dns_answer(answer(16, (16, b"text"))) is None
    cut = answer(1, (1, four), (1, socket.inet_aton("192.0.2.8")))[:-2]
    assert packets.parse_dns_answer(cut) == ("shop.example", frozenset({"192.0.2.7"})), "the log copies the head alone"


@given(st.binary(max_size=120))
def test_nonsense_is_no_packet_and_no_answer(data: bytes) -> None:
    packets.parse_packet(data)
    packets.parse_packet_message(data)
    packets.parse_dns_answer(data)
