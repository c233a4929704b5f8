"""Telemetry on SQLite, in a file of its own, so that a flood of logs never delays an object. Promises: :mod:`eaves.store.telemetry`."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from eaves.store.errors import StoreError, StoreUnavailableError
from eaves.store.sqlite.database import Database, DatabaseOptions
from eaves.store.sqlite.logs import (
    add_lines,
    clean_lines,
    drop_streams,
    find_streams,
    has_lines_after,
    load_runs,
    read_page,
)
from eaves.store.sqlite.retention import TelemetryOptions, drop_oldest, trim_logs, trim_records
from eaves.store.telemetry import LogLine, LogPage, LogRun, LogSource, Record, RecordKind

TRIM_CHANCE = 0.125
"""A device's records are trimmed at one in so many arrivals; it may hold a few more for a while."""


class SqliteTelemetry:
    """A :class:`~eaves.store.telemetry.Telemetry`. Use it on the loop that opened it."""

    def __init__(self, database: Database, options: TelemetryOptions, time_ns: Callable[[], int]) -> None:
        self._database = database
        self._options = options
        self._time_ns = time_ns
        rows = database.read(
            "SELECT coalesce(max(seq), 0) FROM lines UNION ALL SELECT coalesce(max(last_seq), 0) FROM batches"
        )
        self._last_seq = max(int(row[0]) for row in rows)
        self._last_record = int(database.read("SELECT coalesce(max(id), 0) FROM records")[0][0])
        self._waiting: dict[LogSource, set[asyncio.Future[None]]] = {}
        self._loop = asyncio.get_running_loop()
        self._is_closed = False
        self._timer = self._loop.call_later(options.check_every_s, self._start_check)
        self._check: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls,
        path: Path | str,
        options: TelemetryOptions | None = None,
        database_options: DatabaseOptions | None = None,
        time_ns: Callable[[], int] = time.time_ns,
    ) -> SqliteTelemetry:
        """Open or create the file. Raises what :meth:`Database.open` raises."""
        database = await Database.open(Path(path), "telemetry", database_options)
        return cls(database, options or TelemetryOptions(), time_ns)

    async def append_logs(self, device_id: str, app_id: str, lines: Sequence[LogLine]) -> int:
        if not lines:
            return 0
        rows = clean_lines(lines)
        # Taken here: numbers follow the order of the calls, and a group that is run again keeps them.
        first_seq = self._last_seq + 1
        self._last_seq += len(rows)
        received_ns = self._time_ns()

        def run(connection: sqlite3.Connection) -> int:
            added = add_lines(connection, device_id, app_id, rows, first_seq, received_ns)
            if added:
                trim_logs(connection, device_id, self._options.device_log_bytes)
            return added

        return await self._database.writer.submit(run, lambda added: self._wake(device_id, app_id, added), long=True)

    async def read_logs(
        self,
        source: LogSource,
        *,
        after: int = 0,
        since_ns: int = 0,
        tail: int | None = None,
        run: str | None = None,
        limit_lines: int = 500,
        limit_bytes: int = 1 << 20,
    ) -> LogPage:
        with self._database.snapshot() as connection:
            return read_page(
                connection,
                find_streams(connection, source),
                after=after,
                since_ns=since_ns,
                tail=tail,
                run=run,
                limit_lines=limit_lines,
                limit_bytes=limit_bytes,
            )

    async def wait_logs(self, source: LogSource, *, after: int, timeout_s: float) -> bool:
        try:
            async with asyncio.timeout(timeout_s):
                while not self._has_lines_after(source, after):
                    await self._wait(source)
        except TimeoutError:
            return False
        return True

    async def list_runs(self, source: LogSource) -> Sequence[LogRun]:
        with self._database.snapshot() as connection:
            return load_runs(connection, find_streams(connection, source))

    async def append_record(self, kind: RecordKind, device_id: str, time_ns: int, payload: bytes) -> None:
        received_ns = self._time_ns()
        kept = self._options.kept_records[kind]

        def run(connection: sqlite3.Connection) -> None:
            self._last_record += 1
            connection.execute(
                "INSERT INTO records (id, kind, device_id, time_ns, received_ns, payload) VALUES (?, ?, ?, ?, ?, ?)",
                (self._last_record, kind, device_id, time_ns, received_ns, payload),
            )
            if random.random() < TRIM_CHANCE:  # noqa: S311 - spreads work, guards nothing
                trim_records(connection, kind, device_id, kept, self._options.kept_record_bytes)

        await self._database.writer.submit(run)

    async def latest(self, kind: RecordKind, device_id: str) -> Record | None:
        records = await self.list_records(kind, device_id, limit=1)
        return records[0] if records else None

    async def list_records(
        self, kind: RecordKind, device_id: str, *, since_ns: int = 0, limit: int = 100
    ) -> Sequence[Record]:
        rows = self._database.read(
            "SELECT time_ns, received_ns, payload FROM records"
            " WHERE device_id = ? AND kind = ? AND received_ns >= ? ORDER BY id DESC LIMIT ?",
            (device_id, kind, since_ns, limit),
        )
        return [Record(*row) for row in reversed(rows)]

    async def remove_device(self, device_id: str) -> None:
        def run(connection: sqlite3.Connection) -> None:
            drop_streams(connection, device_id)
            connection.execute("DELETE FROM records WHERE device_id = ?", (device_id,))

        await self._database.writer.submit(run, long=True)

    async def trim(self) -> None:
        """Bring age and size within the bounds, in steps between appends. Runs by itself every minute."""
        before_ns = self._time_ns() - int(self._options.max_age_s * 1e9)
        max_bytes = self._options.max_bytes
        while await self._database.writer.submit(
            lambda connection: drop_oldest(connection, before_ns, max_bytes), long=True
        ):
            pass

    async def close(self) -> None:
        self._is_closed = True
        self._timer.cancel()
        if self._check is not None:
            await asyncio.wait([self._check])
            self._timer.cancel()
        for waiting in self._waiting.values():
            for future in waiting:
                _resolve(future)
        await self._database.close()

    def _has_lines_after(self, source: LogSource, after: int) -> bool:
        if self._is_closed:
            raise StoreUnavailableError("the store is closed", code="StoreClosed")
        with self._database.snapshot() as connection:
            return has_lines_after(connection, find_streams(connection, source), after)

    async def _wait(self, source: LogSource) -> None:
        future: asyncio.Future[None] = self._loop.create_future()
        waiting = self._waiting.setdefault(source, set())
        waiting.add(future)
        try:
            await future
        finally:
            waiting.discard(future)
            if not waiting and self._waiting.get(source) is waiting:
                del self._waiting[source]

    def _wake(self, device_id: str, app_id: str, added: int) -> None:
        if not added:
            return
        sources = {LogSource(device_id, app_id)} | ({LogSource("", app_id)} if app_id else set())
        for source in sources:
            for future in self._waiting.get(source, ()):
                _resolve(future)

    def _start_check(self) -> None:
        self._check = self._loop.create_task(self._keep_bounds(), name="telemetry bounds")

    async def _keep_bounds(self) -> None:
        try:
            await self.trim()
        except StoreError:
            # Dropping needs a little space itself; the next round tries again.
            pass
        finally:
            self._timer = self._loop.call_later(self._options.check_every_s, self._start_check)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
