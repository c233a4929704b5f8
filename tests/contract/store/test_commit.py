"""Writes: revisions, guards, atomicity, durability across a reopening."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from eaves.store.abc import Check, ObjectStore, Put, Remove
from eaves.store.errors import ConflictError, StoreUnavailableError
from eaves.testing.stores import key_of, make_document, open_store, take_changes


async def test_a_created_object_is_read_back_with_its_revision_inside(store: ObjectStore) -> None:
    document = make_document("hello", labels={"app": "web"}, fields={"spec.nodeName": "n1"})
    (created,) = await store.commit([Put(key_of("a"), document, 0)])
    assert created.value == f'{{"metadata":{{"resourceVersion":"{created.revision}"}},"text":"hello"}}'.encode()
    assert await store.get(key_of("a")) == created
    assert created.labels == {"app": "web"}
    assert created.fields == {"spec.nodeName": "n1"}


async def test_what_does_not_exist_is_none(store: ObjectStore) -> None:
    assert await store.get(key_of("a")) is None


async def test_revisions_grow_in_commit_order_and_list_order_within_a_commit(store: ObjectStore) -> None:
    first, second = await store.commit([Put(key_of("b"), make_document(), 0), Put(key_of("a"), make_document(), 0)])
    (third,) = await store.commit([Put(key_of("b"), make_document(), first.revision)])
    assert 0 < first.revision < second.revision < third.revision
    assert await store.revision() == third.revision


async def test_creating_what_exists_is_a_conflict_with_the_current_object(store: ObjectStore) -> None:
    (created,) = await store.commit([Put(key_of("a"), make_document("1"), 0)])
    with pytest.raises(ConflictError) as caught:
        await store.commit([Put(key_of("a"), make_document("2"), 0)])
    assert caught.value.current == created
    assert await store.get(key_of("a")) == created


async def test_a_stale_expectation_is_a_conflict(store: ObjectStore) -> None:
    (first,) = await store.commit([Put(key_of("a"), make_document("1"), 0)])
    (second,) = await store.commit([Put(key_of("a"), make_document("2"), first.revision)])
    for write in (
        Put(key_of("a"), make_document("3"), first.revision),
        Remove(key_of("a"), make_document("3"), first.revision),
        Check(key_of("a"), first.revision),
        Check(key_of("a"), 0),
        Check(key_of("b"), -1),
        Check(key_of("b"), 7),
        Remove(key_of("b"), make_document(), None),
    ):
        with pytest.raises(ConflictError):
            await store.commit([write])
    assert await store.get(key_of("a")) == second


async def test_without_expectation_a_write_replaces_whatever_is_there(store: ObjectStore) -> None:
    await store.commit([Put(key_of("a"), make_document("1"), None)])
    (second,) = await store.commit([Put(key_of("a"), make_document("2"), None)])
    assert await store.get(key_of("a")) == second


async def test_all_writes_of_a_commit_happen_or_none(store: ObjectStore) -> None:
    before = await store.revision()
    with pytest.raises(ConflictError) as caught:
        await store.commit([Put(key_of("a"), make_document(), 0), Check(key_of("gone"), -1)])
    assert caught.value.key == key_of("gone")
    assert await store.get(key_of("a")) is None
    assert await store.revision() == before


async def test_later_writes_of_a_commit_see_the_earlier_ones(store: ObjectStore) -> None:
    written = await store.commit(
        [
            Put(key_of("a"), make_document("1"), 0),
            Check(key_of("a"), -1),
            Remove(key_of("a"), make_document("1"), None),
            Check(key_of("a"), 0),
            Put(key_of("a"), make_document("2"), 0),
        ]
    )
    assert len(written) == 3
    assert await store.get(key_of("a")) == written[-1]


async def test_a_check_alone_writes_nothing(store: ObjectStore) -> None:
    (created,) = await store.commit([Put(key_of("a"), make_document(), 0)])
    assert list(await store.commit([Check(key_of("a"), created.revision)])) == []
    assert await store.revision() == created.revision


async def test_a_removed_object_can_be_created_again(store: ObjectStore) -> None:
    (first,) = await store.commit([Put(key_of("a"), make_document(), 0)])
    (removed,) = await store.commit([Remove(key_of("a"), make_document("last"), first.revision)])
    assert removed.revision > first.revision
    assert b"last" in removed.value
    assert await store.get(key_of("a")) is None
    (again,) = await store.commit([Put(key_of("a"), make_document(uid="uid-2"), 0)])
    assert again.uid == "uid-2"


async def test_one_conflict_among_concurrent_commits_fails_alone(store: ObjectStore) -> None:
    await store.commit([Put(key_of("taken"), make_document(), 0)])
    names = [f"n{number}" for number in range(50)]
    names.insert(25, "taken")
    answers = await asyncio.gather(
        *(store.commit([Put(key_of(name), make_document(), 0)]) for name in names), return_exceptions=True
    )
    assert [name for name, answer in zip(names, answers, strict=True) if isinstance(answer, ConflictError)] == ["taken"]
    assert len((await store.list("apps.eaves.dev")).items) == 51


async def test_of_concurrent_creates_of_one_key_exactly_one_wins(store: ObjectStore) -> None:
    answers = await asyncio.gather(
        *(store.commit([Put(key_of("a"), make_document(str(n)), 0)]) for n in range(20)), return_exceptions=True
    )
    assert sum(isinstance(answer, ConflictError) for answer in answers) == 19


async def test_a_value_that_cannot_be_stored_fails_alone(store: ObjectStore) -> None:
    answers = await asyncio.gather(
        store.commit([Put(key_of("a"), make_document(), 0)]),
        store.commit([Put(key_of("bad\ud800"), make_document(), 0)]),
        store.commit([Put(key_of("c"), make_document(), 0)]),
        return_exceptions=True,
    )
    assert [isinstance(answer, ValueError) for answer in answers] == [False, True, False]
    assert [item.key.name for item in (await store.list("apps.eaves.dev")).items] == ["a", "c"]


async def test_tenants_do_not_see_each_other(store: ObjectStore) -> None:
    key = key_of("a")
    await store.commit([Put(key, make_document("ours"), 0), Put(key._replace(tenant="t"), make_document("theirs"), 0)])
    ours, theirs = await store.get(key), await store.get(key._replace(tenant="t"))
    assert ours is not None
    assert theirs is not None
    assert b"ours" in ours.value
    assert [item.value for item in (await store.list(key.resource, tenant="t")).items] == [theirs.value]


async def test_acknowledged_objects_and_the_revision_are_there_after_reopening(engine: str, tmp_path: Path) -> None:
    store = await open_store(engine, tmp_path)
    (kept,) = await store.commit([Put(key_of("a"), make_document(labels={"x": "y"}), 0)])
    (gone,) = await store.commit([Put(key_of("b"), make_document(), 0)])
    (removed,) = await store.commit([Remove(key_of("b"), make_document(), gone.revision)])
    await store.close()
    store = await open_store(engine, tmp_path)
    assert await store.get(key_of("a")) == kept
    assert await store.get(key_of("b")) is None
    assert await store.revision() == removed.revision
    (later,) = await store.commit([Put(key_of("c"), make_document(), 0)])
    assert later.revision > removed.revision
    await store.close()


async def test_a_commit_after_closing_is_refused(engine: str, tmp_path: Path) -> None:
    store = await open_store(engine, tmp_path)
    await store.close()
    with pytest.raises(StoreUnavailableError):
        await store.commit([Put(key_of("a"), make_document(), 0)])


async def test_a_large_commit_takes_its_place_among_small_ones(store: ObjectStore) -> None:
    large = [Put(key_of(f"large{number:04d}"), make_document(), 0) for number in range(500)]
    answers = await asyncio.gather(
        *(store.commit([Put(key_of(f"small{number}"), make_document(), 0)]) for number in range(5)),
        store.commit(large),
        store.commit([*large[:200], Check(key_of("gone"), -1)]),
        *(store.commit([Put(key_of(f"small{number}"), make_document(), 0)]) for number in range(5, 10)),
        return_exceptions=True,
    )
    assert isinstance(answers.pop(6), ConflictError)
    revisions = [stored.revision for answer in answers if not isinstance(answer, BaseException) for stored in answer]
    assert sorted(revisions) == list(range(1, 511))
    changes = await take_changes(store.watch("apps.eaves.dev", after=0), 510)
    assert [change.revision for change in changes] == list(range(1, 511))
