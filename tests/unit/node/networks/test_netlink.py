"""Framing of netlink messages."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from eaves.node.networks import netlink

PARTS = st.lists(st.tuples(st.integers(1, 0x3FFF), st.binary(max_size=40)), max_size=6)


@given(PARTS)
def test_attributes_are_read_as_they_were_written(parts: list[tuple[int, bytes]]) -> None:
    assert list(netlink.split_attributes(b"".join(netlink.render_attribute(*part) for part in parts))) == parts


@given(PARTS)
def test_messages_are_read_as_they_were_written(parts: list[tuple[int, bytes]]) -> None:
    # The kernel pads each to four bytes, as what we send is by its attributes.
    sent = [(kind, body + bytes(-len(body) % 4)) for kind, body in parts]
    assert list(netlink.split_messages(b"".join(netlink.render_message(kind, 0, body) for kind, body in sent))) == sent


def test_a_length_below_that_of_a_header_ends_the_reading() -> None:
    first = netlink.render_message(16, 0, b"link")
    assert list(netlink.split_messages(first + bytes(64))) == [(16, b"link")]
    assert list(netlink.split_attributes(netlink.render_attribute(3, b"eth0") + bytes(8))) == [(3, b"eth0")]
