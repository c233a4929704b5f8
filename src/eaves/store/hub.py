"""Delivers changes to watchers: recent ones from memory, older ones from the engine's history, without gap or repeat.

An engine calls :meth:`Hub.publish` after each commit, in commit order. A watcher is a position (a revision) and pulls: nothing is queued
for it, so a slow one costs no memory. Recent changes lie in one ring for all watchers, cut into topics (tenant, resource). A
watcher whose position fell out of the ring reads the engine's history until it is back, or gets the history's CompactedError.

A watcher that has everything is *parked* under its topic and namespace and costs nothing until a change for it is published. It is
woken with the revision before that change, which is its position however long it slept.
"""

from __future__ import annotations

import asyncio
import bisect
import collections
import heapq
import itertools
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple, Protocol

from msgspec import Struct

from eaves.store.abc import Change, Progress
from eaves.store.errors import StoreUnavailableError

RING_CHANGES = 8192
RING_BYTES = 16 << 20
CHANGE_OVERHEAD_BYTES = 1024
"""Rough cost of a change's objects besides its documents."""
STEP_CHANGES = 256


class Scope(NamedTuple):
    """What a watcher looks at. ``namespace`` None = all of the topic."""

    tenant: str
    resource: str
    namespace: str | None


class Stretch(Struct, frozen=True):
    """Part of the history: all changes of a scope above the asked revision up to ``revision``."""

    changes: Sequence[Change]
    revision: int


class History(Protocol):
    """Reads changes above ``after`` from the engine, oldest first, a bounded number. Raises CompactedError."""

    def __call__(self, scope: Scope, after: int) -> Stretch: ...


class _Wake(NamedTuple):
    position: int
    is_tick: bool


class _Topic:
    """The part of the ring that belongs to one (tenant, resource)."""

    __slots__ = ("changes", "dropped", "floor", "revisions")

    def __init__(self, floor: int) -> None:
        self.floor = floor
        """Positions from here on are served from ``changes``."""
        self.changes: list[Change] = []
        self.revisions: list[int] = []
        self.dropped = 0
        """Leading entries that left the ring and wait to be cut off together."""

    def append(self, change: Change) -> None:
        self.changes.append(change)
        self.revisions.append(change.object.revision)

    def drop_oldest(self) -> None:
        self.floor = self.revisions[self.dropped]
        self.dropped += 1
        if self.dropped > 64 and self.dropped * 2 > len(self.changes):
            del self.changes[: self.dropped]
            del self.revisions[: self.dropped]
            self.dropped = 0

    def after(self, position: int) -> list[Change]:
        start = bisect.bisect_right(self.revisions, position, lo=self.dropped)
        return self.changes[start : start + STEP_CHANGES]


