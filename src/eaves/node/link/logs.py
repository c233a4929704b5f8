"""Log lines on disk until the controller has them: journals first, packed files later, a bound on all of it.

A line is appended to the journal of its stream (the device, or one app) before anyone counts it as kept, so a killed daemon loses
none. The engine hands on the last lines again after a crash, with the same numbers; those that are here already are dropped. A
journal segment is named by its stream and start and never written again once it was cut; packing turns it into gzip files whose
names follow from the segment's, so that a crash in between repeats the same files instead of adding lines. Files that wait are
dropped oldest first when the quota or the disk is full.

All file work runs in one thread of its own: order is kept and the event loop never waits for a disk.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import errno
import logging
import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from eaves.kit import files
from eaves.node.link.loglines import encode_app_line, load_last_record
from eaves.node.observed import LogLine
from eaves.wire import logfile, newlog
from eaves.wire.identifiers import is_uuid

log = logging.getLogger(__name__)

DEVICE = "dev"
"""Stream of the daemon's own lines; every other stream is the UUID of an app."""
SEGMENT_LIMIT_BYTES = 512 << 10
_NUMBER_BLOCK = 10_000
"""Numbers of device lines are reserved in blocks, so that they grow across restarts without a write for each line."""
_PART = ".part"
_MARKS_LIMIT = 1000
"""Marks of apps that are gone are forgotten when there are so many; the clock may be wrong, so age says nothing."""

_T = TypeVar("_T")


class Mark(Struct, frozen=True, array_like=True):
    """Number and time of the last line that was taken from an app. Numbers begin anew when an app was removed and came again."""

    number: int
    time_ns: int


class WaitingFile(Struct, frozen=True, order=True):
    """A packed file; ordered by age."""

    started_ms: int
    part: int
    stream: str
    path: Path
    size_bytes: int


class _Segment:
    """The journal segment that a stream writes to now."""

    def __init__(self, path: Path, opened_at: float) -> None:
        self.path = path
        self.opened_at = opened_at
        self.size_bytes = 0
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)

    def append(self, data: bytes) -> None:
        """Write whole lines or nothing."""
        try:
            written = 0
            while written < len(data):
                written += os.write(self._descriptor, data[written:])
        except OSError:
            os.ftruncate(self._descriptor, self.size_bytes)
            raise
        self.size_bytes += len(data)

    def sync(self) -> None:
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)


