"""Durations as Kubernetes and Go write them: ``90s``, ``10m``, ``1h30m``."""

from __future__ import annotations

import re
from collections.abc import Iterator

from eaves.kinds.rules import invalid
from eaves.kube.errors import FieldError

_FORM = re.compile(r"(?:([0-9]{1,9})h)?(?:([0-9]{1,9})m)?(?:([0-9]{1,9})s)?")


def parse_duration_s(text: str) -> int | None:
    """Seconds; None for text that is no duration."""
    match = _FORM.fullmatch(text)
    if match is None or not any(match.groups()):
        return None
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds


def check_duration(path: str, text: str, *, least_s: int, most_s: int) -> Iterator[FieldError]:
    """A duration within bounds, both included."""
    seconds = parse_duration_s(text)
    if seconds is None:
        yield invalid(path, text, "must be a duration in hours, minutes and seconds, (e.g. 90s, 10m or 1h30m)")
    elif not least_s <= seconds <= most_s:
        yield invalid(path, text, f"must be between {least_s}s and {most_s}s")
