"""Logging of the daemons: one line a record, to stderr, as text for people or JSON for machines.

Messages are constant text followed by ``key=value``. Under systemd (``JOURNAL_STREAM`` set) the time is left to the journal and
the priority is prefixed as ``<N>``.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import traceback

_PRIORITY = {"CRITICAL": 2, "ERROR": 3, "WARNING": 4, "INFO": 6, "DEBUG": 7}


class TextFormatter(logging.Formatter):
    """``2026-01-31T10:00:00.123Z INFO  eaves.node.link: message``."""

    def format(self, record: logging.LogRecord) -> str:
        text = f"{_format_time(record.created)} {record.levelname:<7} {record.name}: {record.getMessage()}"
        return text + _format_exception(record)


class JournalFormatter(logging.Formatter):
    """``<6>eaves.node.link: message``, as sd-daemon(3) reads it from stderr."""

    def format(self, record: logging.LogRecord) -> str:
        return f"<{_PRIORITY.get(record.levelname, 6)}>{record.name}: {record.getMessage()}{_format_exception(record)}"


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message and, for a defect, its traceback."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": _format_time(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if trace := _format_exception(record):
            entry["traceback"] = trace.lstrip("\n")
        return json.dumps(entry, ensure_ascii=False)


def start_logging(level: str = "INFO", style: str = "auto") -> None:
    """Set up the root logger. ``style`` is text, json, journal or auto (journal under systemd, else text)."""
    if style == "auto":
        style = "journal" if "JOURNAL_STREAM" in os.environ else "text"
    formatters = {"text": TextFormatter, "json": JsonFormatter, "journal": JournalFormatter}
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatters[style]())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def _format_time(seconds: float) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds % 1 * 1000):03d}Z"


def _format_exception(record: logging.LogRecord) -> str:
    if record.exc_info is None or record.exc_info[1] is None:
        return ""
    return "\n" + "".join(traceback.format_exception(record.exc_info[1])).rstrip()
