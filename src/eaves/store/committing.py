"""What a commit does, as a pure function over the current versions; every engine calls it inside its transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from eaves.store.abc import Change, ChangeType, Check, Document, Key, Put, StoredObject, Write
from eaves.store.errors import ConflictError

MUST_EXIST = -1
MUST_NOT_EXIST = 0


def plan_commit(
    writes: Sequence[Write], load_current: Callable[[Key], StoredObject | None], revision: int
) -> list[Change]:
    """The changes of a commit whose first write gets ``revision + 1``; later writes of one commit see the earlier ones.

    Raises ConflictError for an ``expected`` that does not hold, and for a Remove of what does not exist.
    """
    changes: list[Change] = []
    seen: dict[Key, StoredObject | None] = {}
    for write in writes:
        key = write.key
        current = seen[key] if key in seen else load_current(key)
        _check_expected(write, current)
        if isinstance(write, Check):
            continue
        revision += 1
        written = _join(key, write.document, revision)
        if isinstance(write, Put):
            change = ChangeType.ADDED if current is None else ChangeType.MODIFIED
            seen[key] = written
        else:
            if current is None:
                raise ConflictError(key, None)
            change = ChangeType.DELETED
            seen[key] = None
        changes.append(Change(change, written, current))
    return changes


def _check_expected(write: Write, current: StoredObject | None) -> None:
    expected = write.expected
    if expected is None:
        return
    if expected == MUST_EXIST and isinstance(write, Check):
        holds = current is not None
    elif expected == MUST_NOT_EXIST:
        holds = current is None
    else:
        holds = current is not None and current.revision == expected
    if not holds:
        raise ConflictError(write.key, current)


def _join(key: Key, document: Document, revision: int) -> StoredObject:
    return StoredObject(key, document.uid, revision, document.join(revision), document.labels, document.fields)
