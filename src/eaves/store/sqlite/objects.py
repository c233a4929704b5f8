"""The object store on SQLite. Promises: :mod:`eaves.store.abc`."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct, structs

from eaves.store.abc import Change, Key, Page, Progress, StoredObject, Write
from eaves.store.committing import plan_commit
from eaves.store.errors import CompactedError, FutureRevisionError, StoreError
from eaves.store.hub import RING_BYTES, RING_CHANGES, Hub, Scope, Stretch
from eaves.store.sqlite.database import Database, DatabaseOptions
from eaves.store.sqlite.faults import wrapped_faults
from eaves.store.sqlite.history import Horizon, cut_history, load_compacted, load_stretch
from eaves.store.sqlite.lists import (
    COUNT_LIMIT,
    STEP_ROWS,
    ListQuery,
    has_changed_since,
    render_count,
    render_current,
    render_past,
    render_past_count,
)
from eaves.store.sqlite.rows import (
    SELECT_CURRENT,
    decode_current,
    decode_versions,
    load_current,
    load_revision,
    save_change,
)

COMPACTION_STEP = 1000
"""Revisions cut in one transaction, so that commits wait a few milliseconds at most."""


LONG_COMMIT_WRITES = 100
"""A commit of more writes than this, some 5 ms of work, is done in the writer's thread."""


class ObjectOptions(Struct, frozen=True):
    history_s: float = 600.0
    history_revisions: int = 100_000
    compact_every_s: float = 10.0
    progress_s: float = 5.0
    ring_changes: int = RING_CHANGES
    ring_bytes: int = RING_BYTES


