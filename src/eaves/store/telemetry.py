"""Interface of telemetry: logs, metrics, flow logs and hardware health, apart from the objects and bounded.

The gateway appends, the API and the console read. Promises of every engine:

* What is acknowledged is durable.
* Log lines of a stream (a device's own, or one app's on one device) keep the order in which they arrived. A line that is sent again
  (same stream, time and number) is kept once.
* Age and size are bounded, the oldest goes first, and each device has a bound of its own, so that one that floods loses its own lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

from msgspec import Struct


class RecordKind(StrEnum):
    METRICS = "metrics"
    FLOWS = "flows"
    HARDWARE_HEALTH = "hardware-health"


class LogLine(Struct, frozen=True):
    time_ns: int
    """The device's time, Unix nanoseconds. Its clock may be wrong."""
    severity: str
    """Level of a device's line; ``stdout`` or ``stderr`` of an app's, where that is known."""
    source: str
    text: str
    number: int = 0
    """Increases within the stream; with the time it tells a repeated line."""
    run: str = ""
    """Which start of the app's container wrote it; empty when not known."""


class LogSource(Struct, frozen=True):
    """Whose lines: of an app wherever it ran, of an app on one device, or a device's own (no app)."""

    device_id: str = ""
    app_id: str = ""


class LogPage(Struct, frozen=True):
    lines: Sequence[LogLine]
    cursor: int
    """Where to go on: nothing up to here is left out besides what the question left out."""


class LogRun(Struct, frozen=True):
    """One start of an app's container."""

    run: str
    device_id: str
    first_ns: int
    last_cursor: int


class Record(Struct, frozen=True):
    time_ns: int
    """The device's time of it."""
    received_ns: int
    payload: bytes


class Telemetry(Protocol):
    """Methods raise :class:`~eaves.store.errors.StoreUnavailableError`; those that append also DiskFullError."""

    async def append_logs(self, device_id: str, app_id: str, lines: Sequence[LogLine]) -> int:
        """Add lines; answers how many were new. ``app_id`` is empty for the device's own."""
        ...

    async def read_logs(
        self,
        source: LogSource,
        *,
        after: int = 0,
        since_ns: int = 0,
        tail: int | None = None,
        run: str | None = None,
        limit_lines: int = 500,
        limit_bytes: int = 1 << 20,
    ) -> LogPage:
        """Lines in the order of arrival, those after cursor ``after`` and of ``since_ns`` or later.

        With ``tail`` the last so many of them. The limits bound one page (of at least one line); read on from its cursor,
        without ``tail``, until a page is empty.
        """
        ...

    async def wait_logs(self, source: LogSource, *, after: int, timeout_s: float) -> bool:
        """Whether there was a line after the cursor within the time."""
        ...

    async def list_runs(self, source: LogSource) -> Sequence[LogRun]:
        """The known runs in the order in which they began to arrive; the last one is the newest."""
        ...

    async def append_record(self, kind: RecordKind, device_id: str, time_ns: int, payload: bytes) -> None: ...

    async def latest(self, kind: RecordKind, device_id: str) -> Record | None:
        """The record that arrived last."""
        ...

    async def list_records(
        self, kind: RecordKind, device_id: str, *, since_ns: int = 0, limit: int = 100
    ) -> Sequence[Record]:
        """The last ``limit`` records received at ``since_ns`` or later, oldest first."""
        ...

    async def remove_device(self, device_id: str) -> None:
        """Forget all telemetry of a device."""
        ...

    async def close(self) -> None: ...
