"""Numbered migrations: brings a file to the schema of this code, or refuses a file of the future.

A migration is ``migrations/GROUP/NNNN_what.sql``; its first line ``-- compat: N`` says the oldest schema version whose code can
work with the file afterwards. The file remembers its version and that number, so that an older Eaves opens a newer file as
long as it understands it. Each migration is one transaction.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from importlib import resources

from msgspec import Struct

from eaves.store.errors import SchemaError

_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
_COMPAT = re.compile(r"-- compat: (\d+)\n")

_SCHEMA_TABLE = """
CREATE TABLE IF NOT EXISTS schema_version (
    id INTEGER PRIMARY KEY CHECK (id = 1), version INTEGER NOT NULL, compat INTEGER NOT NULL
)
"""


class Migration(Struct, frozen=True):
    version: int
    compat: int
    script: str


def load_migrations(group: str) -> Sequence[Migration]:
    """The migrations of ``group`` in order; a gap in their numbers is a defect and raises ValueError."""
    folder = resources.files("eaves.store.sqlite") / "migrations" / group
    found = []
    for entry in folder.iterdir():
        if match := _NAME.fullmatch(entry.name):
            script = entry.read_text(encoding="utf-8")
            compat = _COMPAT.match(script)
            if compat is None:
                raise ValueError(f"{entry.name} does not begin with -- compat: N")
            found.append(Migration(int(match[1]), int(compat[1]), script))
    found.sort(key=lambda migration: migration.version)
    if [migration.version for migration in found] != list(range(1, len(found) + 1)):
        raise ValueError(f"migrations of {group} are not numbered 1 to {len(found)}")
    return found


def apply_migrations(connection: sqlite3.Connection, migrations: Sequence[Migration]) -> int:
    """Apply what is missing; answers the version that the file has then. Raises SchemaError for a file of the future."""
    connection.execute(_SCHEMA_TABLE)
    row = connection.execute("SELECT version, compat FROM schema_version").fetchone()
    version, compat = row or (0, 0)
    if compat > len(migrations):
        raise SchemaError(
            f"schema version {version} needs code for version {compat} or later, this is {len(migrations)}",
            resolution="start the Eaves release that wrote the file, or a newer one, or restore a backup made before the upgrade",
        )
    for migration in migrations[version:]:
        _apply(connection, migration)
        version = migration.version
    return int(version)


def _apply(connection: sqlite3.Connection, migration: Migration) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statement in _split(migration.script):
            connection.execute(statement)
        connection.execute(
            "INSERT OR REPLACE INTO schema_version (id, version, compat) VALUES (1, ?, ?)",
            (migration.version, migration.compat),
        )
        connection.execute("COMMIT")
    except sqlite3.Error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _split(script: str) -> Iterator[str]:
    """The statements of a script. ``executescript`` would commit between them."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
