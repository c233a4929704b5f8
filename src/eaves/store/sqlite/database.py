"""One SQLite file: opened, locked to this process, migrated, with a connection for each use.

The object store and the telemetry store each own one. Who uses which connection:

* ``reader`` answers short reads on the loop's thread. Each of its statements is run to its end at once, so it never holds an old
  snapshot and sees whatever was committed.
* a *snapshot* (:meth:`Database.snapshot`) is a connection from a small pool inside a read transaction, for reads of several steps.
* the :class:`~eaves.store.sqlite.writer.Writer` owns the only connection that writes.

Why reads run on the loop: an indexed read takes about 6 µs. A hop to a thread and back takes 60 µs when the loop is idle, and when it
is busy the thread waits for the interpreter lock after every row. Long reads yield to the loop between bounded steps instead.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from msgspec import Struct

from eaves.store.errors import StoreUnavailableError
from eaves.store.sqlite.faults import wrapped_faults
from eaves.store.sqlite.migrating import apply_migrations, load_migrations
from eaves.store.sqlite.writer import Writer

SWITCH_INTERVAL_S = 0.0001
"""How long a thread waits before it demands the interpreter lock. With Python's 5 ms the thread that commits can wait seconds
for a busy loop: each short system call of the loop starts the wait anew. Measured with a saturated loop and one writer:
20 commits/s and 1,656 ms (p99) at 5 ms, 585 commits/s and 2.5 ms at 0.1 ms."""

READAHEAD_BYTES = 1 << 30


class DatabaseOptions(Struct, frozen=True):
    cache_bytes: int = 16 << 20
    """Page cache of the writing connection, and of the reader."""
    max_bytes: int = 0
    """Bound of the file's size; commits that need more raise DiskFullError. 0 = the file system's."""


class Database:
    """Made by :meth:`open` on the running loop; used from that loop only."""

    def __init__(self, path: Path, options: DatabaseOptions, opened: _Opened) -> None:
        self.path = path
        self.writer = Writer(opened.writing, path)
        self.reader = opened.reading
        self._opened = opened
        self._options = options
        self._idle: list[sqlite3.Connection] = []
        self._is_closed = False

    @classmethod
    async def open(cls, path: Path, migrations: str, options: DatabaseOptions | None = None) -> Database:
        """Open or create the file (mode 0600) with the schema of the migration group ``migrations``.

        Raises StoreUnavailableError when another process has it, SchemaError, CorruptError, DiskFullError.
        """
        options = options or DatabaseOptions()
        opened = await asyncio.to_thread(_open_file, path, migrations, options)
        sys.setswitchinterval(min(sys.getswitchinterval(), SWITCH_INTERVAL_S))
        return cls(path, options, opened)

    def read(self, statement: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """All rows of a short read, on this thread. The caller bounds it."""
        with wrapped_faults(self.path):
            return self.reader.execute(statement, parameters).fetchall()

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """A connection on which everything read is of one moment."""
        if self._is_closed:
            raise StoreUnavailableError("the store is closed", element=f"store {self.path.name}")
        with wrapped_faults(self.path):
            connection = self._idle.pop() if self._idle else _connect(self.path, self._options, read_only=True)
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                connection.execute("ROLLBACK")
                if self._is_closed:
                    connection.close()
                else:
                    self._idle.append(connection)

    async def close(self) -> None:
        """Finish what was submitted, then let go of the file."""
        await self.writer.close()
        self._is_closed = True
        idle, self._idle = self._idle, []
        await asyncio.to_thread(_close_file, self._opened, idle)


class _Opened(NamedTuple):
    lock: int
    writing: sqlite3.Connection
    reading: sqlite3.Connection


def _open_file(path: Path, migrations: str, options: DatabaseOptions) -> _Opened:
    with contextlib.ExitStack() as undo:
        lock = _lock_file(path)
        undo.callback(os.close, lock)
        _want_private_file(path)
        with wrapped_faults(path):
            writing = _connect(path, options, read_only=False)
            undo.callback(writing.close)
            apply_migrations(writing, load_migrations(migrations))
            reading = _connect(path, options, read_only=True)
        undo.pop_all()
    return _Opened(lock, writing, reading)


def _close_file(opened: _Opened, idle: Sequence[sqlite3.Connection]) -> None:
    """The writing connection last: the last one to close empties the write-ahead log into the file."""
    for connection in (*idle, opened.reading, opened.writing):
        connection.close()
    os.close(opened.lock)


def _lock_file(path: Path) -> int:
    """Keep other processes out. A file of its own, since closing any descriptor of the database drops SQLite's own locks."""
    lock = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise StoreUnavailableError(
            "another process uses the file",
            element=f"store {path}",
            resolution="stop the other Eaves process, or give this one another data folder",
        ) from error
    return lock


def _want_private_file(path: Path) -> None:
    """Create the file for its owner alone (SQLite gives its side files the same mode) and have the kernel read it ahead."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
        with contextlib.suppress(OSError):
            os.posix_fadvise(descriptor, 0, READAHEAD_BYTES, os.POSIX_FADV_WILLNEED)
    finally:
        os.close(descriptor)


def _connect(path: Path, options: DatabaseOptions, *, read_only: bool) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256, timeout=5)
    try:
        # Negative means KiB.
        connection.execute(f"PRAGMA cache_size = -{options.cache_bytes // 1024}")
        if read_only:
            connection.execute("PRAGMA query_only = ON")
        else:
            _prepare_writing(connection, options)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _prepare_writing(connection: sqlite3.Connection, options: DatabaseOptions) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA wal_autocheckpoint = 4000")
    connection.execute("PRAGMA journal_size_limit = 33554432")
    # Deleted secrets are overwritten where that costs no further page.
    connection.execute("PRAGMA secure_delete = FAST")
    if options.max_bytes:
        page_bytes = connection.execute("PRAGMA page_size").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {options.max_bytes // page_bytes}")
