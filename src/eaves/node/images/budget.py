"""How many bytes this node may still download today and this month. Pure: the caller has the clock. Days and months are those of UTC."""

from __future__ import annotations

import datetime

from msgspec import Struct


class Limits(Struct, frozen=True):
    """Bytes; 0 = no limit."""

    day_bytes: int = 0
    month_bytes: int = 0


class Usage(Struct, frozen=True):
    """What was downloaded in the day and month that are named (``2026-11-28``, ``2026-11``)."""

    day: str = ""
    day_bytes: int = 0
    month: str = ""
    month_bytes: int = 0


def add_usage(usage: Usage, count: int, now: float) -> Usage:
    """``usage`` with ``count`` bytes more at the time ``now``."""
    moment = _utc(now)
    day, month = moment.strftime("%Y-%m-%d"), moment.strftime("%Y-%m")
    return Usage(
        day,
        (usage.day_bytes if usage.day == day else 0) + count,
        month,
        (usage.month_bytes if usage.month == month else 0) + count,
    )


def wait_s(usage: Usage, limits: Limits, now: float) -> float:
    """Seconds until something may be downloaded again; 0 = now."""
    current = add_usage(usage, 0, now)
    moment = _utc(now)
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    if limits.month_bytes and current.month_bytes >= limits.month_bytes:
        next_month = (midnight.replace(day=1) + datetime.timedelta(days=32)).replace(day=1)
        return (next_month - moment).total_seconds()
    if limits.day_bytes and current.day_bytes >= limits.day_bytes:
        return (midnight + datetime.timedelta(days=1) - moment).total_seconds()
    return 0.0


def _utc(now: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(now, datetime.UTC)
