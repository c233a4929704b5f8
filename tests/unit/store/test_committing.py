"""Planning a commit, apart from any engine. The behaviour as a whole is in the contract tests."""

from __future__ import annotations

import pytest

from eaves.store.abc import Change, ChangeType, Check, Key, Put, Remove, StoredObject
from eaves.store.committing import plan_commit
from eaves.store.errors import ConflictError
from eaves.testing.stores import key_of, make_document

A, B = key_of("a"), key_of("b")


def stored(key: Key, revision: int) -> StoredObject:
    return StoredObject(key, "uid-1", revision, make_document().join(revision))


def test_each_write_gets_the_next_revision() -> None:
    current = {B: stored(B, 3)}
    changes = plan_commit([Put(A, make_document(), 0), Remove(B, make_document("last"), 3)], current.get, 7)
    assert changes == [
        Change(ChangeType.ADDED, stored(A, 8), None),
        Change(ChangeType.DELETED, StoredObject(B, "uid-1", 9, make_document("last").join(9)), current[B]),
    ]


@pytest.mark.parametrize("expected", [1, 0, -1])
def test_must_exist_is_for_checks_alone(expected: int) -> None:
    with pytest.raises(ConflictError):
        plan_commit([Put(A, make_document(), expected)], {A: stored(A, 5)}.get, 5)


def test_the_conflict_names_the_object_in_words() -> None:
    with pytest.raises(ConflictError, match=r"apps\.eaves\.dev default/a: changed since it was read"):
        plan_commit([Check(A, 4)], {A: stored(A, 5)}.get, 5)
    with pytest.raises(ConflictError, match=r"^nodes n1: "):
        plan_commit([Check(Key("nodes", "", "n1"), 4)], lambda _key: None, 5)
