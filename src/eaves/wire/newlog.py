"""Log lines of the device API: one JSON object a line.

A node encodes each line with :func:`encode_line` in the form that Go programs write, the only one every controller reads. A
controller reads both that form and canonical protobuf-JSON with :func:`decode_lines`; nothing that a device sent is dropped, since
a line that cannot be understood may be the one that explains the failure. The gzip file around the lines is in
:mod:`eaves.wire.logfile`.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

MAX_LINE_BYTES = 60_000
"""No line is sent longer: a controller in the field loses a line over 64 KiB and every line after it."""

_MAX_INT64 = 2**63 - 1
_MAX_UINT64 = 2**64 - 1
_NANOS = 10**9
_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_SURROGATES = re.compile("[\ud800-\udfff]")


class LogRecord(Struct, frozen=True):
    """One line. ``time_ns`` 0 = unknown, the reader takes the time of arrival; ``number`` grows within one stream (``msgid``)."""

    content: str
    time_ns: int = 0
    number: int = 0
    severity: str = ""
    source: str = ""
    process: str = ""
    """``iid``: process id or container of the writer."""
    file_name: str = ""
    function: str = ""
    tags: Mapping[str, str] = {}


class DecodedLines(Struct, frozen=True):
    """``malformed`` counts records whose content is the raw line because it was no LogEntry."""

    records: list[LogRecord]
    malformed: int


class _Timestamp(Struct, omit_defaults=True):
    seconds: int | str = 0
    nanos: int = 0


class _GoEntry(Struct, omit_defaults=True):
    """LogEntry in the order and with the omissions of Go's struct encoding."""

    severity: str = ""
    source: str = ""
    iid: str = ""
    content: str = ""
    msgid: int = 0
    tags: Mapping[str, str] = {}
    timestamp: _Timestamp | None = None
    filename: str = ""
    function: str = ""


class _AnyEntry(Struct):
    """LogEntry as any peer may write it; protobuf-JSON writes 64-bit numbers as text and may write null for a default."""

    severity: str | None = None
    source: str | None = None
    iid: str | int | None = None
    content: str | None = None
    msgid: int | str | None = None
    tags: dict[str, str] | None = None
    timestamp: _Timestamp | str | None = None
    filename: str | None = None
    function: str | None = None


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_AnyEntry)


def encode_line(record: LogRecord, max_bytes: int = MAX_LINE_BYTES) -> bytes:
    """The line with its line feed, at most ``max_bytes`` long: content that does not fit is cut and says so."""
    line = _encode(record, record.content)
    content = record.content
    while len(line) > max_bytes and content:
        # Escapes make a character up to six bytes long, so the cut follows the measured excess and may take a few rounds.
        content = content[: max(0, min(len(content) * max_bytes // len(line) - 64, len(content) - 1))]
        line = _encode(record, f"{content}… [{len(record.content) - len(content)} characters cut]")
    return line


def decode_lines(data: bytes, max_content_chars: int = MAX_LINE_BYTES) -> DecodedLines:
    """Every line of an unpacked log file, in order. Content beyond ``max_content_chars`` is cut, the lines after it are kept."""
    records: list[LogRecord] = []
    malformed = 0
    for line in data.split(b"\n"):
        if not line or line == b"\r":
            continue
        record = _decode(line)
        if record is None:
            malformed += 1
            record = LogRecord(line.decode("utf-8", "replace"))
        records.append(_cut(record, max_content_chars))
    return DecodedLines(records, malformed)


def parse_rfc3339_ns(text: str) -> int:
    """Nanoseconds since 1970 of an RFC 3339 time; 0 for what is none or what 64 bits cannot hold."""
    match = _RFC3339.fullmatch(text)
    if match is None:
        return 0
    day, clock, fraction, zone = match.groups()
    try:
        moment = datetime.datetime.fromisoformat(f"{day}T{clock}{'+00:00' if zone in 'Zz' else zone}")
    except ValueError:
        return 0
    delta = moment - _EPOCH
    return _bounded((delta.days * 86400 + delta.seconds) * _NANOS + int((fraction or "").ljust(9, "0")))


def _encode(record: LogRecord, content: str) -> bytes:
    seconds, nanos = divmod(record.time_ns, _NANOS)
    entry = _GoEntry(
        severity=record.severity,
        source=record.source,
        iid=record.process,
        content=content,
        msgid=record.number,
        tags=record.tags,
        timestamp=_Timestamp(seconds, nanos) if record.time_ns else None,
        filename=record.file_name,
        function=record.function,
    )
    try:
        return _encoder.encode(entry) + b"\n"
    except UnicodeEncodeError:
        # Bytes that were no UTF-8 when the text was read; they have no place in JSON.
        for field in ("severity", "source", "iid", "content", "filename", "function"):
            setattr(entry, field, _SURROGATES.sub("\ufffd", getattr(entry, field)))
        entry.tags = {_SURROGATES.sub("\ufffd", a): _SURROGATES.sub("\ufffd", b) for a, b in entry.tags.items()}
        return _encoder.encode(entry) + b"\n"


def _decode(line: bytes) -> LogRecord | None:
    try:
        entry = _decoder.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return LogRecord(
        content=entry.content or "",
        time_ns=_time_of(entry.timestamp),
        number=_number_of(entry.msgid),
        severity=entry.severity or "",
        source=entry.source or "",
        process=str(entry.iid or ""),
        file_name=entry.filename or "",
        function=entry.function or "",
        tags=entry.tags or {},
    )


def _time_of(timestamp: _Timestamp | str | None) -> int:
    if timestamp is None:
        return 0
    if isinstance(timestamp, str):
        return parse_rfc3339_ns(timestamp)
    seconds = _integer_of(timestamp.seconds)
    return _bounded(seconds * _NANOS + timestamp.nanos) if 0 <= timestamp.nanos < _NANOS else 0


def _number_of(value: Any) -> int:
    number = _integer_of(value)
    return number if 0 <= number <= _MAX_UINT64 else 0


def _integer_of(value: int | str | None) -> int:
    """Numbers may come as text; text that is no number, or absurdly long, counts as absent."""
    if isinstance(value, str):
        return int(value) if len(value) <= 20 and re.fullmatch(r"-?[0-9]+", value) else 0
    return value or 0


def _bounded(time_ns: int) -> int:
    return time_ns if 0 <= time_ns <= _MAX_INT64 else 0


def _cut(record: LogRecord, max_content_chars: int) -> LogRecord:
    excess = len(record.content) - max_content_chars
    if excess <= 0:
        return record
    return msgspec.structs.replace(record, content=f"{record.content[:max_content_chars]}… [{excess} characters cut]")
