"""Counts what goes to the controller and comes from it, by the way out and by the call, as the device API's metrics tell it."""

from __future__ import annotations

import time

from msgspec import Struct, field

_CALLS_LIMIT = 64
"""Logs of apps are calls of their own, and apps come and go; those beyond this count at their way alone."""


class CallFigures(Struct):
    """Of one URL. Bytes are those of bodies."""

    tries: int = 0
    tried_bytes: int = 0
    sent: int = 0
    sent_bytes: int = 0
    received: int = 0
    received_bytes: int = 0
    milliseconds: int = 0


class WayFigures(Struct):
    """Of one way out; times are Unix seconds, 0 = never."""

    successes: int = 0
    failures: int = 0
    forged: int = 0
    """Answers that the controller did not sign."""
    last_success: float = 0.0
    last_failure: float = 0.0
    calls: dict[str, CallFigures] = field(default_factory=dict)


class Traffic:
    """All ways by their labels; the host's own routing is the empty one."""

    def __init__(self) -> None:
        self.ways: dict[str, WayFigures] = {}

    def note_answer(
        self, label: str, url: str, sent_bytes: int, received_bytes: int, seconds: float, *, is_success: bool
    ) -> None:
        way = self._way(label)
        self._count(way, is_success=is_success)
        if (call := self._call(way, url, sent_bytes)) is not None:
            call.sent += 1
            call.sent_bytes += sent_bytes
            call.received += 1
            call.received_bytes += received_bytes
            call.milliseconds += round(1000 * seconds)

    def note_failure(self, label: str, url: str, sent_bytes: int) -> None:
        """No answer came."""
        way = self._way(label)
        self._count(way, is_success=False)
        self._call(way, url, sent_bytes)

    def note_forgery(self, label: str) -> None:
        self._way(label).forged += 1

    def _way(self, label: str) -> WayFigures:
        return self.ways.setdefault(label, WayFigures())

    def _count(self, way: WayFigures, *, is_success: bool) -> None:
        if is_success:
            way.successes += 1
            way.last_success = time.time()
        else:
            way.failures += 1
            way.last_failure = time.time()

    def _call(self, way: WayFigures, url: str, sent_bytes: int) -> CallFigures | None:
        if url not in way.calls and len(way.calls) >= _CALLS_LIMIT:
            return None
        call = way.calls.setdefault(url, CallFigures())
        call.tries += 1
        call.tried_bytes += sent_bytes
        return call
