"""Log lines in the three styles."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from eaves.kit import logging as eaves_logging


def record(message: str = "joined: node=%s", *args: object, failure: Exception | None = None) -> logging.LogRecord:
    info = None
    if failure is not None:
        try:
            raise failure
        except type(failure):
            info = sys.exc_info()
    made = logging.LogRecord("eaves.node.link", logging.WARNING, __file__, 1, message, args or ("a",), info)
    made.created = 1767225600.25
    return made


@pytest.mark.parametrize(
    ("formatter", "line"),
    [
        (eaves_logging.TextFormatter(), "2026-01-01T00:00:00.250Z WARNING eaves.node.link: joined: node=a"),
        (eaves_logging.JournalFormatter(), "<4>eaves.node.link: joined: node=a"),
    ],
)
def test_a_record_is_one_line(formatter: logging.Formatter, line: str) -> None:
    assert formatter.format(record()) == line


def test_json_carries_the_traceback_of_a_defect() -> None:
    entry = json.loads(eaves_logging.JsonFormatter().format(record(failure=KeyError("boom"))))
    assert entry["message"] == "joined: node=a"
    assert entry["level"] == "warning"
    assert "KeyError: 'boom'" in entry["traceback"]
