"""Objects as rows: the statements that write them and the decoding of what is read."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from eaves.store.abc import Change, ChangeType, Key, StoredObject

_decode_text = msgspec.json.Decoder(dict[str, str]).decode

VERSION_COLUMNS = "v.namespace, v.name, v.uid, v.revision, v.labels, v.fields, v.value"

SELECT_CURRENT = """
SELECT v.uid, v.revision, v.labels, v.fields, v.value
FROM current c CROSS JOIN versions v ON v.revision = c.revision
WHERE c.tenant = ? AND c.resource = ? AND c.namespace = ? AND c.name = ?
"""

INSERT_VERSION = """
INSERT INTO versions (revision, tenant, resource, namespace, name, uid, deletion, previous, labels, fields, value)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""

UPSERT_CURRENT = """
INSERT INTO current (tenant, resource, namespace, name, revision) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (tenant, resource, namespace, name) DO UPDATE SET revision = excluded.revision
"""

DELETE_CURRENT = "DELETE FROM current WHERE tenant = ? AND resource = ? AND namespace = ? AND name = ?"

INSERT_SELECTOR = """
INSERT INTO selectors (tenant, resource, kind, term, value, namespace, name) VALUES (?, ?, ?, ?, ?, ?, ?)
"""

DELETE_SELECTOR = """
DELETE FROM selectors
WHERE tenant = ? AND resource = ? AND kind = ? AND term = ? AND value = ? AND namespace = ? AND name = ?
"""


def decode_map(text: str) -> Mapping[str, str]:
    return _decode_text(text) if text else {}


def encode_map(values: Mapping[str, str]) -> str:
    return msgspec.json.encode(dict(values)).decode() if values else ""


def decode_current(key: Key, row: Iterable[Any]) -> StoredObject:
    """From a row of SELECT_CURRENT."""
    uid, revision, labels, fields, value = row
    return StoredObject(key, uid, revision, value, decode_map(labels), decode_map(fields))


def decode_versions(tenant: str, resource: str, rows: Iterable[tuple[Any, ...]]) -> list[StoredObject]:
    """From rows of VERSION_COLUMNS."""
    return [
        StoredObject(
            Key(resource, namespace, name, tenant),
            uid,
            revision,
            value,
            _decode_text(labels) if labels else {},
            _decode_text(fields) if fields else {},
        )
        for namespace, name, uid, revision, labels, fields, value in rows
    ]


def load_current(connection: sqlite3.Connection, key: Key) -> StoredObject | None:
    row = connection.execute(SELECT_CURRENT, (key.tenant, key.resource, key.namespace, key.name)).fetchone()
    return None if row is None else decode_current(key, row)


def load_revision(connection: sqlite3.Connection) -> int:
    """The revision of the latest commit: compaction always leaves the newest version's row."""
    return int(connection.execute("SELECT coalesce(max(revision), 0) FROM versions").fetchone()[0])


def save_change(connection: sqlite3.Connection, change: Change) -> None:
    """Write one change: its version, which version is current, and what selectors see."""
    written, previous = change.object, change.previous
    resource, namespace, name, tenant = key = written.key
    is_deletion = change.type is ChangeType.DELETED
    replaced = 0 if previous is None else previous.revision
    labels, fields = encode_map(written.labels), encode_map(written.fields)
    connection.execute(
        INSERT_VERSION,
        (
            *(written.revision, tenant, resource, namespace, name, written.uid),
            *(is_deletion, replaced, labels, fields, written.value),
        ),
    )
    if is_deletion:
        connection.execute(DELETE_CURRENT, (tenant, resource, namespace, name))
    else:
        connection.execute(UPSERT_CURRENT, (tenant, resource, namespace, name, written.revision))
    old = set() if previous is None else _terms(previous)
    new = set() if is_deletion else _terms(written)
    if old != new:
        connection.executemany(DELETE_SELECTOR, _selector_rows(key, old - new))
        connection.executemany(INSERT_SELECTOR, _selector_rows(key, new - old))


def _terms(stored: StoredObject) -> set[tuple[str, str, str]]:
    return {("l", *item) for item in stored.labels.items()} | {("f", *item) for item in stored.fields.items()}


def _selector_rows(key: Key, terms: set[tuple[str, str, str]]) -> list[tuple[str, ...]]:
    return [(key.tenant, key.resource, *term, key.namespace, key.name) for term in terms]
