"""Log lines as Go programs, protobuf-JSON and broken devices write them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from eaves.wire import newlog
from eaves.wire.newlog import LogRecord
from eaves.wire.pb.logs import log_pb2

MOMENT_NS = 1_767_323_045_000_000_678
FULL = LogRecord("hello <b>", MOMENT_NS, 7, "info", "web", "12", "main.py:3", "run", {"stream": "stderr"})
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
records = st.builds(
    LogRecord,
    content=texts,
    time_ns=st.integers(0, 2**63 - 1),
    number=st.integers(0, 2**64 - 1),
    severity=texts,
    source=texts,
    process=texts,
    file_name=texts,
    function=texts,
    tags=st.dictionaries(texts, texts, max_size=3),
)


def decode_one(line: bytes) -> LogRecord:
    decoded = newlog.decode_lines(line)
    assert decoded.malformed == 0
    assert len(decoded.records) == 1
    return decoded.records[0]


def test_line_has_the_form_of_go() -> None:
    """Worked by hand: field order of the message, numbers as numbers, the time as an object, a line feed at the end."""
    assert newlog.encode_line(FULL) == (
        b'{"severity":"info","source":"web","iid":"12","content":"hello <b>","msgid":7,"tags":{"stream":"stderr"},'
        b'"timestamp":{"seconds":1767323045,"nanos":678},"filename":"main.py:3","function":"run"}\n'
    )


def test_empty_fields_are_left_out() -> None:
    assert newlog.encode_line(LogRecord("x")) == b'{"content":"x"}\n'
    assert newlog.encode_line(LogRecord("x", 5_000_000_000)) == b'{"content":"x","timestamp":{"seconds":5}}\n'


@given(records)
def test_what_was_encoded_is_decoded(record: LogRecord) -> None:
    line = newlog.encode_line(record)
    assert line.count(b"\n") == 1
    assert decode_one(line) == record


@given(records)
def test_canonical_protobuf_json_means_the_same(record: LogRecord) -> None:
    entry = log_pb2.LogEntry(
        severity=record.severity,
        source=record.source,
        iid=record.process,
        content=record.content,
        msgid=record.number,
        tags=record.tags,
        filename=record.file_name,
        function=record.function,
    )
    entry.timestamp.FromNanoseconds(record.time_ns)
    line = json_format.MessageToJson(entry, indent=None).encode()
    assert decode_one(line) == record


@pytest.mark.parametrize(
    ("timestamp", "expected"),
    [
        ("2026-01-02T03:04:05Z", 1_767_323_045_000_000_000),
        ("2026-01-02T03:04:05.000000678Z", MOMENT_NS),
        ("2026-01-02T03:04:05.5+00:00", 1_767_323_045_500_000_000),
        ("2026-01-02T05:34:05+02:30", 1_767_323_045_000_000_000),
        ("2026-01-02T03:04:05.0000006789999Z", MOMENT_NS),
        ("1970-01-01T00:00:00Z", 0),
        ("1969-12-31T23:59:59Z", 0),
        ("9999-12-31T23:59:59Z", 0),
        ("2026-02-30T03:04:05Z", 0),
        ("2026-01-02T03:04:05", 0),
        ("yesterday", 0),
        ("", 0),
        ({"seconds": 1767323045, "nanos": 678}, MOMENT_NS),
        ({"seconds": "1767323045", "nanos": 678}, MOMENT_NS),
        ({"seconds": 1767323045}, 1_767_323_045_000_000_000),
        ({"seconds": 10**15}, 0),
        ({"seconds": -1}, 0),
        ({"seconds": 1, "nanos": 10**9}, 0),
        ({"seconds": "1e9"}, 0),
        ({}, 0),
        (None, 0),
    ],
)
def test_time_in_any_form(timestamp: Any, expected: int) -> None:
    assert decode_one(json.dumps({"content": "x", "timestamp": timestamp}).encode()).time_ns == expected


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (7, 7),
        ("7", 7),
        (2**64 - 1, 2**64 - 1),
        (str(2**64 - 1), 2**64 - 1),
        (2**64, 0),
        (-1, 0),
        ("x", 0),
        ("", 0),
        (None, 0),
    ],
)
def test_number_in_any_form(number: Any, expected: int) -> None:
    assert decode_one(json.dumps({"content": "x", "msgid": number}).encode()).number == expected


def test_null_and_unknown_fields_do_no_harm() -> None:
    line = b'{"severity":null,"source":null,"iid":5,"content":"x","tags":null,"filename":null,"new":[1,{"a":2}]}'
    assert decode_one(line) == LogRecord("x", process="5")


@pytest.mark.parametrize(
    "line", [b"panic: boom", b'{"content":5}', b'{"content":"x"', b"[]", b"\xff\xfe", b'{"a":' * 5000]
)
def test_line_that_is_no_entry_is_kept_as_text(line: bytes) -> None:
    decoded = newlog.decode_lines(b'{"content":"before"}\n' + line + b'\n{"content":"after"}\n')
    assert decoded.malformed == 1
    assert [record.content for record in decoded.records] == ["before", line.decode("utf-8", "replace"), "after"]


def test_long_line_is_cut_and_the_lines_after_it_stay() -> None:
    long = json.dumps({"content": "x" * 100_000, "msgid": 1}).encode()
    decoded = newlog.decode_lines(long + b"\n" + b'{"content":"after","msgid":2}\n')
    assert [record.number for record in decoded.records] == [1, 2]
    assert decoded.records[0].content == "x" * 60_000 + "… [40000 characters cut]"


def test_empty_lines_and_carriage_returns_are_no_records() -> None:
    assert newlog.decode_lines(b"\n\r\n\n") == newlog.DecodedLines([], 0)
    assert decode_one(b'{"content":"x"}\r\n').content == "x"


@pytest.mark.parametrize("text", ["x", "é", "\x01", "😀", '"', "\\"])
def test_encoded_line_keeps_below_the_limit(text: str) -> None:
    content = text * 100_000
    line = newlog.encode_line(LogRecord(content, MOMENT_NS, 1))
    assert len(line) <= newlog.MAX_LINE_BYTES
    kept, note = decode_one(line).content.split("… [")
    assert content.startswith(kept)
    assert note == f"{len(content) - len(kept)} characters cut]"
    assert len(line) > newlog.MAX_LINE_BYTES * 0.9


def test_bytes_that_were_no_text_are_replaced() -> None:
    broken = b"a\xffb".decode("utf-8", "surrogateescape")
    line = newlog.encode_line(LogRecord(broken, source=broken, tags={broken: broken}))
    assert decode_one(line) == LogRecord("a\ufffdb", source="a\ufffdb", tags={"a\ufffdb": "a\ufffdb"})


@given(st.binary(max_size=300))
def test_any_bytes_give_records(data: bytes) -> None:
    lines = [line for line in data.split(b"\n") if line.rstrip(b"\r") or line.count(b"\r") > 1]
    assert len(newlog.decode_lines(data).records) == len(lines)