class Hub:
    """Made by the engine on its loop, with the revision of the latest commit."""

    def __init__(
        self,
        revision: int,
        history: History,
        *,
        ring_changes: int = RING_CHANGES,
        ring_bytes: int = RING_BYTES,
        progress_s: float = 5.0,
    ) -> None:
        self.revision = revision
        """Every change up to this one is published."""
        self._start_revision = revision
        self._history = history
        self._ring_changes = ring_changes
        self._ring_bytes = ring_bytes
        self._progress_s = progress_s
        self._ring: collections.deque[tuple[_Topic, int]] = collections.deque()
        self._size_bytes = 0
        self._topics: dict[tuple[str, str], _Topic] = {}
        self._parked: dict[Scope, dict[asyncio.Future[_Wake], bool]] = {}
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = itertools.count()
        self._tick: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._is_closed = False

    @property
    def parked_count(self) -> int:
        """Watchers that have everything and wait."""
        return sum(len(parked) for parked in self._parked.values())

    def publish(self, changes: Sequence[Change]) -> None:
        """Make committed changes visible. Revisions only grow from call to call."""
        for change in changes:
            key = change.object.key
            topic = self._topic(key.tenant, key.resource)
            size = len(change.object.value) + CHANGE_OVERHEAD_BYTES
            size += len(change.previous.value) if change.previous is not None else 0
            topic.append(change)
            self._ring.append((topic, size))
            self._size_bytes += size
            self._wake(Scope(key.tenant, key.resource, key.namespace), change.revision - 1)
            self._wake(Scope(key.tenant, key.resource, None), change.revision - 1)
            self.revision = change.revision
        while len(self._ring) > self._ring_changes or self._size_bytes > self._ring_bytes:
            topic, size = self._ring.popleft()
            self._size_bytes -= size
            topic.drop_oldest()
        self._wake_waiting()

    async def watch(self, scope: Scope, after: int, *, progress: bool) -> AsyncIterator[Change | Progress]:
        """See :meth:`eaves.store.abc.ObjectStore.watch`."""
        topic = self._topic(scope.tenant, scope.resource)
        position = after
        while True:
            self._check_open()
            if position < topic.floor:
                stretch = self._history(scope, position)
                changes, position_then = stretch.changes, max(position, stretch.revision)
                # History comes in bounded steps; other tasks get their turn between them.
                await asyncio.sleep(0)
            else:
                changes = topic.after(position)
                position_then = changes[-1].revision if changes else position
            for change in changes:
                if scope.namespace is None or change.object.key.namespace == scope.namespace:
                    yield change
            if position_then > position:
                position = position_then
                continue
            if position < topic.floor:
                continue
            wake = await self._park(scope, progress=progress)
            position = max(position, wake.position)
            if wake.is_tick and wake.position >= position:
                yield Progress(wake.position)

    async def wait_for(self, revision: int, timeout_s: float) -> bool:
        """Whether ``revision`` was published within the time."""
        if revision <= self.revision:
            return True
        self._check_open()
        future: asyncio.Future[None] = self._loop.create_future()
        heapq.heappush(self._waiting, (revision, next(self._order), future))
        try:
            async with asyncio.timeout(timeout_s):
                await future
        except TimeoutError:
            return False
        finally:
            if future.cancelled():
                self._waiting = [entry for entry in self._waiting if entry[2] is not future]
                heapq.heapify(self._waiting)
        return True

    def close(self) -> None:
        """End all watches and waits with StoreUnavailableError."""
        self._is_closed = True
        if self._tick is not None:
            self._tick.cancel()
        for parked in self._parked.values():
            for future in parked:
                _resolve(future, _Wake(0, False))
        for _, _, waiting in self._waiting:
            if not waiting.done():
                waiting.set_exception(_closed())
        self._waiting.clear()

    def _topic(self, tenant: str, resource: str) -> _Topic:
        topic = self._topics.get((tenant, resource))
        if topic is None:
            # Nothing of it was published yet, so all of it lies in the history up to the start.
            topic = self._topics[tenant, resource] = _Topic(self._start_revision)
        return topic

    async def _park(self, scope: Scope, *, progress: bool) -> _Wake:
        future: asyncio.Future[_Wake] = self._loop.create_future()
        self._parked.setdefault(scope, {})[future] = progress
        if progress and self._tick is None:
            self._tick = self._loop.call_later(self._progress_s, self._tick_progress)
        try:
            return await future
        finally:
            parked = self._parked.get(scope)
            if parked is not None:
                parked.pop(future, None)
                if not parked:
                    del self._parked[scope]

    def _wake(self, scope: Scope, position: int) -> None:
        parked = self._parked.pop(scope, None)
        if parked is not None:
            wake = _Wake(position, False)
            for future in parked:
                _resolve(future, wake)

    def _tick_progress(self) -> None:
        """Tell all parked watchers that want it how far they are; one timer serves them all."""
        self._tick = None
        is_wanted = False
        for parked in self._parked.values():
            for future, progress in parked.items():
                if progress:
                    is_wanted = True
                    _resolve(future, _Wake(self.revision, True))
        if is_wanted:
            self._tick = self._loop.call_later(self._progress_s, self._tick_progress)

    def _wake_waiting(self) -> None:
        while self._waiting and self._waiting[0][0] <= self.revision:
            future = heapq.heappop(self._waiting)[2]
            if not future.done():
                future.set_result(None)

    def _check_open(self) -> None:
        if self._is_closed:
            raise _closed()


def _resolve(future: asyncio.Future[_Wake], wake: _Wake) -> None:
    if not future.done():
        future.set_result(wake)


def _closed() -> StoreUnavailableError:
    return StoreUnavailableError("the store is closed", code="StoreClosed")
