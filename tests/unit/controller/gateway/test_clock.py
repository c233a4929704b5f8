"""Replays are ignored, a clock that went back is believed when its messages keep pace, or after a while."""

from __future__ import annotations

from itertools import pairwise

from eaves.controller.gateway.clock import PACE_S, PATIENCE_S, DeviceClock, Seen

SECOND_NS = 10**9
DAY_NS = 86_400 * SECOND_NS
AHEAD_NS = 430 * DAY_NS


def test_a_good_clock_moves_forward_and_what_is_older_is_old() -> None:
    clock = DeviceClock(0, 0)
    assert clock.see(10 * DAY_NS, 0) is Seen.NEWER
    assert clock.see(9 * DAY_NS, 60) is Seen.OLDER
    assert clock.see(10 * DAY_NS, 60) is Seen.OLDER
    assert clock.see(11 * DAY_NS, 60) is Seen.NEWER
    assert clock.newest_ns == 11 * DAY_NS


def test_replays_beside_newer_messages_never_count_even_at_the_pace_of_time() -> None:
    clock = DeviceClock(10 * DAY_NS, 0)
    for minute in range(1, 60):
        moved_ns = minute * 60 * SECOND_NS
        assert clock.see(DAY_NS + moved_ns, minute * 60) is Seen.OLDER
        assert clock.see(10 * DAY_NS + moved_ns, minute * 60 + 1) is Seen.NEWER


def test_a_message_that_is_repeated_and_a_queue_that_is_sent_at_once_keep_no_pace() -> None:
    clock = DeviceClock(10 * DAY_NS, 0)
    assert {clock.see(DAY_NS, now_s) for now_s in range(0, int(PATIENCE_S), 30)} == {Seen.OLDER}
    clock = DeviceClock(10 * DAY_NS, 0)
    assert {clock.see(DAY_NS + n * 60 * SECOND_NS, n) for n in range(int(PATIENCE_S))} == {Seen.OLDER}


def test_a_clock_that_went_back_is_believed_when_its_messages_keep_pace() -> None:
    clock = DeviceClock(AHEAD_NS, 0)
    seen = [clock.see(DAY_NS + now_s * SECOND_NS, now_s) for now_s in range(0, 120, 15)]
    assert seen.index(Seen.WENT_BACK) == PACE_S / 15
    # From then on the new time is the device's time, and what is older than that is old again.
    assert set(seen[seen.index(Seen.WENT_BACK) + 1 :]) == {Seen.NEWER}
    assert clock.see(DAY_NS, 130) is Seen.OLDER


def test_a_clock_that_went_back_is_believed_when_nothing_newer_comes_for_long() -> None:
    """Messages that are ten minutes under way now and then, at odd times."""
    clock, delays = DeviceClock(AHEAD_NS, 0), [0, 600, 20, 300, 45, 500]
    moments = [(now_s, DAY_NS + (now_s - delays[n % 6]) * SECOND_NS) for n, now_s in enumerate(range(0, 1200, 100))]
    seen = [clock.see(at_ns, now_s) for now_s, at_ns in moments]
    believed_s = next(now_s for (now_s, _), what in zip(moments, seen, strict=True) if what is Seen.WENT_BACK)
    assert believed_s == min(now_s for now_s, _ in moments if now_s > PATIENCE_S)


def test_the_pace_is_measured_from_the_first_of_those_that_keep_it() -> None:
    clock = DeviceClock(AHEAD_NS, 0)
    times_s = [0, 30, 60]
    assert max(later - earlier for earlier, later in pairwise(times_s)) < PACE_S
    # Each two are near, but the clock itself drifts: it is no running clock.
    assert [clock.see(DAY_NS + 2 * now_s * SECOND_NS, now_s) for now_s in times_s] == [Seen.OLDER] * 3
