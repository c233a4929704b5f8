"""Copies of an SQLite datastore: whole while it is written, and put in its place again."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from eaves.node.clusters.backups import copy_sqlite, list_snapshots, put_sqlite
from eaves.node.clusters.model import ClusterFolders


def read(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as database:
        return [name for (name,) in database.execute("SELECT name FROM kine ORDER BY name")]


def test_a_copy_holds_what_was_committed_and_comes_back(tmp_path: Path) -> None:
    folders = ClusterFolders(tmp_path, tmp_path / "run")
    database = folders.data / "server" / "db" / "state.db"
    database.parent.mkdir(parents=True)
    with closing(sqlite3.connect(database)) as writer:
        writer.execute("PRAGMA journal_mode=WAL")
        writer.execute("CREATE TABLE kine (name TEXT)")
        writer.execute("INSERT INTO kine VALUES ('kept')")
        writer.commit()
        # A write that is under way is not in the copy, and does not hold it up.
        writer.execute("INSERT INTO kine VALUES ('open')")
        copy_sqlite(folders, "ordered-1-a-5.db")
        writer.commit()
    (found,) = list_snapshots(folders)
    assert found.name == "ordered-1-a-5.db"
    copy = folders.snapshots / found.name
    assert copy.stat().st_mode & 0o777 == 0o600
    assert read(copy) == ["kept"]
    assert read(database) == ["kept", "open"]
    (database.parent / "state.db-wal").write_bytes(b"of the former one")
    put_sqlite(copy, folders)
    assert read(database) == ["kept"]