class LogStore:
    """Owns the folder of logs. Coroutines and :meth:`note_device` are for the loop; what starts with ``_`` runs in the thread."""

    def __init__(
        self,
        folder: Path,
        *,
        quota_bytes: int,
        want_name: Callable[[str], str],
        want_comment: Callable[[], str],
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._journal = folder / "journal"
        self._ready = folder / "ready"
        self._failed = folder / "failedUpload"
        self._numbers = folder / "devicenumber"
        self._marks_file = folder / "taken.json"
        self._want_name = want_name
        self._want_comment = want_comment
        self._clock = clock
        self._now = now
        self._segments: dict[str, _Segment] = {}
        self._marks: dict[str, Mark] = {}
        self._saved_marks: dict[str, Mark] = {}
        self._number = 0
        self._reserved = 0
        self._last_ms = 0
        self._worker = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="logs")
        self.quota_bytes = quota_bytes
        self.dropped_files = 0
        self.dropped_lines = 0

    async def open(self) -> None:
        """Make the folders and pack what an earlier run left in the journal."""
        await self._run(self._open)

    async def close(self) -> None:
        """Finish file work; lines stay in the journal."""
        await self._run(self._close)
        self._worker.shutdown(wait=False)

    async def append_app(self, lines: Sequence[LogLine]) -> None:
        """Keep lines of apps; they are on disk when this returns, unless the disk is full and nothing can be dropped."""
        apps: dict[str, list[LogLine]] = {}
        for line in lines:
            if is_uuid(line.app_id):
                apps.setdefault(line.app_id, []).append(line)
        await self._run(lambda: self._append_apps(apps))

    def last_number(self, app_id: str) -> int:
        """Number of the last line that was taken from an app, 0 = none yet."""
        return self._marks.get(app_id, Mark(0, 0)).number

    def note_device(self, record: newlog.LogRecord) -> None:
        """Keep one line of the daemon's own; callable from any thread, returns at once."""
        with contextlib.suppress(RuntimeError):
            # RuntimeError: the thread has ended, so has the daemon.
            self._worker.submit(self._append_device, record)

    async def cut(self, max_age_s: float, streams: Iterable[str] | None = None) -> None:
        """Pack journal segments that are older than ``max_age_s`` or full; ``streams`` None = of all streams."""
        wanted = None if streams is None else frozenset(streams)
        await self._run(lambda: self._cut(max_age_s, wanted))

    async def waiting(self) -> list[WaitingFile]:
        """Packed files, oldest first."""
        return await self._run(self._list_ready)

    async def load(self, file: WaitingFile) -> bytes | None:
        """Content of a packed file; None when the quota took it meanwhile."""
        return await self._run(lambda: files.load_file(file.path))

    async def remove(self, file: WaitingFile) -> None:
        """The controller has it."""
        await self._run(lambda: file.path.unlink(missing_ok=True))

    async def set_aside(self, file: WaitingFile, limit: int) -> None:
        """The controller refuses it for good: keep it for people, at most ``limit`` such files."""
        await self._run(lambda: self._set_aside(file, limit))

    async def _run(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._worker, work)

    def _open(self) -> None:
        for folder in (self._journal, self._ready, self._failed):
            files.want_folder(folder)
        for leftover in self._ready.glob(f"*{_PART}"):
            leftover.unlink()
        text = files.load_file(self._numbers) or b"0"
        self._number = self._reserved = int(text) if text.strip().isdigit() else 0
        # A name that is in use must not come again, though a run starts in the millisecond of the last one or after a clock was
        # set back: a segment of that name would be packed over the lines of another.
        known = [path for folder in (self._journal, self._ready, self._failed) for path in folder.iterdir()]
        names = [path.name.split(".") for path in known]
        self._last_ms = max((int(name[1]) for name in names if len(name) > 2 and name[1].isdigit()), default=0)
        self._load_marks()
        self._save_marks()
        for path in sorted(self._journal.glob("*.jsonl")):
            self._pack(path)

    def _close(self) -> None:
        for segment in self._segments.values():
            segment.close()
        self._segments.clear()

    def _load_marks(self) -> None:
        """What was taken until the last cut, and since then by what the journal holds."""
        try:
            self._marks = msgspec.json.decode(files.load_file(self._marks_file) or b"{}", type=dict[str, Mark])
        except msgspec.DecodeError as error:
            log.warning("marks of taken log lines cannot be read, some lines may be sent twice: error=%s", error)
        for path in sorted(self._journal.glob("*.jsonl"), key=_segment_order):
            stream = path.name.split(".")[0]
            if stream != DEVICE and (record := load_last_record(path)) is not None:
                self._marks[stream] = Mark(record.number, record.time_ns)

    def _save_marks(self) -> None:
        if self._marks == self._saved_marks:
            return
        for stream in sorted(self._marks, key=lambda stream: self._marks[stream].time_ns)[:-_MARKS_LIMIT]:
            del self._marks[stream]
        try:
            files.save_file(self._marks_file, msgspec.json.encode(self._marks))
        except OSError as error:
            log.debug("marks of taken log lines cannot be saved: error=%s", error)
        else:
            self._saved_marks = dict(self._marks)

    def _append_apps(self, apps: dict[str, list[LogLine]]) -> None:
        touched = []
        for app_id, lines in apps.items():
            mark = self._marks.get(app_id, Mark(0, 0))
            fresh = [line for line in lines if line.number > mark.number or line.time_ns > mark.time_ns]
            if not fresh:
                continue
            segment = self._append(app_id, [encode_app_line(line) for line in fresh])
            self._marks[app_id] = Mark(fresh[-1].number, fresh[-1].time_ns)
            if segment is not None:
                touched.append(segment)
        for segment in touched:
            with contextlib.suppress(OSError):
                segment.sync()

    def _append_device(self, record: newlog.LogRecord) -> None:
        self._number += 1
        if self._number > self._reserved:
            self._reserved = self._number + _NUMBER_BLOCK
            with contextlib.suppress(OSError):
                files.save_file(self._numbers, str(self._reserved).encode())
        self._append(DEVICE, [newlog.encode_line(replace(record, number=self._number))])

    def _append(self, stream: str, lines: list[bytes]) -> _Segment | None:
        """Write to the stream's segment, making room when the disk is full; None when the lines had to go."""
        data = b"".join(lines)
        for _ in range(3):
            try:
                segment = self._want_segment(stream)
                segment.append(data)
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT) or not self._drop_oldest(len(data) + (1 << 20)):
                    break
            else:
                return segment
        self.dropped_lines += len(lines)
        return None

    def _want_segment(self, stream: str) -> _Segment:
        segment = self._segments.get(stream)
        if segment is None:
            # Names order the files, also when the clock was set back between two of them.
            self._last_ms = max(self._last_ms + 1, int(self._now() * 1000))
            path = self._journal / f"{stream}.{self._last_ms}.jsonl"
            segment = self._segments[stream] = _Segment(path, self._clock())
        return segment

    def _cut(self, max_age_s: float, streams: frozenset[str] | None) -> None:
        self._save_marks()
        now = self._clock()
        for stream, segment in list(self._segments.items()):
            if streams is not None and stream not in streams:
                continue
            if now - segment.opened_at >= max_age_s or segment.size_bytes >= SEGMENT_LIMIT_BYTES:
                del self._segments[stream]
                segment.close()
                self._pack(segment.path)
        self._keep_quota()

    def _pack(self, path: Path) -> None:
        """Turn a segment into packed files. On a full disk the segment stays and is packed later."""
        stream, started, _ = path.name.split(".")
        try:
            parts = list(self._compress(path, stream, int(started) // 1000))
            for number, data in enumerate(parts):
                self._write_part(self._ready / f"{stream}.{started}.{number}.gz{_PART}", data)
            for number in range(len(parts)):
                target = self._ready / f"{stream}.{started}.{number}.gz"
                target.with_name(target.name + _PART).replace(target)
            files.sync_folder(self._ready)
            path.unlink()
        except OSError as error:
            log.debug("log segment stays in the journal: error=%s", error)

    def _compress(self, path: Path, stream: str, created_s: int) -> Iterable[bytes]:
        name = "" if stream == DEVICE else self._want_name(stream)[:256]
        comment = self._want_comment() if stream == DEVICE else ""
        writer = logfile.LogFileWriter()
        with path.open("rb") as file:
            for line in file:
                # Without its line feed a line was torn by a power cut, before anyone counted it as kept.
                if not line.endswith(b"\n") or len(line) > newlog.MAX_LINE_BYTES:
                    continue
                if not writer.add(line):
                    yield writer.finish(created_s, name=name, comment=comment)
                    writer = logfile.LogFileWriter()
                    writer.add(line)
        if writer.lines:
            yield writer.finish(created_s, name=name, comment=comment)

    def _write_part(self, path: Path, data: bytes) -> None:
        for attempt in range(2):
            try:
                with path.open("wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
            except OSError as error:
                path.unlink(missing_ok=True)
                full = error.errno in (errno.ENOSPC, errno.EDQUOT)
                if attempt or not full or not self._drop_oldest(2 * len(data)):
                    raise
            else:
                return

    def _list_ready(self) -> list[WaitingFile]:
        found = []
        in_work = {path.name.removesuffix(".jsonl") for path in self._journal.glob("*.jsonl")}
        for path in self._ready.glob("*.gz"):
            stream, started, part, _ = path.name.split(".")
            # A segment that is still there is packed again, to the same files.
            if f"{stream}.{started}" not in in_work:
                with contextlib.suppress(FileNotFoundError):
                    found.append(WaitingFile(int(started), int(part), stream, path, path.stat().st_size))
        return sorted(found)

    def _keep_quota(self) -> None:
        used = sum(path.stat().st_size for folder in (self._journal, self._failed) for path in folder.iterdir())
        excess = used + sum(file.size_bytes for file in self._list_ready()) - self.quota_bytes
        if excess > 0:
            self._drop_oldest(excess)

    def _drop_oldest(self, size_bytes: int) -> bool:
        """Delete the oldest packed files until ``size_bytes`` are free; refused ones go first. False when there was nothing."""
        freed = 0
        refused = sorted(self._failed.iterdir(), key=lambda path: path.stat().st_mtime)
        sizes = [(path, path.stat().st_size) for path in refused]
        sizes += [(file.path, file.size_bytes) for file in self._list_ready()]
        for path, size in sizes:
            if freed >= size_bytes:
                break
            path.unlink(missing_ok=True)
            freed += size
            self.dropped_files += 1
        return freed > 0

    def _set_aside(self, file: WaitingFile, limit: int) -> None:
        kept = sorted(self._failed.iterdir(), key=lambda path: path.stat().st_mtime)
        for path in kept[: max(0, len(kept) + 1 - limit)]:
            path.unlink(missing_ok=True)
        with contextlib.suppress(FileNotFoundError):
            file.path.replace(self._failed / file.path.name)


def _segment_order(path: Path) -> int:
    return int(path.name.split(".")[1])
