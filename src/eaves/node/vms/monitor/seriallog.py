"""The log of a machine's serial line, in the format that conmon writes for containers."""

from __future__ import annotations

import json
import os
import re
import time

SEGMENT_BYTES = 8 << 20
"""Twice the daemon's measure: the daemon cuts while it is there."""
SEGMENTS_LIMIT = 8
LINE_LIMIT_BYTES = 8 << 10
IDLE_S = 0.2
"""A prompt has no line end: what is not continued within this time is written as it is."""
_MARK = re.compile(rb"^\S+ eaves F (\w+)$", re.MULTILINE)


class SerialLog:
    """The machine's log file."""

    def __init__(self, path: str, position_path: str) -> None:
        self._path = path
        self._position_path = position_path
        self._line = bytearray()
        self._at = 0.0
        self._fd = -1
        self._size = 0
        self.reopen()

    @property
    def deadline(self) -> float:
        """When the unfinished line is due on the clock that never jumps, 0 = there is none."""
        return self._at + IDLE_S if self._line else 0.0

    def reopen(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        try:
            self._fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._size = os.fstat(self._fd).st_size
        except OSError:
            # A full disk or a folder that has gone: the machine goes on, its words are lost.
            self._fd, self._size = -1, 0

    def write(self, data: bytes) -> None:
        entries = []
        for piece in data.splitlines(keepends=True):
            if not self._line:
                self._at = time.monotonic()
            self._line += piece
            if piece.endswith(b"\n") or len(self._line) >= LINE_LIMIT_BYTES:
                entries.append(self._entry(is_whole=piece.endswith(b"\n")))
        self._append(b"".join(entries))

    def flush(self) -> None:
        if self._line:
            self._append(self._entry(is_whole=False))

    def _entry(self, *, is_whole: bool) -> bytes:
        # A terminal's carriage returns are no part of a line.
        text = bytes(self._line).replace(b"\r", b"").rstrip(b"\n")
        self._line.clear()
        seconds, rest = divmod(time.time_ns(), 1_000_000_000)
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
        # A carriage return alone ends a piece, but no line.
        return f"{stamp}.{rest:09d}Z stdout {'F' if is_whole else 'P'} ".encode() + text + b"\n"

    def _append(self, data: bytes) -> None:
        if not data:
            return
        if self._fd < 0:
            self.reopen()
        try:
            self._size += os.write(self._fd, data)
        except OSError:
            return
        if self._size > SEGMENT_BYTES:
            self._cut()

    def _cut(self) -> None:
        """Nobody took the log away for long: do it as the daemon would."""
        self.reopen()
        if self._size <= SEGMENT_BYTES:
            return
        folder = os.path.dirname(self._path)
        numbers = sorted(
            int(name[:-4]) for name in os.listdir(folder) if name[:-4].isdecimal() and name.endswith(".log")
        )
        number = numbers[-1] + 1 if numbers else self._find_segment()
        target = os.path.join(folder, f"{number}.log")
        try:
            # Unlike a rename this never replaces a segment that the daemon made at the same moment.
            os.link(self._path, target)
            os.unlink(self._path)
        except OSError:
            return
        for old in [*numbers, number][:-SEGMENTS_LIMIT]:
            self._drop(os.path.join(folder, str(old)))
        self.reopen()

    def _drop(self, stem: str) -> None:
        """Delete a segment; the last run that began in it stays known."""
        with open(f"{stem}.log", "rb") as file:
            marks = _MARK.findall(file.read())
        if marks:
            with open(f"{stem}.run", "wb") as file:
                file.write(marks[-1])
        os.unlink(f"{stem}.log")

    def _find_segment(self) -> int:
        """The number under which the daemon reads the current log."""
        try:
            with open(self._position_path, "rb") as file:
                return int(json.loads(file.read())["segment"])
        except (OSError, ValueError, KeyError):
            return 1
