"""Lines on their way into the log store: from Python's logging, from apps, and back from a journal."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

from eaves.node.observed import LogLine
from eaves.wire import newlog


class DeviceLogHandler(logging.Handler):
    """Hands the daemon's own log records to ``note``, besides wherever else they go."""

    def __init__(self, note: Callable[[newlog.LogRecord], None], level: int = logging.INFO) -> None:
        super().__init__(level)
        self._note = note

    def emit(self, record: logging.LogRecord) -> None:
        content = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            content = f"{content}: {type(record.exc_info[1]).__name__}: {record.exc_info[1]}"
        self._note(
            newlog.LogRecord(
                content=content,
                time_ns=int(record.created * 1e9),
                severity=record.levelname.lower(),
                source=record.name,
                process=str(record.process or ""),
                file_name=f"{record.filename}:{record.lineno}",
                function=record.funcName or "",
            )
        )


def encode_app_line(line: LogLine) -> bytes:
    """The journal's line for one of an app: stream as process, start of its container as tag."""
    return newlog.encode_line(
        newlog.LogRecord(
            content=line.text,
            time_ns=line.time_ns,
            number=line.number,
            severity="info" if line.stream == "stdout" else "error",
            source=line.app_id,
            process=line.stream,
            tags={"run": line.run} if line.run else {},
        )
    )


def load_last_record(path: Path) -> newlog.LogRecord | None:
    """The last whole line of a segment."""
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 2 * newlog.MAX_LINE_BYTES))
        lines = file.read().split(b"\n")
    # What follows the last line feed is empty, or a line that a power cut tore.
    found = newlog.decode_lines(lines[-2]).records if len(lines) > 1 else []
    return found[0] if found else None
