"""Tells a replayed info message from a device whose clock was set back.

A message older than the newest one of the same thing is a replay or out of order, and is ignored. A device whose clock was months
ahead and was then put right sends only such messages, and ignoring those would freeze its status for months. So the rule looks at
the device as a whole, by the times of its info and metrics messages: older ones that follow each other at the pace of time, with
nothing newer in between, are those of a running clock, which went back; so is whatever comes when nothing newer came for
:data:`PATIENCE_S`.

Pure; the time is passed in. Ingest calls it for each message of a device.
"""

from __future__ import annotations

from enum import Enum, auto

PATIENCE_S = 900.0
"""A device sends metrics each minute and device info every ten, so this is silence of newer times, not of the device."""
PACE_S = 45.0
"""How long older messages must keep pace: two metrics messages do."""
PACE_SLACK_S = 5.0
"""How much longer one message may take than another. Those that were kept while the link was down arrive all at once, out of pace."""


class Seen(Enum):
    """What a message's time shows."""

    NEWER = auto()
    OLDER = auto()
    """A replay, out of order, or the first ones after the clock went back."""
    WENT_BACK = auto()
    """The clock did, and older messages were not too old."""


class DeviceClock:
    """What is known of one device's clock."""

    __slots__ = ("_behind_s", "_fresh_at_s", "_since_s", "newest_ns")

    def __init__(self, newest_ns: int, now_s: float) -> None:
        """``newest_ns``: the newest time known from before, 0 if none; ``now_s``: monotonic."""
        self.newest_ns = newest_ns
        """The newest time of the clock as it is now: what is known of a thing from after it was made before the clock went back."""
        self._fresh_at_s = now_s
        self._behind_s: float | None = None
        """By how much older messages that keep pace are behind ``now_s``; None when there are none."""
        self._since_s = now_s

    def see(self, at_ns: int, now_s: float) -> Seen:
        """Take note of a message's time. A message that is repeated counts as older, but shows nothing."""
        if at_ns == self.newest_ns:
            return Seen.OLDER
        is_older = at_ns < self.newest_ns
        if is_older and not self._keeps_pace(at_ns, now_s) and now_s - self._fresh_at_s <= PATIENCE_S:
            return Seen.OLDER
        self.newest_ns, self._fresh_at_s, self._behind_s = at_ns, now_s, None
        return Seen.WENT_BACK if is_older else Seen.NEWER

    def _keeps_pace(self, at_ns: int, now_s: float) -> bool:
        behind_s = now_s - at_ns / 1e9
        if self._behind_s is None or abs(behind_s - self._behind_s) > PACE_SLACK_S:
            self._behind_s, self._since_s = behind_s, now_s
            return False
        return now_s - self._since_s >= PACE_S
