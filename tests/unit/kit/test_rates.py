"""Rates: what a flood may use, and that it forgets nothing it must not."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from eaves.kit.rates import Bucket, Buckets, Rate

RATE = Rate(per_s=2, burst=3)


def test_a_burst_passes_then_the_rate_holds() -> None:
    bucket = Bucket(RATE, 0)
    assert [bucket.take(RATE, 0) for _ in range(4)] == [True, True, True, False]
    assert not bucket.take(RATE, 0.4)
    assert bucket.take(RATE, 0.5)
    assert bucket.wait_s(RATE) == 1


@settings(deadline=None)
@given(st.lists(st.floats(0, 10), max_size=50))
def test_no_pattern_gets_more_than_burst_and_rate(gaps: list[float]) -> None:
    bucket, now_s, passed = Bucket(RATE, 0), 0.0, 0
    for gap in gaps:
        now_s += gap
        passed += bucket.take(RATE, now_s)
    assert passed <= RATE.burst + RATE.per_s * now_s + 1e-6


def test_senders_do_not_use_each_others_allowance() -> None:
    buckets: Buckets[str] = Buckets(RATE, 10)
    for _ in range(3):
        assert buckets.take("a", 0)
    assert not buckets.take("a", 0)
    assert buckets.take("b", 0)
    assert (buckets.wait_s("b", 0), buckets.wait_s("nobody", 0)) == (0, 0)
    assert buckets.wait_s("a", 0) >= 1
    assert buckets.wait_s("a", 1) == 0


def test_a_flood_of_senders_uses_bounded_memory() -> None:
    buckets: Buckets[int] = Buckets(RATE, 100)
    for sender in range(10_000):
        buckets.take(sender, 0)
    assert len(buckets) == 100
