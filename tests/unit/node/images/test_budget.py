"""The download budget."""

from __future__ import annotations

import datetime

import pytest

from eaves.node.images.budget import Limits, Usage, add_usage, wait_s


def at(text: str) -> float:
    return datetime.datetime.fromisoformat(f"{text}+00:00").timestamp()


def test_use_is_counted_by_day_and_month() -> None:
    usage = add_usage(Usage(), 10, at("2026-11-28T10:00"))
    usage = add_usage(usage, 5, at("2026-11-28T23:59"))
    assert usage == Usage("2026-11-28", 15, "2026-11", 15)
    usage = add_usage(usage, 1, at("2026-11-29T00:00"))
    assert usage == Usage("2026-11-29", 1, "2026-11", 16)
    assert add_usage(usage, 2, at("2026-12-01T00:00")) == Usage("2026-12-01", 2, "2026-12", 2)


@pytest.mark.parametrize(
    ("limits", "now", "expected_h"),
    [
        (Limits(), "2026-11-28T20:00", 0),
        (Limits(day_bytes=101), "2026-11-28T20:00", 0),
        (Limits(day_bytes=100), "2026-11-28T20:00", 4),
        (Limits(day_bytes=100), "2026-11-29T00:00", 0),
        (Limits(month_bytes=300), "2026-11-28T20:00", 52),
        (Limits(month_bytes=300), "2026-11-29T00:00", 48),
        (Limits(day_bytes=100, month_bytes=300), "2026-11-28T20:00", 52),
        (Limits(month_bytes=300), "2026-12-01T00:00", 0),
    ],
)
def test_when_downloads_go_on(limits: Limits, now: str, expected_h: float) -> None:
    usage = Usage("2026-11-28", 100, "2026-11", 300)
    assert wait_s(usage, limits, at(now)) == expected_h * 3600


def test_the_month_after_december() -> None:
    usage = Usage("2026-12-31", 1, "2026-12", 1)
    assert wait_s(usage, Limits(month_bytes=1), at("2026-12-31T12:00")) == 12 * 3600
