"""Turns SQLite's errors into those of the store."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from eaves.store.errors import CorruptError, DiskFullError, StoreError, StoreUnavailableError

NEARLY_FULL_BYTES = 256 * 1024
"""With less space than this an I/O error is taken for a full disk: SQLite reports some of them, such as a failure to grow its
shared-memory file, as plain I/O errors."""

REMEDY_DISK_FULL = "free space on the file system; writes go on by themselves as soon as there is some"


def wrap_fault(error: sqlite3.Error, path: Path) -> StoreError:
    """The store's error for what SQLite said about the file at ``path``."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    seen = f"{getattr(error, 'sqlite_errorname', 'error')}: {error}"
    element = f"store {path.name}"
    if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _is_nearly_full(path)):
        return DiskFullError("no space to commit", element=element, details=seen, resolution=REMEDY_DISK_FULL)
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return CorruptError(
            "the file is damaged", element=element, details=seen, resolution="restore the file from a backup"
        )
    return StoreUnavailableError("the engine cannot answer", element=element, details=seen)


def _is_nearly_full(path: Path) -> bool:
    try:
        space = os.statvfs(path.parent)
    except OSError:
        return False
    return space.f_bavail * space.f_frsize < NEARLY_FULL_BYTES


@contextlib.contextmanager
def wrapped_faults(path: Path) -> Iterator[None]:
    """Raise the store's errors for those of SQLite in this block."""
    try:
        yield
    except sqlite3.Error as error:
        raise wrap_fault(error, path) from error
