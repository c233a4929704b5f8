"""Frames between the node and a small guest's agent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eaves.node.vms.isolation.guest import frames

SOME = st.lists(st.tuples(st.integers(0, 10), st.integers(0, 2**32 - 1), st.binary(max_size=200)), max_size=5)


@given(SOME, st.integers(1, 50))
def test_frames_come_out_as_they_went_in_however_they_are_cut(wanted: list[tuple[int, int, bytes]], size: int) -> None:
    data = b"".join(frames.encode_frame(*frame) for frame in wanted)
    decoder = frames.Decoder()
    found = [frame for at in range(0, len(data), size) for frame in decoder.feed(data[at : at + size])]
    assert found == wanted


@given(SOME, st.integers(0, 100), st.binary(max_size=100))
def test_after_an_abort_the_next_frame_is_whole(before: list[tuple[int, int, bytes]], cut: int, payload: bytes) -> None:
    data = b"".join(frames.encode_frame(*frame) for frame in before)[:cut]
    found = frames.Decoder().feed(data + frames.ABORT + frames.encode_frame(frames.HELLO, 0, payload))
    assert found[-1] == (frames.HELLO, 0, payload)
    assert found[:-1] == before[: len(found) - 1]


def test_a_frame_without_end_is_refused() -> None:
    with pytest.raises(ValueError, match="no end"):
        frames.Decoder().feed(bytes(frames.FRAME_BYTES + 1))


def test_orders_sizes_and_counts() -> None:
    payload = frames.encode_order([b"sh", b"-c", b""], frames.IS_TERMINAL, 100, 30)
    assert frames.parse_order(payload) == ([b"sh", b"-c", b""], frames.IS_TERMINAL, 100, 30)
    assert frames.parse_size(frames.encode_size(123, 45)) == (123, 45)
    assert frames.parse_count(frames.encode_count(7)) == 7
    for parse in (frames.parse_order, frames.parse_size, frames.parse_count):
        with pytest.raises(ValueError, match=r"no|without"):
            parse(b"x")
