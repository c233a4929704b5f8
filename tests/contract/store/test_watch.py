"""Watches: every change exactly once and in order, from memory and from history, for slow readers and across reopening."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from eaves.store.abc import Change, ChangeType, ObjectStore, Progress, Put, Remove
from eaves.store.errors import CompactedError, StoreUnavailableError
from eaves.store.sqlite.objects import ObjectOptions
from eaves.testing.stores import eventually, key_of, make_document, open_store, take_changes

APPS = "apps.eaves.dev"

SMALL_RING = ObjectOptions(ring_changes=16, progress_s=0.05)


async def put(store: ObjectStore, name: str, namespace: str = "default", resource: str = APPS) -> int:
    return (await store.commit([Put(key_of(name, namespace, resource), make_document(name), None)]))[0].revision


async def test_a_watch_tells_added_modified_deleted_with_what_was_replaced(store: ObjectStore) -> None:
    watch = store.watch(APPS, after=0)
    (first,) = await store.commit([Put(key_of("a"), make_document("1"), 0)])
    (second,) = await store.commit([Put(key_of("a"), make_document("2"), None)])
    (third,) = await store.commit([Remove(key_of("a"), make_document("3"), None)])
    assert await take_changes(watch, 3) == [
        Change(ChangeType.ADDED, first, None),
        Change(ChangeType.MODIFIED, second, first),
        Change(ChangeType.DELETED, third, second),
    ]


async def test_history_tells_the_same_as_memory(engine: str, tmp_path: Path) -> None:
    store = await open_store(engine, tmp_path)
    await store.commit([Put(key_of("a"), make_document("1", labels={"x": "y"}), 0)])
    await store.commit([Put(key_of("a"), make_document("2", fields={"f": "v"}), None)])
    await store.commit([Remove(key_of("a"), make_document("3"), None)])
    await store.commit([Put(key_of("a"), make_document("4"), 0)])
    from_memory = await take_changes(store.watch(APPS, after=0), 4)
    await store.close()
    store = await open_store(engine, tmp_path)
    assert await take_changes(store.watch(APPS, after=0), 4) == from_memory
    assert await take_changes(store.watch(APPS, after=2), 2) == from_memory[2:]
    await store.close()


async def test_a_watch_waits_for_what_comes(store: ObjectStore) -> None:
    watch = store.watch(APPS, after=await put(store, "a"))
    waiting = asyncio.ensure_future(anext(watch))
    await asyncio.sleep(0)
    assert not waiting.done()
    revision = await put(store, "b")
    change = await waiting
    assert isinstance(change, Change)
    assert change.revision == revision


async def test_a_watch_sees_only_its_resource_and_namespace(store: ObjectStore) -> None:
    everything, ours = store.watch(APPS, after=0), store.watch(APPS, "ours", after=0)
    for name, namespace, resource in (
        ("a", "ours", APPS),
        ("b", "theirs", APPS),
        ("c", "ours", "nodes"),
        ("d", "ours", APPS),
    ):
        await put(store, name, namespace, resource)
    assert [change.object.key.name for change in await take_changes(everything, 3)] == ["a", "b", "d"]
    assert [change.object.key.name for change in await take_changes(ours, 2)] == ["a", "d"]


async def test_a_watch_from_the_future_is_silent_until_then(store: ObjectStore) -> None:
    watch = store.watch(APPS, after=await put(store, "a") + 2)
    waiting = asyncio.ensure_future(anext(watch))
    await asyncio.sleep(0)
    await put(store, "b")
    await put(store, "c")
    await put(store, "d")
    change = await waiting
    assert isinstance(change, Change)
    assert change.object.key.name == "d"


async def test_progress_comes_while_idle_and_never_ahead_of_a_change(store: ObjectStore) -> None:
    watch = store.watch(APPS, "ours", after=0, progress=True)
    revision = await put(store, "x", "theirs")
    assert await anext(watch) == Progress(revision)
    ours = await put(store, "a", "ours")
    change = await anext(watch)
    assert isinstance(change, Change)
    assert change.revision == ours
    assert await anext(watch) == Progress(ours)


async def test_without_asking_there_is_no_progress(store: ObjectStore) -> None:
    silent, talking = store.watch(APPS, after=0), store.watch(APPS, after=0, progress=True)
    waiting = asyncio.ensure_future(anext(silent))
    await anext(talking)
    await anext(talking)
    assert not waiting.done()
    waiting.cancel()
    await asyncio.wait([waiting])


@pytest.mark.parametrize("namespace", [None, "default"])
async def test_a_reader_slower_than_memory_is_served_from_history(
    engine: str, tmp_path: Path, namespace: str | None
) -> None:
    store = await open_store(engine, tmp_path, SMALL_RING)
    watch = store.watch(APPS, namespace, after=0)
    await put(store, "first")
    seen = await take_changes(watch, 1)
    for number in range(300):
        await put(store, f"a{number}")
        await put(store, f"n{number}", resource="nodes")
        if number % 50 == 0:
            seen += await take_changes(watch, 3 if number else 1)
    seen += await take_changes(watch, 301 - len(seen))
    assert [change.object.key.name for change in seen] == ["first", *(f"a{number}" for number in range(300))]
    await store.close()


async def test_a_quiet_namespace_is_not_left_behind_by_a_busy_one(engine: str, tmp_path: Path) -> None:
    store = await open_store(engine, tmp_path, SMALL_RING)
    waiting = asyncio.ensure_future(anext(store.watch(APPS, "quiet", after=0)))
    await asyncio.sleep(0)
    for number in range(100):
        await put(store, f"a{number}", "busy")
    await store.compact(99)
    revision = await put(store, "at last", "quiet")
    change = await waiting
    assert isinstance(change, Change)
    assert change.revision == revision
    await store.close()


async def test_many_watchers_each_see_every_change_once_in_order_under_concurrent_writes(
    engine: str, tmp_path: Path
) -> None:
    store = await open_store(engine, tmp_path, SMALL_RING)
    writers, rounds = 8, 40

    async def write(number: int) -> None:
        for turn in range(rounds):
            await put(store, f"w{number}", f"ns{turn % 3}")

    async def follow(start: int) -> list[int]:
        # Watchers come at different moments and stop reading now and then.
        await store.wait_for(start, 10)
        watch = store.watch(APPS, after=start)
        revisions: list[int] = []
        while len(revisions) < writers * rounds - start:
            revisions += [change.revision for change in await take_changes(watch, 1)]
            if len(revisions) % 64 == start % 64:
                await store.wait_for(min(revisions[-1] + 30, writers * rounds), 10)
        return revisions

    starts = [7 * number for number in range(20)]
    *answers, _ = await asyncio.gather(
        *(follow(start) for start in starts), asyncio.gather(*(write(number) for number in range(writers)))
    )
    assert answers == [list(range(start + 1, writers * rounds + 1)) for start in starts]
    await store.close()


async def test_history_older_than_its_bound_is_refused_and_the_rest_is_whole(engine: str, tmp_path: Path) -> None:
    store = await open_store(engine, tmp_path, ObjectOptions(ring_changes=4))
    for number in range(20):
        await put(store, f"a{number % 4}")
    await store.commit([Remove(key_of("a0"), make_document(), None)])
    await put(store, "b")
    full = await take_changes(store.watch(APPS, after=10), 12)
    at_twelve = await store.list(APPS, revision=12)
    await store.compact(12)
    with pytest.raises(CompactedError):
        await anext(store.watch(APPS, after=11))
    with pytest.raises(CompactedError) as caught:
        await store.list(APPS, revision=11)
    assert caught.value.oldest == 12
    assert await take_changes(store.watch(APPS, after=12), 10) == full[2:]
    assert await store.list(APPS, revision=12) == at_twelve
    assert len((await store.list(APPS)).items) == 4
    await store.close()
    store = await open_store(engine, tmp_path)
    with pytest.raises(CompactedError):
        await anext(store.watch(APPS, after=11))
    assert await take_changes(store.watch(APPS, after=12), 10) == full[2:]
    await store.close()


async def test_a_reader_that_falls_out_of_history_is_told(engine: str, tmp_path: Path) -> None:
    store = await open_store(engine, tmp_path, ObjectOptions(ring_changes=4))
    watch = store.watch(APPS, after=0)
    await put(store, "a")
    await take_changes(watch, 1)
    for number in range(20):
        await put(store, f"b{number}")
    await store.compact(18)
    with pytest.raises(CompactedError):
        await take_changes(watch, 20)
    await store.close()


async def test_compaction_runs_by_itself_by_count(engine: str, tmp_path: Path) -> None:
    store = await open_store(
        engine, tmp_path, ObjectOptions(ring_changes=4, history_revisions=10, compact_every_s=0.01)
    )
    for number in range(50):
        await put(store, f"a{number % 5}")

    async def is_cut() -> bool:
        try:
            await anext(store.watch(APPS, after=30))
        except CompactedError as error:
            return error.oldest == 40
        return False

    await eventually(is_cut)
    assert len(await take_changes(store.watch(APPS, after=40), 10)) == 10
    await store.close()


async def test_wait_for_answers_when_the_revision_is_there_or_time_is_up(store: ObjectStore) -> None:
    revision = await put(store, "a")
    assert await store.wait_for(revision, 0)
    assert not await store.wait_for(revision + 1, 0.01)
    waiting = asyncio.ensure_future(store.wait_for(revision + 2, 10))
    await put(store, "b")
    await put(store, "c")
    assert await waiting


async def test_closing_ends_watches_and_waits(engine: str, tmp_path: Path) -> None:
    store = await open_store(engine, tmp_path)
    watching = asyncio.ensure_future(anext(store.watch(APPS, after=0)))
    waiting = asyncio.ensure_future(store.wait_for(5, 10))
    await asyncio.sleep(0)
    await store.close()
    for ended in (watching, waiting):
        with pytest.raises(StoreUnavailableError):
            await ended
