"""Five fields of cron (POSIX crontab): minute, hour, day of month, month, day of week; in UTC. Pure."""

from __future__ import annotations

import datetime

from eaves.node.clusters.errors import BackupError

_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12), ("weekday", 0, 7))
_NAMES = {
    **{name: number for number, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))},
    **{
        name: number + 1
        for number, name in enumerate(
            ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
        )
    },
}
_SHORTHANDS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_DAYS_BACK = 366 * 4 + 2
"""A 29 February comes at least this often."""


class Schedule:
    """When something is due. Raises BackupError for a text that is no schedule."""

    def __init__(self, text: str) -> None:
        fields = _SHORTHANDS.get(text.strip().lower(), text).split()
        if len(fields) != len(_FIELDS):
            raise _bad(text)
        sets = [_parse(field, *bounds, text) for field, bounds in zip(fields, _FIELDS, strict=True)]
        self._minutes, self._hours, self._days, self._months, weekdays = sets
        self._weekdays = frozenset(day % 7 for day in weekdays)
        # A day counts when either field matches, unless one of them is a star (crontab(5)).
        self._needs_both = fields[2].startswith("*") or fields[4].startswith("*")

    def find_last(self, now: float) -> float:
        """Unix seconds of the last time that was due at ``now``; 0 = never."""
        moment = datetime.datetime.fromtimestamp(now, datetime.UTC).replace(second=0, microsecond=0)
        day = moment.date()
        for back in range(_DAYS_BACK):
            current = day - datetime.timedelta(days=back)
            if not self._is_day(current):
                continue
            limit = (moment.hour, moment.minute) if back == 0 else (23, 59)
            times = [(hour, minute) for hour in self._hours for minute in self._minutes if (hour, minute) <= limit]
            if times:
                hour, minute = max(times)
                found = datetime.datetime(current.year, current.month, current.day, hour, minute, tzinfo=datetime.UTC)
                return found.timestamp()
        return 0.0

    def _is_day(self, day: datetime.date) -> bool:
        in_month, in_week = day.day in self._days, day.isoweekday() % 7 in self._weekdays
        matches = in_month and in_week if self._needs_both else in_month or in_week
        return day.month in self._months and matches


def _parse(field: str, name: str, low: int, high: int, text: str) -> frozenset[int]:
    found: set[int] = set()
    for part in field.split(","):
        span, slash, step = part.partition("/")
        try:
            first, _, last = span.partition("-")
            start = low if span == "*" else _number(first)
            end = high if span == "*" or (slash and not last) else _number(last or first)
            width = int(step) if slash else 1
        except ValueError as error:
            raise _bad(text) from error
        if not low <= start <= end <= high or width < 1:
            raise _bad(text)
        found.update(range(start, end + 1, width))
    return frozenset(found)


def _number(text: str) -> int:
    known = _NAMES.get(text.lower())
    return known if known is not None else int(text)


def _bad(text: str) -> BackupError:
    return BackupError(
        f"{text!r} is no schedule",
        code="BadSchedule",
        retryable=False,
        resolution='write five fields of cron: "0 2 * * *"',
    )
