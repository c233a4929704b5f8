"""The kept history of objects: reading changes for watches, and cutting off what is old."""

from __future__ import annotations

import collections
import sqlite3
from typing import Any

from eaves.store.abc import Change, ChangeType, Key, StoredObject
from eaves.store.hub import Scope, Stretch
from eaves.store.sqlite.rows import decode_map, load_revision

STEP_CHANGES = 128

_SELECT_CHANGES = """
SELECT v.namespace, v.name, v.deletion, v.uid, v.revision, v.labels, v.fields, v.value,
       p.uid, p.revision, p.labels, p.fields, p.value
FROM versions v LEFT JOIN versions p ON p.revision = v.previous
WHERE v.tenant = :tenant AND v.resource = :resource AND v.revision > :after {namespace}
ORDER BY v.revision LIMIT :limit
"""
_SELECT_ALL = _SELECT_CHANGES.format(namespace="")
_SELECT_NAMESPACE = _SELECT_CHANGES.format(namespace="AND v.namespace = :namespace")


def load_stretch(connection: sqlite3.Connection, scope: Scope, after: int) -> Stretch:
    """Changes above ``after``, from a connection inside a snapshot."""
    statement = _SELECT_ALL if scope.namespace is None else _SELECT_NAMESPACE
    revision = load_revision(connection)
    rows = connection.execute(statement, {**scope._asdict(), "after": after, "limit": STEP_CHANGES}).fetchall()
    changes = [_decode_change(scope, row) for row in rows]
    return Stretch(changes, changes[-1].revision if len(changes) == STEP_CHANGES else revision)


def _decode_change(scope: Scope, row: tuple[Any, ...]) -> Change:
    namespace, name, is_deletion = row[:3]
    key = Key(scope.resource, namespace, name, scope.tenant)
    previous = None if row[8] is None else _decode(key, row[8:])
    kind = ChangeType.ADDED if previous is None else ChangeType.MODIFIED
    return Change(ChangeType.DELETED if is_deletion else kind, _decode(key, row[3:8]), previous)


def _decode(key: Key, row: tuple[Any, ...]) -> StoredObject:
    uid, revision, labels, fields, value = row
    return StoredObject(key, uid, revision, value, decode_map(labels), decode_map(fields))


def load_compacted(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT revision FROM compaction").fetchone()[0])


def cut_history(connection: sqlite3.Connection, start: int, end: int) -> None:
    """Delete versions replaced by a change in (start, end], and deletions in it. History up to ``start`` must be cut already.

    The newest version of all is never in the range: its row tells the store's revision after a restart.
    """
    bounds = {"start": start, "end": end}
    connection.execute(
        "DELETE FROM versions WHERE revision IN"
        " (SELECT previous FROM versions WHERE revision > :start AND revision <= :end AND previous > 0)",
        bounds,
    )
    connection.execute(
        "DELETE FROM versions WHERE revision > :start AND revision <= :end AND deletion = 1",
        bounds,
    )
    connection.execute("UPDATE compaction SET revision = :end", bounds)


class Horizon:
    """Says how far history may be cut: by age on a clock that never jumps, and by count."""

    def __init__(self, *, age_s: float, count: int) -> None:
        self._age_s = age_s
        self._count = count
        self._samples: collections.deque[tuple[float, int]] = collections.deque()

    def advance(self, now_s: float, revision: int) -> int:
        """Note that ``revision`` is current at ``now_s``; answers the revision up to which history may go."""
        self._samples.append((now_s, revision))
        horizon = 0
        while self._samples and self._samples[0][0] <= now_s - self._age_s:
            horizon = self._samples.popleft()[1]
        return min(max(horizon, revision - self._count), revision - 1)
