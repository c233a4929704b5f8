"""The hub without an engine: a list of changes plays the history. Delivery as a whole is in the contract tests."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from eaves.store.abc import Change, Progress, Put
from eaves.store.hub import Hub, Scope, Stretch
from eaves.testing.stores import ModelStore, key_of, make_document, take_changes

APPS = "apps.eaves.dev"
ALL = Scope("", APPS, None)


class Bench:
    """A hub over a model; counts how often history was read."""

    def __init__(self, *, ring_changes: int = 8, ring_bytes: int = 1 << 20) -> None:
        self.model = ModelStore()
        self.reads = 0
        self.hub = Hub(0, self._read, ring_changes=ring_changes, ring_bytes=ring_bytes, progress_s=0.01)

    def _read(self, scope: Scope, after: int) -> Stretch:
        self.reads += 1
        changes = self.model.changes_after(scope.resource, after, scope.namespace)[:3]
        return Stretch(changes, changes[-1].revision if len(changes) == 3 else self.model.revision)

    def put(self, *names: str, namespace: str = "default") -> Sequence[Change]:
        before = len(self.model.changes)
        self.model.commit([Put(key_of(name, namespace), make_document(name), None) for name in names])
        changes = self.model.changes[before:]
        self.hub.publish(changes)
        return changes


async def test_a_reader_that_keeps_up_never_reads_history() -> None:
    bench = Bench()
    watch = bench.hub.watch(ALL, 0, progress=False)
    for number in range(50):
        (change,) = bench.put(f"a{number}")
        assert await take_changes(watch, 1) == [change]
    assert bench.reads == 0


async def test_all_watchers_get_the_same_change_object() -> None:
    bench = Bench()
    watching = [asyncio.ensure_future(anext(bench.hub.watch(ALL, 0, progress=False))) for _ in range(100)]
    await asyncio.sleep(0)
    (change,) = bench.put("a")
    assert all(seen is change for seen in await asyncio.gather(*watching))


async def test_the_ring_is_bounded_by_bytes_too() -> None:
    bench = Bench(ring_changes=1000, ring_bytes=3 * 1200)
    bench.put(*(f"a{number}" for number in range(20)))
    changes = await take_changes(bench.hub.watch(ALL, 0, progress=False), 20)
    assert changes == bench.model.changes
    assert bench.reads > 0


async def test_a_burst_larger_than_the_ring_between_two_reads_is_whole() -> None:
    bench = Bench()
    watch = bench.hub.watch(ALL, 0, progress=False)
    waiting = asyncio.ensure_future(anext(watch))
    await asyncio.sleep(0)
    bench.put(*(f"a{number}" for number in range(40)))
    assert [await waiting, *await take_changes(watch, 39)] == bench.model.changes


async def test_progress_skips_what_other_namespaces_did() -> None:
    bench = Bench()
    watch = bench.hub.watch(Scope("", APPS, "quiet"), 0, progress=True)
    waiting = asyncio.ensure_future(anext(watch))
    await asyncio.sleep(0)
    bench.put(*(f"a{number}" for number in range(40)), namespace="busy")
    assert await waiting == Progress(40)
    (change,) = bench.put("b", namespace="quiet")
    assert await anext(watch) == change
    assert bench.reads == 0


async def test_an_abandoned_watch_leaves_nothing_behind() -> None:
    bench = Bench()
    watching = asyncio.ensure_future(anext(bench.hub.watch(ALL, 0, progress=True)))
    await asyncio.sleep(0)
    assert bench.hub.parked_count == 1
    watching.cancel()
    await asyncio.wait([watching])
    assert bench.hub.parked_count == 0