class SqliteStore:
    """An :class:`~eaves.store.abc.ObjectStore`. Use it on the loop that opened it."""

    def __init__(self, database: Database, options: ObjectOptions | None = None) -> None:
        self._options = options or ObjectOptions()
        self._database = database
        with wrapped_faults(database.path):
            self._assigned = load_revision(database.reader)
            self._compacted = load_compacted(database.reader)
        self._hub = Hub(
            self._assigned,
            self._read_history,
            ring_changes=self._options.ring_changes,
            ring_bytes=self._options.ring_bytes,
            progress_s=self._options.progress_s,
        )
        self._horizon = Horizon(age_s=self._options.history_s, count=self._options.history_revisions)
        self._owns_database = False
        database.writer.on_rollback.append(self._forget_assigned)
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(self._options.compact_every_s, self._start_compaction)
        self._compacting = asyncio.Lock()
        self._compaction: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls,
        path: Path | str,
        options: ObjectOptions | None = None,
        database_options: DatabaseOptions | None = None,
    ) -> SqliteStore:
        """Open or create the file at ``path`` for objects. Raises what :meth:`Database.open` raises."""
        store = cls(await Database.open(Path(path), "main", database_options), options)
        store._owns_database = True
        return store

    @property
    def database(self) -> Database:
        return self._database

    async def get(self, key: Key) -> StoredObject | None:
        rows = self._database.read(SELECT_CURRENT, (key.tenant, key.resource, key.namespace, key.name))
        return decode_current(key, rows[0]) if rows else None

    async def list(
        self,
        resource: str,
        namespace: str | None = None,
        *,
        limit: int = 0,
        after: tuple[str, str] | None = None,
        revision: int | None = None,
        labels: Mapping[str, str] | None = None,
        fields: Mapping[str, str] | None = None,
        tenant: str = "",
    ) -> Page:
        query = ListQuery(tenant, resource, namespace, after, labels or {}, fields or {})
        # One row more than asked tells whether there is a next page.
        wanted = limit + 1 if limit > 0 else 0
        with self._database.snapshot() as connection:
            at = self._check_revision(connection, revision)
            is_past = revision is not None and has_changed_since(connection, query, at)
            statement, parameters = render_past(query, at, wanted) if is_past else render_current(query, wanted)
            cursor = await self._execute(connection, statement, parameters, in_thread=is_past)
            items = decode_versions(tenant, resource, cursor.fetchmany(STEP_ROWS))
            while len(items) % STEP_ROWS == 0 and (rows := cursor.fetchmany(STEP_ROWS)):
                items += decode_versions(tenant, resource, rows)
                await asyncio.sleep(0)
            if limit <= 0 or len(items) <= limit:
                return Page(items, at, None)
            items.pop()
            last = items[-1].key
            next_key = (last.namespace, last.name)
            if query.terms:
                return Page(items, at, next_key)
            rest = structs.replace(query, after=next_key)
            statement, parameters = render_past_count(rest, at) if is_past else render_count(rest)
            cursor = await self._execute(connection, statement, parameters, in_thread=is_past)
            count = int(cursor.fetchone()[0])
            return Page(items, at, next_key, count if count <= COUNT_LIMIT else None)

    async def commit(self, writes: Sequence[Write]) -> Sequence[StoredObject]:
        changes = await self._database.writer.submit(
            lambda connection: self.stage(connection, writes), self.publish, long=len(writes) > LONG_COMMIT_WRITES
        )
        return [change.object for change in changes]

    async def revision(self) -> int:
        return self._hub.revision

    def watch(
        self,
        resource: str,
        namespace: str | None = None,
        *,
        after: int,
        progress: bool = False,
        tenant: str = "",
    ) -> AsyncIterator[Change | Progress]:
        return self._hub.watch(Scope(tenant, resource, namespace), after, progress=progress)

    async def wait_for(self, revision: int, timeout_s: float) -> bool:
        return await self._hub.wait_for(revision, timeout_s)

    async def close(self) -> None:
        self._timer.cancel()
        if self._compaction is not None:
            await asyncio.wait([self._compaction])
            self._timer.cancel()
        self._hub.close()
        if self._owns_database:
            await self._database.close()

    def stage(self, connection: sqlite3.Connection, writes: Sequence[Write]) -> Sequence[Change]:
        """Inside a job of the writer: check and write. :meth:`publish` the answer once it is committed."""
        changes = plan_commit(writes, lambda key: load_current(connection, key), self._assigned)
        for change in changes:
            save_change(connection, change)
        if changes:
            self._assigned = changes[-1].revision
        return changes

    def publish(self, changes: Sequence[Change]) -> None:
        self._hub.publish(changes)

    def _forget_assigned(self) -> None:
        self._assigned = self._hub.revision

    def _check_revision(self, connection: sqlite3.Connection, revision: int | None) -> int:
        current = load_revision(connection)
        if revision is None:
            return current
        if revision > current:
            raise FutureRevisionError(revision, current)
        if revision < self._compacted:
            raise CompactedError(revision, self._compacted)
        return revision

    async def _execute(
        self, connection: sqlite3.Connection, statement: str, parameters: Mapping[str, Any], *, in_thread: bool
    ) -> sqlite3.Cursor:
        """Run a statement up to its first row. One that sorts thousands of rows before it has one does so in a thread."""
        if not in_thread:
            return connection.execute(statement, parameters)
        running = self._loop.run_in_executor(None, connection.execute, statement, parameters)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            # The connection goes back to the pool, so the thread must be done with it.
            await asyncio.wait([running])
            raise

    def _read_history(self, scope: Scope, after: int) -> Stretch:
        if after < self._compacted:
            raise CompactedError(after, self._compacted)
        with self._database.snapshot() as connection:
            return load_stretch(connection, scope, after)

    async def compact(self, horizon: int) -> None:
        """Cut history up to ``horizon`` (at most the revision before the current one), in steps between commits."""
        horizon = min(horizon, self._hub.revision - 1)
        async with self._compacting:
            while self._compacted < horizon:
                await self._compact_step(min(self._compacted + COMPACTION_STEP, horizon))

    async def _compact_step(self, end: int) -> None:
        start = self._compacted
        # Readers are turned away before the rows go; those inside a snapshot still have them.
        self._compacted = end
        try:
            await self._database.writer.submit(lambda connection: cut_history(connection, start, end), long=True)
        except StoreError:
            self._compacted = start
            raise

    def _start_compaction(self) -> None:
        self._compaction = self._loop.create_task(self._compact_by_age(), name="store compaction")

    async def _compact_by_age(self) -> None:
        horizon = self._horizon.advance(time.monotonic(), self._hub.revision)
        try:
            await self.compact(horizon)
        except StoreError:
            # A full disk, for example: the history stays, the next round tries again.
            pass
        finally:
            self._timer = self._loop.call_later(self._options.compact_every_s, self._start_compaction)
