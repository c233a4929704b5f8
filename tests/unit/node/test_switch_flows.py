"""Flow records of connections on switches, from the firewall's counters."""

from __future__ import annotations

import socket
import struct

from hypothesis import given
from hypothesis import strategies as st

from eaves.node.desired.model import AclAction, AclDirection, AclRule
from eaves.node.flows import switched, tracker
from eaves.node.flows.model import Counted, FlowBatch, FlowRecord, Packet
from eaves.node.flows.tracker import FlowTracker
from eaves.node.networks import setdump, switch_counts
from eaves.node.networks.model import Layout, WantedNetns, WantedVif
from eaves.node.networks.netlink import render_attribute
from eaves.node.networks.setdump import Element

LINK = "evv1"
RULES = (
    AclRule(11, "web", AclDirection.EGRESS, AclAction.ALLOW, protocol="tcp", remote_port="443"),
    AclRule(12, "serve", AclDirection.INGRESS, AclAction.ALLOW, protocol="tcp", local_port="80"),
)
VIF = WantedVif(
    "app", "floor", "eth0", LINK, "net", "evbr0", "", 0, "", "02::", 1500, RULES, is_switched=True, flow_log=True
)
SILENCE_S = switch_counts.SILENCE_S


def start(vif: WantedVif = VIF) -> FlowTracker:
    found = FlowTracker()
    found.set_layout(Layout((), (WantedNetns("app", "app", ("a",), (vif,)),)))
    return found


def flows(batches: list[FlowBatch]) -> list[FlowRecord]:
    return [record for batch in batches for record in batch.flows]


def out(port: int = 4000, silent_s: float = 0.0, sent: int = 1, got: int = 1) -> Counted:
    """The app speaks to a web server."""
    return Counted("10.0.0.2", "192.0.2.7", 6, port, 443, False, silent_s, sent, sent * 100, got, got * 200)


def first_packet(port: int = 4000) -> Packet:
    return Packet("10.0.0.2", "192.0.2.7", 6, port, 443, 60)


def test_a_connection_is_told_with_its_begin_rule_and_counters_and_when_it_ends() -> None:
    seen = start()
    seen.note_begin(LINK, first_packet(), is_inbound=False, now=100.0)
    assert flows(seen.take(101.0)) == [], "its counters are not known yet"
    seen.note_counted(LINK, [out(sent=3, got=2)], 110.0)
    (first,) = flows(seen.take(110.0))
    assert (first.started_at, first.ended_at, first.rule_id, first.rule_name) == (100.0, 0.0, 11, "web")
    assert (first.address, first.port, first.far_address, first.far_port) == ("10.0.0.2", 4000, "192.0.2.7", 443)
    assert (first.sent_packets, first.sent_bytes, first.received_packets, first.received_bytes) == (3, 300, 2, 400)
    seen.note_counted(LINK, [out(silent_s=20.0, sent=5, got=4)], 140.0)
    assert flows(seen.take(140.0)) == []
    seen.note_counted(LINK, [], 120.0 + SILENCE_S)
    (last,) = flows(seen.take(400.0))
    assert (last.started_at, last.ended_at, last.sent_packets) == (100.0, 120.0, 5), "it ended with its last packet"


def test_who_opened_it_is_known_and_a_missed_begin_is_the_first_sight() -> None:
    seen = start()
    seen.note_counted(LINK, [Counted("10.0.0.2", "192.0.2.9", 6, 80, 5000, True, 4.0, 1, 60, 1, 60)], 100.0)
    (record,) = flows(seen.take(100.0))
    assert (record.is_inbound, record.rule_name, record.started_at) == (True, "serve", 96.0)
    seen.note_begin(LINK, Packet("192.0.2.9", "10.0.0.2", 6, 6000, 80, 60), is_inbound=True, now=101.0)
    seen.note_counted(LINK, [Counted("10.0.0.2", "192.0.2.9", 6, 80, 6000, True, 0.0, 1, 60, 1, 60)], 102.0)
    (second,) = flows(seen.take(102.0))
    assert (second.port, second.far_port, second.started_at) == (80, 6000, 101.0)


def test_one_that_is_still_counted_has_not_ended_and_one_without_counters_is_lost() -> None:
    seen = start()
    seen.note_begin(LINK, first_packet(1), is_inbound=False, now=100.0)
    seen.note_begin(LINK, first_packet(2), is_inbound=False, now=100.0)
    seen.note_counted(LINK, [out(1, silent_s=SILENCE_S)], 100.0 + SILENCE_S)
    (record,) = flows(seen.take(300.0))
    assert (record.port, record.ended_at) == (1, 0.0)
    assert seen.lost == 1, "the kernel had no room to count the other"


def test_a_look_at_the_connection_table_of_local_networks_ends_none_of_a_switch() -> None:
    seen = start()
    seen.note_counted(LINK, [out()], 100.0)
    seen.take(100.0)
    seen.note_table([], 200.0, 200.0)
    assert flows(seen.take(200.0)) == []


