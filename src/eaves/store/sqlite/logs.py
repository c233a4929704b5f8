"""Log lines as rows: adding, reading, and dropping them by upload."""

# Statements are put together from this module's own texts alone; every value is a parameter.
# ruff: noqa: S608

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from eaves.store.telemetry import LogLine, LogPage, LogRun, LogSource

LINE_OVERHEAD_BYTES = 96
"""Rough size of a row besides its texts, with its index entry."""

_ROWS_AT_ONCE = (128, 32, 8, 1)
"""Rows of one INSERT. Few statements with many rows: after each the thread must win the interpreter lock again."""

_ROW = "(?, ?, ?, ?, ?, ?, ?, ?)"
_INSERT = {
    count: "INSERT OR IGNORE INTO lines (stream, seq, time_ns, severity, source, text, number, run) VALUES "
    + ", ".join([_ROW] * count)
    for count in _ROWS_AT_ONCE
}

_UPSERT_RUN = """
INSERT INTO runs (stream, run, first_seq, last_seq, first_ns) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (stream, run) DO UPDATE SET last_seq = excluded.last_seq
"""

_LINE_COLUMNS = "seq, time_ns, severity, source, text, number, run"


def clean_lines(lines: Sequence[LogLine]) -> list[tuple[Any, ...]]:
    """Lines as rows without stream and seq, of texts that can be stored whatever a device sent."""
    rows = [(line.time_ns, line.severity, line.source, line.text, line.number, line.run) for line in lines]
    try:
        "".join(itertools.chain.from_iterable((row[1], row[2], row[3], row[5]) for row in rows)).encode()
    except UnicodeEncodeError:
        # Lone surrogates, from escapes in the device's JSON.
        return [tuple(_clean(value) for value in row) for row in rows]
    return rows


def _clean(value: Any) -> Any:
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def add_lines(
    connection: sqlite3.Connection,
    device_id: str,
    app_id: str,
    rows: Sequence[tuple[Any, ...]],
    first_seq: int,
    received_ns: int,
) -> int:
    """Insert rows that are not there yet, numbered from ``first_seq``; answers how many those were."""
    stream = want_stream(connection, device_id, app_id)
    before = connection.total_changes
    for chunk in _chunks([(stream, first_seq + offset, *row) for offset, row in enumerate(rows)]):
        connection.execute(_INSERT[len(chunk)], list(itertools.chain.from_iterable(chunk)))
    added = connection.total_changes - before
    if added:
        last_seq = first_seq + len(rows) - 1
        _save_batch(connection, stream, first_seq, last_seq, received_ns)
        _save_runs(connection, stream, rows, first_seq)
    return added


def want_stream(connection: sqlite3.Connection, device_id: str, app_id: str) -> int:
    find = "SELECT stream FROM streams WHERE device_id = ? AND app_id = ?"
    row = connection.execute(find, (device_id, app_id)).fetchone()
    if row is None:
        insert = "INSERT INTO streams (device_id, app_id, bytes) VALUES (?, ?, 0) RETURNING stream"
        row = connection.execute(insert, (device_id, app_id)).fetchone()
    return int(row[0])


