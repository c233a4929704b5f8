"""Brings packed log files to the controller at the pace of the device API (1.8), or at once for an app that somebody reads.

:class:`Pace` is pure arithmetic over a clock that is passed in; :class:`LogUploader` owns when segments are cut and files are sent.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from msgspec import Struct

from eaves.node.link import pace
from eaves.node.link.calls import LINK_ERRORS, SUCCESS, Controller
from eaves.node.link.logs import DEVICE, LogStore, WaitingFile
from eaves.wire.identifiers import AppId, is_uuid
from eaves.wire.paths import Endpoint
from eaves.wire.timers import Timers

log = logging.getLogger(__name__)

CUT_S, FAST_CUT_S, READ_CUT_S = 300.0, 10.0, 1.0
FAST_S = 3.0
_STEPS = ((5, 90.0), (10, 45.0), (20, 30.0), (50, 15.0), (100, 8.0))
_LEAST_S = 3.0
_FAILING_AFTER_S = 1200.0
_FAILING_SHARE_S = (180.0, 900.0)
_TOO_MANY_LIMIT_S, _TOO_MANY_HOLD_S = 300.0, 3600.0
_TOO_MANY_LEAST_S, _TOO_MANY_LEAST_HOLD_S = 10.0, 7200.0
_REFUSALS_LIMIT = 10
_SET_ASIDE_LIMIT = 1000
_FILES_A_TICK = 10


class LogFigures(Struct, frozen=True):
    """How the logs fare: files that wait, bytes sent, files dropped by the quota."""

    device_files: int = 0
    app_files: int = 0
    device_files_sent: int = 0
    app_files_sent: int = 0
    bytes_sent: int = 0
    files_dropped: int = 0
    refused: int = 0
    too_many: int = 0
    interval_s: int = 0
    is_failing: bool = False


class Pace:
    """Seconds between ticks."""

    def __init__(self) -> None:
        self._factor = 1.0
        self._too_many_at: float | None = None
        self._failing_since: float | None = None

    def interval_s(self, waiting: int, now: float, *, is_fast: bool) -> float:
        """The interval for ``waiting`` files, before jitter."""
        if self._failing_since is not None and now - self._failing_since >= _FAILING_AFTER_S:
            lowest, highest = _FAILING_SHARE_S
            return pace.pick_delay_s(highest, lowest / highest)
        interval = FAST_S if is_fast else next((seconds for limit, seconds in _STEPS if waiting < limit), _LEAST_S)
        if self._too_many_at is None:
            return interval
        since = now - self._too_many_at
        if since < _TOO_MANY_HOLD_S:
            interval = min(interval * self._factor, _TOO_MANY_LIMIT_S)
        return max(interval, _TOO_MANY_LEAST_S) if since < _TOO_MANY_LEAST_HOLD_S else interval

    def note_too_many(self, now: float) -> None:
        """The controller answered 429."""
        is_again = self._too_many_at is not None and now - self._too_many_at < _TOO_MANY_HOLD_S
        self._factor = min(self._factor * 2, 128.0) if is_again else 2.0
        self._too_many_at = now

    def note_unavailable(self, now: float) -> None:
        """503 or no answer."""
        if self._failing_since is None:
            self._failing_since = now

    def note_success(self) -> None:
        self._failing_since = None

    @property
    def is_failing(self) -> bool:
        return self._failing_since is not None


class LogUploader:
    """Cuts and sends."""

    def __init__(self, controller: Controller, store: LogStore, timers: Callable[[], Timers]) -> None:
        self._controller = controller
        self._store = store
        self._timers = timers
        self._pace = Pace()
        self._read_until: dict[str, float] = {}
        self._reading = asyncio.Event()
        self._wake = asyncio.Event()
        self._refusals: dict[str, int] = {}
        self._waiting = {True: 0, False: 0}
        self._sent = {True: 0, False: 0}
        self._bytes_sent = 0
        self._refused = 0
        self._too_many = 0
        self._interval_s = 0.0
        self._lock = asyncio.Lock()

    def note_readers(self, app_id: str, seconds: int) -> None:
        """Somebody reads the logs of ``app_id`` (empty = the device's own) for the next ``seconds``."""
        stream = app_id or DEVICE
        if stream == DEVICE or is_uuid(stream):
            self._read_until[stream] = asyncio.get_running_loop().time() + seconds
            self._reading.set()

    def note_timers(self) -> None:
        """The pace may be another one."""
        self._wake.set()

    @property
    def waiting_files(self) -> int:
        return sum(self._waiting.values())

    def figures(self) -> LogFigures:
        """For metrics."""
        return LogFigures(
            device_files=self._waiting[True],
            app_files=self._waiting[False],
            device_files_sent=self._sent[True],
            app_files_sent=self._sent[False],
            bytes_sent=self._bytes_sent,
            files_dropped=self._store.dropped_files,
            refused=self._refused,
            too_many=self._too_many,
            interval_s=int(self._interval_s),
            is_failing=self._pace.is_failing,
        )

    async def run(self) -> None:
        """Cut and send by the clock, for ever."""
        while True:
            is_fast = self._timers().newlog_allow_fastupload
            await self._store.cut(FAST_CUT_S if is_fast else CUT_S)
            await self._tick(is_fast)
            now = asyncio.get_running_loop().time()
            self._interval_s = self._pace.interval_s(self.waiting_files, now, is_fast=is_fast)
            await pace.sleep_or_wake(pace.pick_delay_s(self._interval_s, 0.8, 1.2), self._wake)

    async def run_for_readers(self) -> None:
        """While somebody reads an app's logs, cut and send its lines each second, for ever."""
        while True:
            await self._reading.wait()
            now = asyncio.get_running_loop().time()
            self._read_until = {app_id: until for app_id, until in self._read_until.items() if until > now}
            if not self._read_until:
                self._reading.clear()
                continue
            streams = frozenset(self._read_until)
            if not self._pace.is_failing:
                # Without a controller a cut each second would leave a heap of tiny files.
                await self._store.cut(0.0, streams)
            for file in [file for file in await self._store.waiting() if file.stream in streams]:
                if not await self._send(file):
                    break
            await asyncio.sleep(READ_CUT_S)

    async def _tick(self, is_fast: bool) -> None:
        """Send the oldest device file and the oldest app file; more app files when many wait and fast upload is allowed."""
        files = await self._store.waiting()
        device = [file for file in files if file.stream == DEVICE]
        apps = [file for file in files if file.stream != DEVICE]
        count = min(_FILES_A_TICK, max(1, len(apps) // 3)) if is_fast else 1
        self._waiting = {True: len(device), False: len(apps)}
        for file in (*device[:1], *apps[:count]):
            if not await self._send(file):
                return

    async def _send(self, file: WaitingFile) -> bool:
        """Send one file; false when going on makes no sense now."""
        async with self._lock:
            content = await self._store.load(file)
            if content is None:
                return True
            now = asyncio.get_running_loop().time()
            is_device = file.stream == DEVICE
            try:
                reply = await self._controller.post(
                    Endpoint.NEWLOGS if is_device else Endpoint.APP_NEWLOGS,
                    content,
                    app_id=None if is_device else AppId(file.stream),
                )
            except LINK_ERRORS:
                self._pace.note_unavailable(now)
                return False
            return await self._react(file, reply.status, now)

    async def _react(self, file: WaitingFile, status: int, now: float) -> bool:
        if status in SUCCESS:
            await self._store.remove(file)
            self._pace.note_success()
            self._refusals.pop(file.path.name, None)
            self._sent[file.stream == DEVICE] += 1
            self._bytes_sent += file.size_bytes
            return True
        if status == 429:
            self._too_many += 1
            self._pace.note_too_many(now)
        elif 400 <= status < 500:
            self._refused += 1
            await self._note_refusal(file, status)
        else:
            self._pace.note_unavailable(now)
        return False

    async def _note_refusal(self, file: WaitingFile, status: int) -> None:
        """After many refusals the file is set aside, so that those behind it get their turn."""
        refusals = self._refusals[file.path.name] = self._refusals.get(file.path.name, 0) + 1
        if refusals >= _REFUSALS_LIMIT:
            del self._refusals[file.path.name]
            log.warning("log file is refused for good and set aside: file=%s status=%d", file.path.name, status)
            await self._store.set_aside(file, _SET_ASIDE_LIMIT)
