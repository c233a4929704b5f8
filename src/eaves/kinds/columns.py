"""Printed columns: getters by path, ages, counts.

A column's ``value`` takes the raw object, since tables are made of objects that may be half filled; whatever is
missing is an empty cell.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from eaves.kube.resource import Object
from eaves.kube.tables import parse_time, render_duration

Getter = Callable[[Object, float], Any]


def at(path: str, default: Any = "") -> Getter:
    """What is at a dotted path, such as ``spec.nodeName``."""
    keys = path.split(".")

    def value(obj: Object, _now: float) -> Any:
        return get(obj, keys, default)

    return value


def get(obj: Object, keys: list[str], default: Any = "") -> Any:
    found: Any = obj
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
        if found is None:
            return default
    return found


def count(path: str) -> Getter:
    """How many items or keys there are at a path."""
    keys = path.split(".")

    def value(obj: Object, _now: float) -> int:
        return len(get(obj, keys, ()))

    return value


def age_of(text: str, now: float) -> str:
    """``5m3s`` for a time; ``<unknown>`` for none."""
    moment = parse_time(text)
    return "<unknown>" if moment is None else render_duration(now - moment)


def age_at(path: str) -> Getter:
    """The age of the time at a dotted path; empty when there is none yet."""
    keys = path.split(".")

    def value(obj: Object, now: float) -> str:
        text = get(obj, keys)
        return age_of(text, now) if text else ""

    return value


def condition(kind: str) -> Getter:
    """Status of a condition: True, False, Unknown or empty."""

    def value(obj: Object, _now: float) -> str:
        for item in get(obj, ["status", "conditions"], ()):
            if item.get("type") == kind:
                return str(item.get("status", ""))
        return ""

    return value