def test_an_open_one_is_told_again_now_and_then() -> None:
    seen = start()
    seen.note_counted(LINK, [out()], 100.0)
    assert len(flows(seen.take(100.0))) == 1
    later = 100.0 + tracker.OPEN_EVERY_S
    seen.note_counted(LINK, [out(sent=9)], later)
    assert flows(seen.take(later))[0].sent_packets == 9


def test_drops_and_names_are_of_the_link() -> None:
    seen = start()
    seen.note_drop(LINK, 0, first_packet(), is_inbound=False, now=100.0)
    seen.note_dns(LINK, "Shop.example.", frozenset({"192.0.2.7", "2001:db8::7"}), 100.0)
    (batch,) = seen.take(101.0)
    assert (batch.scope.app_id, batch.scope.interface, batch.scope.link, batch.scope.network_id) == (
        "app",
        "floor",
        LINK,
        "net",
    )
    assert (batch.flows[0].is_allowed, batch.flows[0].sent_packets, batch.flows[0].far_port) == (False, 1, 443)
    assert batch.dns[0].name == "shop.example"
    assert set(batch.dns[0].addresses) == {"192.0.2.7", "2001:db8::7"}


def test_who_does_not_ask_is_not_followed() -> None:
    quiet = WantedVif("app", "floor", "eth0", LINK, "net", "evbr0", "", 0, "", "02::", 1500, RULES, is_switched=True)
    seen = start(quiet)
    assert seen.is_idle
    assert seen.switch_links == ()
    seen.note_begin(LINK, first_packet(), is_inbound=False, now=1.0)
    seen.note_counted(LINK, [out()], 1.0)
    assert seen.take(2.0) == []
    busy = start()
    busy.note_counted(LINK, [out()], 1.0)
    busy.set_layout(Layout((), (WantedNetns("app", "app", ("a",), (quiet,)),)))
    assert busy.is_idle
    assert busy.take(2.0) == [], "a network that asks no longer is told of no more"


def test_a_flood_stays_within_bounds_and_is_counted() -> None:
    seen = start()
    seen.note_counted(LINK, [out(port) for port in range(1, tracker.LINK_LIMIT + 101)], 100.0)
    assert seen.lost == 100
    assert len(flows(seen.take(100.0))) == tracker.LINK_LIMIT


def packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def key(near: str, far: str, protocol: int, *ports: int) -> bytes:
    """As the kernel pads it."""
    return packed(near) + packed(far) + struct.pack("!B3x", protocol) + b"".join(struct.pack("!H2x", n) for n in ports)


def test_both_ways_of_a_connection_are_joined() -> None:
    full, lonely = key("10.0.0.2", "10.0.0.9", 6, 4000, 443), key("10.0.0.2", "10.0.0.8", 17, 53, 5000)
    sent = [Element(full, SILENCE_S - 7.0, 3, 300)]
    got = [Element(full, SILENCE_S - 5.0, 2, 200), Element(lonely, SILENCE_S, 1, 50)]
    assert switched.join("4", sent, got, {lonely}, has_ports=True) == [
        Counted("10.0.0.2", "10.0.0.9", 6, 4000, 443, False, 5.0, 3, 300, 2, 200),
        Counted("10.0.0.2", "10.0.0.8", 17, 53, 5000, True, 0.0, 0, 0, 1, 50),
    ]


def test_protocols_without_ports_and_the_other_family() -> None:
    ping = Element(key("fd00::2", "fd00::9", 58), SILENCE_S + 1.0, 4, 400)
    assert switched.join("6", [ping], [], set(), has_ports=False) == [
        Counted("fd00::2", "fd00::9", 58, 0, 0, False, 0.0, 4, 400, 0, 0)
    ]
    assert switched.join("4", [ping], [], set(), has_ports=False) == [], "a key of another shape is none of ours"


def element(name: bytes, kind: int) -> bytes:
    """An element as the kernel lists it: ``kind`` of attribute says whether its expressions are one or a list."""
    counters = render_attribute(1, struct.pack("!Q", 1234)) + render_attribute(2, struct.pack("!Q", 7))
    expression = render_attribute(1, name + b"\0") + render_attribute(2, counters)
    if kind == 11:
        expression = render_attribute(1, expression)
    parts = render_attribute(1, render_attribute(1, b"key!")) + render_attribute(5, struct.pack("!Q", 2500))
    return parts + render_attribute(kind, expression)


def message(*elements: bytes) -> bytes:
    return bytes(4) + render_attribute(3, b"".join(render_attribute(1, each) for each in elements))


def test_elements_are_read_with_their_counters_and_time() -> None:
    body = message(element(b"counter", 7), element(b"counter", 11), element(b"limit", 7))
    assert list(setdump.parse_elements(body)) == [
        Element(b"key!", 2.5, 7, 1234),
        Element(b"key!", 2.5, 7, 1234),
        Element(b"key!", 2.5),
    ]


@given(st.binary(max_size=200))
def test_nonsense_is_no_element(data: bytes) -> None:
    list(setdump.parse_elements(data))
    list(setdump.parse_elements(message(data)))
