"""Schedules in five fields of cron: minute, hour, day of month, month, day of week.

The kinds check them here; who keeps a schedule reads the same fields.
"""

from __future__ import annotations

from collections.abc import Iterator

from eaves.kinds.rules import invalid
from eaves.kube.errors import FieldError

_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
_NICKNAMES = frozenset({"@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually"})
_FIELDS: tuple[tuple[str, int, int, list[str]], ...] = (
    ("minute", 0, 59, []),
    ("hour", 0, 23, []),
    ("day of month", 1, 31, []),
    ("month", 1, 12, _MONTHS),
    ("day of week", 0, 7, _DAYS),
)


def check_schedule(path: str, text: str) -> Iterator[FieldError]:
    """Why ``text`` is no schedule."""
    if text in _NICKNAMES:
        return
    fields = text.split()
    if len(fields) != len(_FIELDS):
        yield invalid(
            path, text, "must have five fields: minute, hour, day of month, month, day of week (e.g. 0 2 * * *)"
        )
        return
    for field, (name, low, high, names) in zip(fields, _FIELDS, strict=True):
        if not all(_is_item(item, low, high, names) for item in field.lower().split(",")):
            yield invalid(
                path, text, f"{name} {field!r} is not possible; it goes from {low} to {high}, as in 5, 1-5, */10 or *"
            )


def _is_item(item: str, low: int, high: int, names: list[str]) -> bool:
    """``*``, ``5``, ``1-5``, each with ``/10`` or without."""
    span, slash, step = item.partition("/")
    if slash and not (step.isdecimal() and 1 <= int(step) <= high):
        return False
    if span == "*":
        return True
    first, dash, last = span.partition("-")
    begin, end = _number(first, names, low), _number(last, names, low) if dash else high
    return low <= begin <= high and begin <= end <= high


def _number(text: str, names: list[str], low: int) -> int:
    """-1 for what is no number."""
    if text in names:
        return names.index(text) + low
    return int(text) if text.isdecimal() and len(text) <= 2 else -1
