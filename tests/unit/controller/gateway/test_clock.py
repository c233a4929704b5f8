"""Replays are ignored, a clock that was set back is believed after a while."""

from __future__ import annotations

from eaves.controller.gateway.clock import PATIENCE_S, DeviceClock

DAY_NS = 86_400 * 10**9


def test_an_older_message_of_a_device_with_a_good_clock_is_stale() -> None:
    clock = DeviceClock(0, 0)
    clock.see(10 * DAY_NS, 0)
    assert clock.is_stale(9 * DAY_NS, 10 * DAY_NS, 60)
    assert not clock.is_stale(10 * DAY_NS, 10 * DAY_NS, 60)
    assert not clock.is_stale(11 * DAY_NS, 10 * DAY_NS, 60)


def test_replays_do_not_stay_stale_only_until_patience_ends() -> None:
    clock, now_s = DeviceClock(0, 0), 0.0
    for minute in range(60):
        now_s += 60
        assert clock.is_stale(DAY_NS, 10 * DAY_NS + minute, now_s)
        clock.see(DAY_NS, now_s)
        clock.see(10 * DAY_NS + minute, now_s)


def test_a_clock_set_back_is_believed_when_nothing_newer_comes() -> None:
    clock = DeviceClock(3650 * DAY_NS, 0)
    now_s, at_ns, stored_ns, ignored = 0.0, DAY_NS, 3650 * DAY_NS, 0
    for _ in range(30):
        now_s, at_ns = now_s + 60, at_ns + 60 * 10**9
        if clock.is_stale(at_ns, stored_ns, now_s):
            ignored += 1
        else:
            stored_ns = at_ns
        clock.see(at_ns, now_s)
    assert ignored == PATIENCE_S / 60
    # From then on the new time is the device's time, and older messages than that are stale again.
    assert clock.is_stale(DAY_NS, at_ns, now_s)
