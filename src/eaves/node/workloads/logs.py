"""App logs: reads what conmon writes (the Kubernetes CRI log format) and hands it on as numbered lines.

Conmon appends to ``current.log``. When that is big it is renamed to ``NUMBER.log`` and conmon is told to open a new one, so no line
falls between; a renamed segment is deleted when it has been handed on. The position (segment, offset, next line number, unfinished
lines) is saved about once a second: after a crash the lines since then are handed on again **with the same numbers**, and the
receiver drops numbers that it has. So nothing is lost and nothing is twice. If the receiver is stuck for long, the oldest segments
go, and a line says so.

Which start of the container wrote a line stands in the log itself: before each start :meth:`LogFollower.begin_run` appends a mark, in
the form of an entry of the stream ``eaves``, which no app can write because conmon puts time and stream before all that it writes.
"""

from __future__ import annotations

import asyncio
import logging
import re
import shutil
import threading
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from msgspec import Struct

from eaves.kit import files
from eaves.node.inotify import FolderWatch
from eaves.node.observed import LogLine
from eaves.node.statefile import StateFile

log = logging.getLogger(__name__)

SEGMENT_BYTES = 4 << 20
SEGMENTS_LIMIT = 8
CHUNK_BYTES = 256 << 10
TEXT_LIMIT_CHARS = 32 << 10
"""An app that writes without ever ending a line gets it cut here."""
SAVE_EVERY_S = 1.0

_ENTRY = re.compile(rb"(\S+) (stdout|stderr|eaves) ([FP])(?: (.*))?", re.DOTALL)
_MARK_STREAM = "eaves"
_MARK = re.compile(rb"^\S+ eaves F (\w+)$", re.MULTILINE)

Deliver = Callable[[list[LogLine]], Awaitable[None]]


class Pending(Struct, frozen=True):
    """The beginning of a line whose end has not been written yet."""

    time_ns: int
    text: str


class Position(Struct, frozen=True):
    """Up to where an app's log has been handed on. ``number`` is that of the next line, ``run`` the start that writes it."""

    segment: int = 1
    offset: int = 0
    number: int = 1
    time_ns: int = 0
    pending: dict[str, Pending] = {}
    run: str = ""


def current_log(folder: Path) -> Path:
    """Where conmon must write."""
    return folder / "current.log"


def parse_chunk(data: bytes, position: Position, app_id: str) -> tuple[list[LogLine], Position]:
    """Lines that are complete in ``data`` (read at ``position``) and the position after them. Pure: equal input, equal numbers."""
    end = data.rfind(b"\n") + 1
    if end == 0 and len(data) >= CHUNK_BYTES:
        end = len(data)
    lines: list[LogLine] = []
    pending = dict(position.pending)
    number, time_ns, run = position.number, position.time_ns, position.run
    for entry in data[:end].split(b"\n"):
        if not entry:
            continue
        match = _ENTRY.fullmatch(entry)
        if match is None:
            # What a power cut leaves behind, zeros or half an entry, still counts as a line.
            stream, is_whole, text = "stdout", True, entry.decode(errors="replace").strip("\0")
        else:
            time_ns = parse_time_ns(match.group(1)) or time_ns
            stream, is_whole = match.group(2).decode(), match.group(3) == b"F"
            text = (match.group(4) or b"").decode(errors="replace")
        if stream == _MARK_STREAM:
            # Nobody ends the lines that the former run left unfinished.
            for of_stream, begun in pending.items():
                lines.append(LogLine(app_id, begun.time_ns, of_stream, begun.text, number, run))
                number += 1
            pending, run = {}, text
            continue
        first = pending.pop(stream, None)
        first_ns, text = (first.time_ns, first.text + text) if first else (time_ns, text)
        if is_whole or len(text) >= TEXT_LIMIT_CHARS:
            lines.append(LogLine(app_id, first_ns, stream, text, number, run))
            number += 1
        else:
            pending[stream] = Pending(first_ns, text)
    return lines, Position(position.segment, position.offset + end, number, time_ns, pending, run)


