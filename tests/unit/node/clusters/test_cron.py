"""When a scheduled snapshot is due."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eaves.node.clusters.cron import Schedule
from eaves.node.clusters.errors import BackupError


def last(schedule: str, now: str) -> str:
    moment = datetime.datetime.fromisoformat(now).replace(tzinfo=datetime.UTC).timestamp()
    found = Schedule(schedule).find_last(moment)
    return datetime.datetime.fromtimestamp(found, datetime.UTC).strftime("%Y-%m-%d %H:%M") if found else ""


@pytest.mark.parametrize(
    ("schedule", "now", "expected"),
    [
        ("0 2 * * *", "2026-11-28 02:00", "2026-11-28 02:00"),
        ("0 2 * * *", "2026-11-28 01:59", "2026-11-27 02:00"),
        ("*/15 * * * *", "2026-11-28 10:44", "2026-11-28 10:30"),
        ("5/20 * * * *", "2026-11-28 10:44", "2026-11-28 10:25"),
        ("0 0 1 * *", "2026-11-28 10:44", "2026-11-01 00:00"),
        ("30 4 * * sun", "2026-11-28 10:44", "2026-11-22 04:30"),
        ("30 4 * * 7", "2026-11-28 10:44", "2026-11-22 04:30"),
        ("0 0 13 * fri", "2026-11-28 10:44", "2026-11-27 00:00"),
        ("0 0 29 feb *", "2026-11-28 10:44", "2024-02-29 00:00"),
        ("0 9-17/4 * * 1-5", "2026-11-28 10:44", "2026-11-27 17:00"),
        ("@weekly", "2026-11-28 10:44", "2026-11-22 00:00"),
        ("0 0 31 feb *", "2026-11-28 10:44", ""),
    ],
)
def test_the_last_time_that_was_due(schedule: str, now: str, expected: str) -> None:
    assert last(schedule, now) == expected


@pytest.mark.parametrize(
    "schedule", ["", "* * * *", "60 * * * *", "* 24 * * *", "a * * * *", "*/0 * * * *", "5-2 * * * *"]
)
def test_what_is_no_schedule_is_told(schedule: str) -> None:
    with pytest.raises(BackupError, match="no schedule"):
        Schedule(schedule)


@given(st.integers(0, 59), st.integers(0, 23), st.integers(0, 2**31))
def test_a_daily_time_is_never_in_the_future_nor_older_than_a_day(minute: int, hour: int, now: int) -> None:
    found = Schedule(f"{minute} {hour} * * *").find_last(now)
    assert now - 86400 - 60 < found <= now
