"""Who downloads first."""

from __future__ import annotations

import asyncio

import pytest

from eaves.node.images.model import Priority
from eaves.node.images.slots import PreemptedError, Slots

APP, VOLUME, AHEAD = Priority.RUNNING_APP, Priority.VOLUME, Priority.AHEAD


class Downloads:
    """Downloads that last until they are let go; ``running`` are their names in the order of their start."""

    def __init__(self, slots: Slots) -> None:
        self.slots = slots
        self.running: list[str] = []
        self.preempted: list[str] = []
        self._ends: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def start(self, name: str, priority: Priority, host: str = "h") -> None:
        self._ends[name] = asyncio.Event()
        self.tasks[name] = asyncio.create_task(self._run(name, priority, host))
        await settle()

    async def finish(self, name: str) -> None:
        self._ends[name].set()
        await settle()

    async def _run(self, name: str, priority: Priority, host: str) -> None:
        while True:
            try:
                async with self.slots.want(host, priority):
                    self.running.append(name)
                    try:
                        await self._ends[name].wait()
                    finally:
                        self.running.remove(name)
            except PreemptedError:
                self.preempted.append(name)
                continue
            return


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def stop(downloads: Downloads) -> None:
    for task in downloads.tasks.values():
        task.cancel()
    await asyncio.gather(*downloads.tasks.values(), return_exceptions=True)
    assert downloads.running == []


async def test_apps_go_before_volumes_and_the_oldest_first() -> None:
    downloads = Downloads(Slots(1, 1))
    await downloads.start("first", VOLUME)
    for name, priority in (("volume", VOLUME), ("app-1", APP), ("app-2", APP)):
        await downloads.start(name, priority)
    order = []
    for _ in range(4):
        (name,) = downloads.running
        order.append(name)
        await downloads.finish(name)
    assert order == ["first", "app-1", "app-2", "volume"]
    assert downloads.preempted == []


async def test_a_host_does_not_take_all_places() -> None:
    downloads = Downloads(Slots(3, 2))
    for name in ("a", "b", "c"):
        await downloads.start(name, APP, "slow")
    await downloads.start("d", VOLUME, "other")
    assert downloads.running == ["a", "b", "d"]
    await downloads.finish("a")
    assert downloads.running == ["b", "d", "c"]
    await stop(downloads)


async def test_what_is_fetched_ahead_gives_way_and_goes_on_after() -> None:
    downloads = Downloads(Slots(3, 3))
    await downloads.start("ahead-1", AHEAD)
    await downloads.start("ahead-2", AHEAD)
    assert downloads.running == ["ahead-1", "ahead-2"]
    await downloads.start("app", APP)
    assert downloads.running == ["app"]
    assert downloads.preempted == ["ahead-1", "ahead-2"]
    await downloads.start("ahead-3", AHEAD)
    assert downloads.running == ["app"]
    await downloads.finish("app")
    assert sorted(downloads.running) == ["ahead-1", "ahead-2", "ahead-3"]
    await stop(downloads)


async def test_cancelling_from_outside_stays_a_cancellation() -> None:
    slots = Slots(1, 1)

    async def run() -> None:
        async with slots.want("h", AHEAD) as slot:
            slot.preempt()
            task.cancel()
            await asyncio.Event().wait()

    task = asyncio.create_task(run())
    with pytest.raises(asyncio.CancelledError):
        await task
    async with slots.want("h", APP):
        """The place is free again."""


async def test_whoever_stops_waiting_leaves_no_trace() -> None:
    downloads = Downloads(Slots(1, 1))
    await downloads.start("holds", APP)
    await downloads.start("waits", APP)
    downloads.tasks["waits"].cancel()
    await settle()
    await downloads.start("next", APP)
    await downloads.finish("holds")
    assert downloads.running == ["next"]
    await stop(downloads)