def render_mark(run: str, time_ns: int) -> bytes:
    """The entry that tells that what follows is of ``run``, one word. A line that a power cut left open before it is ended."""
    stamp = datetime.fromtimestamp(time_ns // 1_000_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"\n{stamp}.{time_ns % 1_000_000_000:09d}Z {_MARK_STREAM} F {run}\n".encode()


def find_last_run(data: bytes) -> str:
    """The run of the last mark in a segment; empty when there is none."""
    found = _MARK.findall(data)
    return found[-1].decode() if found else ""


def parse_time_ns(raw: bytes) -> int:
    """``2026-01-31T10:00:00.123456789+00:00`` → nanoseconds since 1970; 0 when it is no time."""
    text = raw.decode("ascii", errors="replace")
    match = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)", text)
    if match is None:
        return 0
    zone = "+00:00" if match.group(3) == "Z" else match.group(3)
    try:
        seconds = int(datetime.fromisoformat(match.group(1) + zone).timestamp())
    except ValueError:
        return 0
    return seconds * 1_000_000_000 + int((match.group(2) or "0").ljust(9, "0"))


class LogFollower:
    """Follows one app's log. ``reopen`` tells the app's monitor to open a new file."""

    def __init__(
        self,
        app_id: str,
        folder: Path,
        state: StateFile[Position],
        deliver: Deliver,
        reopen: Callable[[], Awaitable[bool]],
        watch: FolderWatch,
    ) -> None:
        self._app_id = app_id
        self._folder = folder
        self._state = state
        self._deliver = deliver
        self._reopen = reopen
        self._watch = watch
        self._changed = asyncio.Event()
        self._grown = asyncio.Event()
        self._files = threading.Lock()
        self._position = Position()
        self._is_saved = True
        self._saved_at = 0.0

    async def run(self) -> None:
        """Follow until cancelled; then the position is saved."""
        await asyncio.to_thread(self._folder.mkdir, mode=0o700, parents=True, exist_ok=True)
        self._position = await self._state.load()
        number = self._watch.add(self._folder, self._tell)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._keep_bounded())
                group.create_task(self._follow())
        finally:
            self._watch.remove(number)
            await self._save()

    async def begin_run(self, run: str) -> None:
        """Call before each start of the container: lines from here on are of ``run``."""
        try:
            await asyncio.to_thread(self._mark, render_mark(run, time.time_ns()))
        except OSError as error:
            # A full disk is no reason not to start; these lines count as of the run before.
            log.warning("start is not marked in the log: app=%s error=%s", self._app_id, error)

    async def drain(self) -> None:
        """Hand on what is there now and save; for an app that is about to be removed."""
        while await self._step():
            pass
        await self._save()

    def _tell(self) -> None:
        self._changed.set()
        self._grown.set()

    async def _follow(self) -> None:
        while True:
            self._changed.clear()
            if await self._step():
                continue
            await self._wait()

    async def _wait(self) -> None:
        """Until something is written; a position that is not saved yet is saved when its time comes."""
        if self._is_saved:
            await self._changed.wait()
            return
        try:
            async with asyncio.timeout(max(0.0, self._saved_at + SAVE_EVERY_S - time.monotonic())):
                await self._changed.wait()
        except TimeoutError:
            await self._save()

    async def _step(self) -> bool:
        """Hand on one chunk or go to the next segment; False when there is nothing to do now."""
        position = self._position
        path, has_next, data = await asyncio.to_thread(self._read, position)
        lines, after = parse_chunk(data, position, self._app_id)
        if lines:
            await self._deliver(lines)
        if after != position:
            self._position, self._is_saved = after, False
            if time.monotonic() - self._saved_at >= SAVE_EVERY_S:
                await self._save()
            return True
        if not has_next:
            return False
        if not await asyncio.to_thread(path.exists):
            position = await self._pass_dropped(position, path)
        self._position = msgspec.structs.replace(position, segment=position.segment + 1, offset=0)
        await self._save()
        await asyncio.to_thread(_remove_segment, path)
        return True

    async def _pass_dropped(self, position: Position, path: Path) -> Position:
        """Say that a segment was dropped; the run that began in it is known all the same."""
        text = "eaves: a part of this log was dropped, it was not taken in time"
        run = await asyncio.to_thread(files.load_file, _run_note(path))
        await self._deliver([LogLine(self._app_id, position.time_ns, "stderr", text, position.number, position.run)])
        return msgspec.structs.replace(
            position, number=position.number + 1, pending={}, run=run.decode() if run else position.run
        )

    def _mark(self, mark: bytes) -> None:
        # A cut in between would put the mark behind the end of a segment that has been handed on.
        with self._files, current_log(self._folder).open("ab") as file:
            file.write(mark)

    def _read(self, position: Position) -> tuple[Path, bool, bytes]:
        """The segment's file, whether a later one exists, and the next bytes."""
        # A cut between finding and reading would show the next segment under this one's name.
        with self._files:
            path, has_next = self._find(position.segment)
            try:
                with path.open("rb") as file:
                    file.seek(position.offset)
                    return path, has_next, file.read(CHUNK_BYTES)
            except FileNotFoundError:
                return path, has_next, b""

    def _find(self, segment: int) -> tuple[Path, bool]:
        """The segment's file, and whether a later one exists, so that nothing more comes into it."""
        rotated = self._folder / f"{segment}.log"
        current = current_log(self._folder)
        numbers = self._list_segments()
        if rotated.exists() or any(number > segment for number in numbers):
            return rotated, current.exists() or any(number > segment for number in numbers)
        return current, False

    def _list_segments(self) -> list[int]:
        return sorted(int(path.stem) for path in self._folder.glob("*.log") if path.stem.isdecimal())

    async def _keep_bounded(self) -> None:
        """Cut segments, independently of reading: a receiver that does not take lines must not fill the disk."""
        while True:
            is_lost, dropped = await asyncio.to_thread(self._cut)
            if is_lost:
                # Also when the monitor could not be told the last time: it was starting, or the daemon died in between.
                await self._reopen()
            if dropped:
                log.warning("app log dropped, nobody took it: app=%s bytes=%d", self._app_id, dropped)
            await asyncio.sleep(SAVE_EVERY_S)
            await self._grown.wait()
            self._grown.clear()

    def _cut(self) -> tuple[bool, int]:
        """Cut if it is time; answers whether the monitor must be told to open a new file, and how many bytes were dropped."""
        with self._files:
            return self._cut_alone()

    def _cut_alone(self) -> tuple[bool, int]:
        current = current_log(self._folder)
        numbers = self._list_segments()
        is_cut = current.exists() and current.stat().st_size > SEGMENT_BYTES
        if is_cut:
            number = max([self._position.segment, *(known + 1 for known in numbers)])
            current.rename(self._folder / f"{number}.log")
            numbers.append(number)
        dropped = 0
        for number in numbers[: max(0, len(numbers) - SEGMENTS_LIMIT)]:
            path = self._folder / f"{number}.log"
            dropped += path.stat().st_size
            if run := find_last_run(path.read_bytes()):
                files.save_file(_run_note(path), run.encode())
            path.unlink()
        return bool(numbers) and not current.exists(), dropped

    async def _save(self) -> None:
        self._saved_at = time.monotonic()
        try:
            await self._state.save(self._position)
        except OSError as error:
            # A full disk: the former position stays, lines would be handed on twice after a crash, with the same numbers.
            log.warning("log position is not saved: app=%s error=%s", self._app_id, error)
            return
        self._is_saved = True


def _run_note(segment: Path) -> Path:
    """Holds the last run that began in a segment that was dropped."""
    return segment.with_suffix(".run")


def _remove_segment(path: Path) -> None:
    path.unlink(missing_ok=True)
    _run_note(path).unlink(missing_ok=True)


def remove_logs(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
