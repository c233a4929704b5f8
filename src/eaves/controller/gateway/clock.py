"""Tells a replayed info message from a device whose clock was set back.

A message older than the newest one of the same object is a replay or out of order, and is ignored. A device whose clock was years
ahead and was then corrected sends only such messages, and ignoring those would freeze its status for years. So the rule looks at
the device as a whole: while its messages (info or metrics) carry times that move forward, older ones are stale; when nothing that
moves forward came for :data:`PATIENCE_S`, the device's clock went back, and what it says now counts.

Pure; the time is passed in. Ingest calls it for each message of a device.
"""

from __future__ import annotations

PATIENCE_S = 900.0
"""A device sends metrics each minute and device info every ten, so this is silence of fresh times, not of the device."""


class DeviceClock:
    """What is known of one device's clock."""

    __slots__ = ("_fresh_at_s", "_newest_ns")

    def __init__(self, newest_ns: int, now_s: float) -> None:
        """``newest_ns``: the newest time known from before, 0 if none; ``now_s``: monotonic."""
        self._newest_ns = newest_ns
        self._fresh_at_s = now_s

    def see(self, at_ns: int, now_s: float) -> None:
        """Take note of a message's time."""
        if at_ns > self._newest_ns or self.went_back(now_s):
            self._newest_ns = at_ns
            self._fresh_at_s = now_s

    def went_back(self, now_s: float) -> bool:
        return now_s - self._fresh_at_s > PATIENCE_S

    def is_stale(self, at_ns: int, stored_ns: int, now_s: float) -> bool:
        """Whether a message made at ``at_ns`` must not replace the one made at ``stored_ns`` of the same object.

        Call before :meth:`see`. A message of the same moment is not stale: devices repeat one until it is acknowledged.
        """
        return at_ns < stored_ns and not self.went_back(now_s)
