"""The newest info message about each thing of each device, until the controller has turned it into status."""

# Statements are put together from this module's own texts alone; every value is a parameter.
# ruff: noqa: S608

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from eaves.store.devices import InfoMessage, PendingInfo
from eaves.store.sqlite.database import Database

_COLUMNS = "seq, device_id, ztype, object_id, at_ns, payload"

_SELECT_PENDING = f"""
SELECT {_COLUMNS} FROM device_info INDEXED BY device_info_pending
WHERE is_pending = 1 AND seq > ? ORDER BY seq LIMIT ?
"""

THINGS_OF_DEVICE = 4096
"""A device with a hundred apps has some five hundred."""
BYTES_OF_DEVICE = 32 << 20

_INSERT = """
INSERT INTO device_info (seq, device_id, ztype, object_id, at_ns, is_pending, payload) VALUES (?, ?, ?, ?, ?, 1, ?)
"""


class Inbox:
    """Part of the registry. ``seq`` is the table's row id: a newer message about a thing is a new row in place of the old one."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._last_seq = int(database.read("SELECT coalesce(max(seq), 0) FROM device_info")[0][0])

    async def save(self, message: InfoMessage, newest_ns: int | None) -> bool:
        def run(connection: sqlite3.Connection) -> bool:
            known = connection.execute(
                "SELECT seq, at_ns, payload FROM device_info WHERE device_id = ? AND ztype = ? AND object_id = ?",
                (message.device_id, message.ztype, message.object_id),
            ).fetchone()
            former_bytes = -1
            if known is not None:
                seq, at_ns, payload = known
                is_of_now = newest_ns is None or at_ns <= newest_ns
                if payload == message.payload or (message.at_ns < at_ns and is_of_now):
                    return False
                connection.execute("DELETE FROM device_info WHERE seq = ?", (seq,))
                former_bytes = len(payload)
            if len(message.payload) > former_bytes:
                _make_room(connection, message)
            # Numbers of a group that is rolled back are not used again; gaps do no harm.
            self._last_seq += 1
            thing = (message.device_id, message.ztype, message.object_id)
            connection.execute(_INSERT, (self._last_seq, *thing, message.at_ns, message.payload))
            return True

        return await self._database.writer.submit(run)

    def find_newest(self, device_id: str) -> int:
        statement = "SELECT coalesce(max(at_ns), 0) FROM device_info WHERE device_id = ?"
        return int(self._database.read(statement, (device_id,))[0][0])

    def pending(self, limit: int, after: int) -> Sequence[PendingInfo]:
        return [_decode(row) for row in self._database.read(_SELECT_PENDING, (after, limit))]

    async def mark_observed(self, seqs: Sequence[int], gone: Sequence[int]) -> None:
        def run(connection: sqlite3.Connection) -> None:
            connection.executemany("UPDATE device_info SET is_pending = 0 WHERE seq = ?", [(seq,) for seq in seqs])
            connection.executemany("DELETE FROM device_info WHERE seq = ?", [(seq,) for seq in gone])

        await self._database.writer.submit(run)

    def load(self, device_id: str, ztype: int | None) -> Sequence[PendingInfo]:
        statement = f"SELECT {_COLUMNS} FROM device_info WHERE device_id = ?"
        parameters: tuple[Any, ...] = (device_id,)
        if ztype is not None:
            statement += " AND ztype = ?"
            parameters += (ztype,)
        return [_decode(row) for row in self._database.read(statement + " ORDER BY seq", parameters)]


def _make_room(connection: sqlite3.Connection, message: InfoMessage) -> None:
    """Drop the device's oldest messages as far as this one needs it: a device that makes things up loses its own."""
    find_size = "SELECT count(*), total(length(payload)) FROM device_info WHERE device_id = ?"
    things, size_bytes = connection.execute(find_size, (message.device_id,)).fetchone()
    size_bytes += len(message.payload)
    if things < THINGS_OF_DEVICE and size_bytes <= BYTES_OF_DEVICE:
        return
    find_oldest = "SELECT seq, length(payload) FROM device_info WHERE device_id = ? ORDER BY seq"
    for seq, freed_bytes in connection.execute(find_oldest, (message.device_id,)).fetchall():
        if things < THINGS_OF_DEVICE and size_bytes <= BYTES_OF_DEVICE:
            return
        connection.execute("DELETE FROM device_info WHERE seq = ?", (seq,))
        things, size_bytes = things - 1, size_bytes - freed_bytes


def _decode(row: tuple[Any, ...]) -> PendingInfo:
    seq, device_id, ztype, object_id, at_ns, payload = row
    return PendingInfo(seq, InfoMessage(device_id, ztype, object_id, at_ns, payload))
