"""Migrations: applied once, in order, each whole or not at all."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest

from eaves.store.errors import SchemaError
from eaves.store.sqlite.migrating import Migration, apply_migrations, load_migrations

FIRST = Migration(1, 1, "-- compat: 1\nCREATE TABLE a (x INTEGER);\nINSERT INTO a VALUES (1);\n")
SECOND = Migration(2, 1, "-- compat: 1\n-- A ';' in a comment.\nALTER TABLE a ADD COLUMN\n  y TEXT;\n")


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    opened = sqlite3.connect(":memory:", isolation_level=None)
    yield opened
    opened.close()


@pytest.mark.parametrize("group", ["main", "telemetry"])
def test_ours_apply_to_an_empty_file(connection: sqlite3.Connection, group: str) -> None:
    migrations = load_migrations(group)
    assert migrations
    assert apply_migrations(connection, migrations) == len(migrations)


def test_only_what_is_missing_is_applied(connection: sqlite3.Connection) -> None:
    assert apply_migrations(connection, [FIRST]) == 1
    assert apply_migrations(connection, [FIRST, SECOND]) == 2
    assert apply_migrations(connection, [FIRST, SECOND]) == 2
    assert connection.execute("SELECT x, y FROM a").fetchall() == [(1, None)]


def test_a_failing_migration_leaves_nothing(connection: sqlite3.Connection) -> None:
    broken = Migration(2, 1, "-- compat: 1\nCREATE TABLE b (x);\nCREATE TABLE a (x);\n")
    with pytest.raises(sqlite3.OperationalError):
        apply_migrations(connection, [FIRST, broken])
    assert connection.execute("SELECT version FROM schema_version").fetchall() == [(1,)]
    assert connection.execute("SELECT name FROM sqlite_master WHERE name = 'b'").fetchall() == []


def test_the_future_is_refused_unless_it_says_that_this_code_can_use_it(connection: sqlite3.Connection) -> None:
    apply_migrations(connection, [FIRST, Migration(2, 2, SECOND.script)])
    with pytest.raises(SchemaError, match="schema version 2 needs code for version 2 or later, this is 1"):
        apply_migrations(connection, [FIRST])
    connection.execute("UPDATE schema_version SET compat = 1")
    assert apply_migrations(connection, [FIRST]) == 2
