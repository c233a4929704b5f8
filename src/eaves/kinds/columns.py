"""Printed columns: getters by path, ages, counts.

A column's ``value`` takes the raw object, since tables are made of objects that may be half filled; whatever is missing is an empty
cell.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from eaves.kinds.times import parse_time
from eaves.kube.resource import Column, Object

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


def age_at(path: str) -> Getter:
    """How long ago the time at a path was."""
    keys = path.split(".")

    def value(obj: Object, now: float) -> str:
        return age_of(get(obj, keys), now)

    return value


def age_of(text: str, now: float) -> str:
    """``5m3s`` for a time; ``<unknown>`` for none."""
    if not text:
        return "<unknown>"
    try:
        return render_duration(now - parse_time(text))
    except ValueError:
        return "<unknown>"


def render_duration(seconds: float) -> str:
    """A duration as kubectl prints it: two units while they matter, then one."""
    whole = int(seconds)
    if whole < -1:
        return "<invalid>"
    if whole < 0:
        return "0s"
    if whole < 120:
        return f"{whole}s"
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if minutes < 10:
        return _two(minutes, "m", whole % 60, "s")
    if hours < 3:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if hours < 192:
        return _two(days, "d", hours % 24, "h")
    if days < 730:
        return f"{days}d"
    if days < 2920:
        return _two(days // 365, "y", days % 365, "d")
    return f"{days // 365}y"


def _two(major: int, major_unit: str, minor: int, minor_unit: str) -> str:
    return f"{major}{major_unit}{minor}{minor_unit}" if minor else f"{major}{major_unit}"


NAME = Column("Name", "string", at("metadata.name"), "Name must be unique within a namespace.", format="name")
AGE = Column("Age", "string", age_at("metadata.creationTimestamp"), "Time since the object was created.")


def condition(kind: str) -> Getter:
    """Status of a condition: True, False, Unknown or empty."""

    def value(obj: Object, _now: float) -> str:
        for item in get(obj, ["status", "conditions"], ()):
            if item.get("type") == kind:
                return str(item.get("status", ""))
        return ""

    return value
