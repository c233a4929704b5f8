"""Keeps telemetry within its bounds: what each device may hold, and age and size of all, oldest first."""

# Statements are put together from this module's own texts alone; every value is a parameter.
# ruff: noqa: S608

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from msgspec import Struct, field

from eaves.store.sqlite.logs import drop_batch
from eaves.store.telemetry import RecordKind

STEP_ROWS = 500
"""Uploads or records looked at in one transaction."""

_DAY_S = 86_400.0


def _kept_records() -> Mapping[RecordKind, int]:
    return {RecordKind.METRICS: 60, RecordKind.FLOWS: 500, RecordKind.HARDWARE_HEALTH: 30}


class TelemetryOptions(Struct, frozen=True):
    max_bytes: int = 4 << 30
    """Bound of what the file holds."""
    max_age_s: float = 14 * _DAY_S
    """Since arrival. The newest record of each kind and device is kept however old."""
    device_log_bytes: int = 64 << 20
    kept_records: Mapping[RecordKind, int] = field(default_factory=_kept_records)
    """How many records of a kind each device may hold."""
    kept_record_bytes: int = 32 << 20
    """Of a kind and device: a hundred times what devices of the usual size hold."""
    check_every_s: float = 60.0


def trim_logs(connection: sqlite3.Connection, device_id: str, max_bytes: int) -> None:
    """Drop the device's oldest uploads when it holds more than ``max_bytes``, to a tenth below it."""
    total = connection.execute("SELECT sum(bytes) FROM streams WHERE device_id = ?", (device_id,)).fetchone()[0] or 0
    if total <= max_bytes:
        return
    surplus = total - max_bytes * 9 // 10
    oldest = "SELECT min(batch), count(*) FROM batches WHERE stream IN (SELECT stream FROM streams WHERE device_id = ?)"
    while surplus > 0:
        batch, count = connection.execute(oldest, (device_id,)).fetchone()
        if count <= 1:
            return
        surplus -= drop_batch(connection, batch)


def trim_records(connection: sqlite3.Connection, kind: RecordKind, device_id: str, kept: int, kept_bytes: int) -> None:
    """Drop the device's oldest records of a kind beyond ``kept`` or ``kept_bytes``; the newest stays, however large."""
    rows = connection.execute(
        "SELECT id, length(payload) FROM records WHERE device_id = ? AND kind = ? ORDER BY id DESC LIMIT ?",
        (device_id, kind, kept + 1),
    ).fetchall()
    size_bytes = 0
    for number, (record, record_bytes) in enumerate(rows):
        size_bytes += record_bytes
        if number and (number >= kept or size_bytes > kept_bytes):
            statement = "DELETE FROM records WHERE device_id = ? AND kind = ? AND id <= ?"
            connection.execute(statement, (device_id, kind, record))
            return


def used_bytes(connection: sqlite3.Connection) -> int:
    """What the file holds, without pages that are free to be used again."""
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def drop_oldest(connection: sqlite3.Connection, before_ns: int, max_bytes: int) -> bool:
    """One step: drop what arrived before ``before_ns``, or the oldest while the file holds too much.

    Answers whether another step is due.
    """
    is_too_big = used_bytes(connection) > max_bytes
    batches = connection.execute(
        "SELECT batch, received_ns FROM batches ORDER BY batch LIMIT ?", (STEP_ROWS // 10 if is_too_big else STEP_ROWS,)
    ).fetchall()
    records = connection.execute(
        "SELECT id, received_ns FROM records r WHERE EXISTS"
        " (SELECT 1 FROM records n WHERE n.device_id = r.device_id AND n.kind = r.kind AND n.id > r.id)"
        " ORDER BY id LIMIT ?",
        (STEP_ROWS,),
    ).fetchall()
    # Of too much, only what is older than the oldest that the other table would still hold after this step.
    limit_ns = before_ns
    if is_too_big:
        limit_ns = max(limit_ns, min((rows[-1][1] + 1 for rows in (batches, records) if rows), default=0))
    old_batches = [batch for batch, received_ns in batches if received_ns < limit_ns]
    old_records = [record for record, received_ns in records if received_ns < limit_ns]
    for batch in old_batches:
        if connection.execute("SELECT 1 FROM batches WHERE batch = ?", (batch,)).fetchone():
            drop_batch(connection, batch)
    if old_records:
        connection.execute(
            f"DELETE FROM records WHERE id IN ({', '.join('?' * len(old_records))})",
            old_records,
        )
    return bool(old_batches or old_records)
