"""The reconcilers' queue: one turn a key at a time, failures throttled by key, nothing forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from eaves.controller.workqueue import WorkQueue
from eaves.kit.errors import EavesError

Start = Callable[[Callable[[str], Awaitable[None]], int], WorkQueue[str]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    tasks: list[asyncio.Task[None]] = []

    def begin(handle: Callable[[str], Awaitable[None]], workers: int = 2) -> WorkQueue[str]:
        queue: WorkQueue[str] = WorkQueue("test", handle, workers=workers)
        tasks.append(asyncio.create_task(queue.run()))
        return queue

    yield begin
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_key_that_waits_is_handled_once(start: Start) -> None:
    seen: list[str] = []

    async def handle(key: str) -> None:
        seen.append(key)

    queue = start(handle, 2)
    for key in "aabab":
        queue.add(key)
    await queue.wait_idle()
    assert sorted(seen) == ["a", "b"]


async def test_a_key_is_never_under_way_twice_and_is_looked_at_again(start: Start) -> None:
    entered, go_on = asyncio.Event(), asyncio.Event()
    under_way, most, turns = 0, 0, 0

    async def handle(_key: str) -> None:
        nonlocal under_way, most, turns
        under_way += 1
        turns += 1
        most = max(most, under_way)
        entered.set()
        await go_on.wait()
        under_way -= 1

    queue = start(handle, 4)
    queue.add("a")
    await entered.wait()
    queue.add("a")
    queue.add("a")
    go_on.set()
    await queue.wait_idle()
    assert (most, turns) == (1, 2)


async def test_urgent_keys_go_first_in_their_order(start: Start) -> None:
    seen: list[str] = []

    async def handle(key: str) -> None:
        seen.append(key)

    queue = start(handle, 1)
    queue.add("a")
    queue.add("b")
    queue.add("c", is_urgent=True)
    queue.add("b", is_urgent=True)
    queue.add("c")
    await queue.wait_idle()
    assert seen == ["c", "b", "a"]


async def test_urgent_keys_do_not_starve_the_others(start: Start) -> None:
    turns: list[int] = []

    async def handle(key: int) -> None:
        turns.append(key)

    queue: WorkQueue[int] = start(handle, 1)  # type: ignore[arg-type, assignment]  # keys are numbers here
    for key in range(100):
        queue.add(key, is_urgent=True)
    queue.add(1000)
    await queue.wait_idle()
    assert turns.index(1000) < 5


async def test_a_key_asked_for_again_while_it_is_worked_on_keeps_its_urgency(start: Start) -> None:
    seen: list[str] = []
    go_on = asyncio.Event()

    async def handle(key: str) -> None:
        seen.append(key)
        await go_on.wait()

    queue = start(handle, 1)
    queue.add("a")
    queue.add("b")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    queue.add("a", is_urgent=True)
    go_on.set()
    await queue.wait_idle()
    assert seen == ["a", "a", "b"]


@pytest.mark.parametrize("error", [EavesError("away"), ZeroDivisionError()])
async def test_a_key_that_fails_is_tried_again_and_stops_no_other(start: Start, error: Exception) -> None:
    tries: list[str] = []
    mended = asyncio.Event()

    async def handle(key: str) -> None:
        tries.append(key)
        if key == "bad" and tries.count("bad") < 3:
            raise error
        if key == "bad":
            mended.set()

    queue = start(handle, 1)
    queue.add("bad")
    queue.add("good")
    await queue.wait_idle()
    assert tries == ["bad", "good"]
    async with asyncio.timeout(30):
        await mended.wait()
    assert tries.count("bad") == 3


async def test_keys_added_before_the_start_are_handled(start: Start) -> None:
    seen = asyncio.Event()

    async def handle(_key: str) -> None:
        seen.set()

    queue: WorkQueue[str] = WorkQueue("test", handle, workers=1)
    queue.add("a")
    task = asyncio.create_task(queue.run())
    async with asyncio.timeout(60):
        await seen.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
