"""Times of the operator API, also from devices whose clocks make no sense."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eaves.kinds.times import parse_time, render_time


def test_known_moment() -> None:
    assert render_time(1795543200.9) == "2026-11-24T18:00:00Z"
    assert parse_time("2026-11-24T18:00:00Z") == 1795543200.0
    assert parse_time("2026-11-24T19:00:00+01:00") == 1795543200.0


@given(st.integers(0, 253402300799))
def test_times_survive(seconds: int) -> None:
    assert parse_time(render_time(seconds)) == seconds


def test_clocks_of_broken_devices_give_some_time() -> None:
    assert render_time(-5) == "1970-01-01T00:00:00Z"
    assert render_time(1e300) == "9999-12-31T23:59:59Z"


def test_a_time_without_a_zone_is_none() -> None:
    with pytest.raises(ValueError):
        parse_time("2026-11-24T18:00:00")
