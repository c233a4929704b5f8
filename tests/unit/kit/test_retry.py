"""Back-off delays."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eaves.kit.retry import Backoff


def test_delays_double_to_the_limit_and_start_anew() -> None:
    backoff = Backoff(1, 10)
    assert [backoff.next_s() for _ in range(5)] == [1, 2, 4, 8, 10]
    backoff.reset()
    assert backoff.next_s() == 1


@given(st.floats(0, 1), st.integers(0, 2000))
def test_jitter_stays_within_its_share(picked: float, failures: int) -> None:
    backoff = Backoff(1, 60, jitter=0.2, pick=lambda: picked)
    for _ in range(failures):
        backoff.next_s()
    assert 0.8 <= backoff.next_s() <= 72


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="0 < first"):
        Backoff(0, 1)
