"""When something is due."""

from __future__ import annotations

import datetime
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eaves.kit import cron


def seconds(text: str) -> float:
    return datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC).timestamp()


@pytest.mark.parametrize(
    ("schedule", "now", "last", "following"),
    [
        ("0 2 * * *", "2026-11-28 02:00", "2026-11-28 02:00", "2026-11-29 02:00"),
        ("0 2 * * *", "2026-11-28 01:59:59", "2026-11-27 02:00", "2026-11-28 02:00"),
        ("*/15 * * * *", "2026-11-28 10:44:30", "2026-11-28 10:30", "2026-11-28 10:45"),
        ("5/20 * * * *", "2026-11-28 10:44", "2026-11-28 10:25", "2026-11-28 10:45"),
        ("0 0 1 * *", "2026-11-28 10:44", "2026-11-01", "2026-12-01"),
        ("30 4 * * sun", "2026-11-28 10:44", "2026-11-22 04:30", "2026-11-29 04:30"),
        ("30 4 * * 7", "2026-11-28 10:44", "2026-11-22 04:30", "2026-11-29 04:30"),
        # A day counts when either field matches, unless one of them is a star (crontab(5)).
        ("0 0 13 * fri", "2026-11-28 10:44", "2026-11-27", "2026-12-04"),
        ("0 0 29 feb *", "2026-11-28 10:44", "2024-02-29", "2028-02-29"),
        ("0 9-17/4 * * 1-5", "2026-11-28 10:44", "2026-11-27 17:00", "2026-11-30 09:00"),
        ("*/15 0-6,22 1 jan-mar *", "2026-11-28 10:44", "2026-03-01 22:45", "2027-01-01"),
        ("@weekly", "2026-11-28 10:44", "2026-11-22", "2026-11-29"),
    ],
)
def test_times_around_a_moment(schedule: str, now: str, last: str, following: str) -> None:
    assert cron.find_last(schedule, seconds(now)) == seconds(last)
    assert cron.find_next(schedule, seconds(now)) == seconds(following)


@pytest.mark.parametrize(
    ("schedule", "why"),
    [
        ("", "five fields"),
        ("* * * *", "five fields"),
        ("* * * * * *", "five fields"),
        ("@sometimes", "five fields"),
        ("60 * * * *", "minute"),
        ("a * * * *", "minute"),
        ("*/0 * * * *", "minute"),
        ("5-2 * * * *", "minute"),
        ("* 24 * * *", "hour"),
        ("* * 0 * *", "day of month"),
        ("0 0 31 feb *", "day of month"),
        ("* * * 13 *", "month"),
        ("* * * * 8", "day of week"),
    ],
)
def test_what_is_no_schedule_is_told(schedule: str, why: str) -> None:
    with pytest.raises(cron.ScheduleError, match=why):
        cron.check_schedule(schedule)


@given(st.integers(0, 59), st.integers(0, 23), st.integers(0, 2**31))
def test_a_daily_time_is_never_further_than_a_day(minute: int, hour: int, now: int) -> None:
    schedule = f"{minute} {hour} * * *"
    assert now - 86400 - 60 < cron.find_last(schedule, now) <= now
    assert now < cron.find_next(schedule, now) <= now + 86400 < math.inf