def _chunks(rows: list[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    start = 0
    for count in _ROWS_AT_ONCE:
        while len(rows) - start >= count:
            yield rows[start : start + count]
            start += count


def _save_batch(connection: sqlite3.Connection, stream: int, first_seq: int, last_seq: int, received_ns: int) -> None:
    (size,) = connection.execute(
        "SELECT sum(length(text) + length(source) + :overhead) FROM lines"
        " WHERE stream = :stream AND seq BETWEEN :first AND :last",
        {"overhead": LINE_OVERHEAD_BYTES, "stream": stream, "first": first_seq, "last": last_seq},
    ).fetchone()
    connection.execute(
        "INSERT INTO batches (stream, last_seq, received_ns, bytes) VALUES (?, ?, ?, ?)",
        (stream, last_seq, received_ns, size),
    )
    connection.execute("UPDATE streams SET bytes = bytes + ? WHERE stream = ?", (size, stream))


def _save_runs(connection: sqlite3.Connection, stream: int, rows: Sequence[tuple[Any, ...]], first_seq: int) -> None:
    runs: dict[str, list[int]] = {}
    for offset, row in enumerate(rows):
        if run := row[5]:
            seen = runs.setdefault(run, [first_seq + offset, 0, row[0]])
            seen[1] = first_seq + offset
    for run, (first, last, first_ns) in runs.items():
        connection.execute(_UPSERT_RUN, (stream, run, first, last, first_ns))


def find_streams(connection: sqlite3.Connection, source: LogSource) -> list[int]:
    if source.app_id and not source.device_id:
        rows = connection.execute("SELECT stream FROM streams WHERE app_id = ?", (source.app_id,))
    else:
        rows = connection.execute(
            "SELECT stream FROM streams WHERE device_id = ? AND app_id = ?", (source.device_id, source.app_id)
        )
    return [row[0] for row in rows.fetchall()]


def read_page(
    connection: sqlite3.Connection,
    streams: Sequence[int],
    *,
    after: int,
    since_ns: int,
    tail: int | None,
    run: str | None,
    limit_lines: int,
    limit_bytes: int,
) -> LogPage:
    """See :meth:`eaves.store.telemetry.Telemetry.read_logs`."""
    if not streams or tail == 0:
        return LogPage([], max(after, _last_seq(connection, streams) if tail == 0 else 0))
    if tail is not None:
        after = max(after, _tail_start(connection, streams, after, since_ns, tail, run))
    condition, parameters = _condition(streams, after, since_ns, run)
    statement = f"SELECT {_LINE_COLUMNS} FROM lines WHERE {condition} ORDER BY seq LIMIT ?"
    lines: list[LogLine] = []
    size, cursor = 0, after
    cursor_rows = connection.execute(statement, (*parameters, limit_lines))
    for row in cursor_rows:
        seq, time_ns, severity, origin, text, number, line_run = row
        size += len(text)
        if lines and size > limit_bytes:
            break
        lines.append(LogLine(time_ns, severity, origin, text, number, line_run))
        cursor = seq
    cursor_rows.close()
    return LogPage(lines, cursor)


def _tail_start(
    connection: sqlite3.Connection, streams: Sequence[int], after: int, since_ns: int, tail: int, run: str | None
) -> int:
    """The cursor before the last ``tail`` lines that fit."""
    condition, parameters = _condition(streams, after, since_ns, run)
    statement = f"SELECT seq FROM lines WHERE {condition} ORDER BY seq DESC LIMIT 1 OFFSET ?"
    row = connection.execute(statement, (*parameters, tail)).fetchone()
    return 0 if row is None else int(row[0])


def _condition(streams: Iterable[int], after: int, since_ns: int, run: str | None) -> tuple[str, tuple[Any, ...]]:
    streams = tuple(streams)
    condition = f"stream IN ({', '.join('?' * len(streams))}) AND seq > ?"
    parameters: tuple[Any, ...] = (*streams, after)
    if since_ns > 0:
        condition += " AND time_ns >= ?"
        parameters += (since_ns,)
    if run is not None:
        condition += " AND run = ?"
        parameters += (run,)
    return condition, parameters


def has_lines_after(connection: sqlite3.Connection, streams: Sequence[int], after: int) -> bool:
    return _last_seq(connection, streams) > after


def _last_seq(connection: sqlite3.Connection, streams: Sequence[int]) -> int:
    find = "SELECT max(seq) FROM lines WHERE stream = ?"
    return max((connection.execute(find, (stream,)).fetchone()[0] or 0 for stream in streams), default=0)


def load_runs(connection: sqlite3.Connection, streams: Sequence[int]) -> list[LogRun]:
    rows = connection.execute(
        "SELECT r.run, s.device_id, r.first_ns, r.last_seq FROM runs r JOIN streams s ON s.stream = r.stream"
        f" WHERE r.stream IN ({', '.join('?' * len(streams))}) ORDER BY r.first_seq",
        tuple(streams),
    ).fetchall()
    return [LogRun(*row) for row in rows]


def drop_batch(connection: sqlite3.Connection, batch: int) -> int:
    """Drop an upload and what came before it in its stream; answers the bytes freed."""
    stream, last_seq = connection.execute("SELECT stream, last_seq FROM batches WHERE batch = ?", (batch,)).fetchone()
    connection.execute("DELETE FROM lines WHERE stream = ? AND seq <= ?", (stream, last_seq))
    connection.execute("DELETE FROM runs WHERE stream = ? AND last_seq <= ?", (stream, last_seq))
    (size,) = connection.execute(
        "SELECT sum(bytes) FROM batches WHERE stream = ? AND batch <= ?", (stream, batch)
    ).fetchone()
    connection.execute("DELETE FROM batches WHERE stream = ? AND batch <= ?", (stream, batch))
    connection.execute("UPDATE streams SET bytes = bytes - ? WHERE stream = ?", (size, stream))
    connection.execute("DELETE FROM streams WHERE stream = ? AND bytes <= 0", (stream,))
    return int(size)


def drop_streams(connection: sqlite3.Connection, device_id: str) -> None:
    for (stream,) in connection.execute("SELECT stream FROM streams WHERE device_id = ?", (device_id,)).fetchall():
        for table in ("lines", "runs", "batches", "streams"):
            connection.execute(f"DELETE FROM {table} WHERE stream = ?", (stream,))
