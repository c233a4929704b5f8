"""Times as Kubernetes writes them: RFC 3339 in UTC with whole seconds, against Unix seconds."""

from __future__ import annotations

import functools
from datetime import UTC, datetime


def render_time(unix_s: float) -> str:
    """``2026-11-24T18:00:00Z``. Times that no calendar has (a device's broken clock) are moved to the nearest that it has."""
    return _render_second(int(min(max(unix_s, 0.0), 253402300799.0)))


def parse_time(text: str) -> float:
    """Unix seconds. Raises ``ValueError`` for text that is no time or has no zone."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return moment.timestamp()


@functools.lru_cache(maxsize=256)
def _render_second(unix_s: int) -> str:
    """Kept, since much of what happens in one second is written down with it."""
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
