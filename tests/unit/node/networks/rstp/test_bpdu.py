"""Spanning-tree messages as bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eaves.node.networks.rstp import bpdu
from eaves.node.networks.rstp.model import Kind, Message, Role, Times, Vector

SOURCE = bytes.fromhex("020000000007")
VECTOR = Vector(0x8000_020000000001, 20000, 0xF000_020000000007, 0x8002)

times = st.builds(Times, st.integers(0, 5), st.integers(6, 40), st.integers(4, 30), st.integers(1, 10))
vectors = st.builds(
    Vector,
    st.integers(0, (1 << 64) - 1),
    st.integers(0, (1 << 32) - 1),
    st.integers(0, (1 << 64) - 1),
    st.integers(0, 0xFFFF),
)
rapid = st.builds(
    Message,
    st.just(Kind.RST),
    vectors,
    times,
    st.sampled_from([Role.ROOT, Role.DESIGNATED, Role.ALTERNATE]),
    topology_change=st.booleans(),
    topology_change_ack=st.just(False),
    proposal=st.booleans(),
    agreement=st.booleans(),
    learning=st.booleans(),
    forwarding=st.booleans(),
)
legacy = st.tuples(vectors, times, st.booleans(), st.booleans()).map(
    lambda found: Message(Kind.CONFIG, found[0], found[1], topology_change=found[2], topology_change_ack=found[3])
)


@given(st.one_of(rapid, legacy, st.just(Message(Kind.TCN))))
def test_what_is_sent_is_what_arrives(message: Message) -> None:
    frame = bpdu.encode_frame(message, SOURCE)
    assert len(frame) >= 60
    assert bpdu.parse_frame(frame) == message


@given(st.binary(max_size=80))
def test_whatever_comes_is_a_message_or_is_passed_over(data: bytes) -> None:
    for parse in (bpdu.parse_frame, bpdu.parse_bpdu, lambda found: bpdu.parse_bpdu(b"\0\0\x02\x02" + found)):
        try:
            found = parse(data)
        except bpdu.BpduError:
            continue
        assert 1 <= found.times.hello <= 10
        assert 4 <= found.times.forward_delay <= 30


def test_a_rapid_message_has_the_octets_of_the_standard() -> None:
    message = Message(Kind.RST, VECTOR, Times(1), Role.DESIGNATED, proposal=True, topology_change=True)
    assert bpdu.encode_frame(message, SOURCE).hex() == (
        "0180c2000000" "020000000007" "0027" "424203" "0000" "02" "02" "0f"
        "8000020000000001" "00004e20" "f000020000000007" "8002" "0100" "1400" "0200" "0f00" "00"
        + "00" * 7
    )  # fmt: skip


def test_a_message_of_the_multiple_spanning_tree_is_read_as_a_rapid_one() -> None:
    octets = bytearray(bpdu.encode_bpdu(Message(Kind.RST, VECTOR)))
    octets[2] = 3
    assert bpdu.parse_bpdu(bytes(octets) + bytes(70)) == Message(Kind.RST, VECTOR)


def test_a_message_of_1998_that_is_too_old_is_passed_over() -> None:
    octets = bpdu.encode_bpdu(Message(Kind.CONFIG, VECTOR, Times(20, 20)))
    with pytest.raises(bpdu.BpduError, match="older"):
        bpdu.parse_bpdu(octets)


def test_times_that_would_make_a_bridge_send_without_end_are_bounded() -> None:
    found = bpdu.parse_bpdu(bpdu.encode_bpdu(Message(Kind.RST, VECTOR, Times(0, 0, 0, 0))))
    assert found.times == Times(0, 6, 4, 1)
