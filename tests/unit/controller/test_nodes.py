"""The index of EdgeNodes, and following a resource over a gap in its history."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from eaves.controller.nodes import EDGENODES, NodeIndex
from eaves.controller.objects import encode_document, key_of, want_put
from eaves.controller.watching import Snapshot, follow
from eaves.store.abc import Change, Remove
from eaves.store.sqlite.objects import ObjectOptions, SqliteStore
from eaves.testing.objects import DEVICE_ID, make_edgenode
from eaves.wire.identifiers import DeviceId

WAIT_S = 60.0


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = await SqliteStore.open(tmp_path / "objects.db", ObjectOptions(ring_changes=1))
    yield store
    await store.close()


async def test_the_index_knows_what_is_there_what_comes_and_what_goes(store: SqliteStore) -> None:
    device = DeviceId(DEVICE_ID)
    await store.commit([want_put(make_edgenode("one"), 0)])
    index = NodeIndex(store)
    gone: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
    index.call_when_gone(lambda device_id, name: gone.put_nowait((device_id, name)))
    task = asyncio.create_task(index.run())
    async with asyncio.timeout(WAIT_S):
        await index.wait_ready()
        assert (index.name_of(device), len(index), index.ids()) == ("one", 1, [device])
        removed = make_edgenode("one")
        await store.commit([Remove(key_of("EdgeNode", "", "one"), encode_document(removed), None)])
        assert await gone.get() == (DEVICE_ID, "one")
    assert device not in index
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_following_starts_again_with_a_snapshot_when_changes_were_lost(store: SqliteStore) -> None:
    await store.commit([want_put(make_edgenode("one"), 0)])
    news = follow(store, EDGENODES)
    async with asyncio.timeout(WAIT_S):
        first = await anext(news)
        assert isinstance(first, Snapshot)
        assert [stored.key.name for stored in first.objects] == ["one"]
        for number in range(3):
            await store.commit([want_put(make_edgenode("one", serial=str(number)), None)])
        # The follower was away for so long that its place in the history is gone.
        await store.compact(await store.revision())
        second = await anext(news)
        assert isinstance(second, Snapshot)
        await store.commit([want_put(make_edgenode("one", serial="new"), None)])
        third = await anext(news)
        assert isinstance(third, Change)
