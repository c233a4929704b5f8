"""What happens to a queued message after each answer, in virtual time."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator

import pytest

from eaves.node.link.calls import Reply
from eaves.node.link.errors import DialError, RefusedError
from eaves.node.link.queues import LIMIT_RETRY_S, NOISE_S, EventQueue, Reaction, plan_reaction
from eaves.wire.errors import SignatureError
from eaves.wire.paths import Endpoint

pytestmark = pytest.mark.looptime


class Line:
    """Answers from a list, the last one for ever; notes what was sent when."""

    def __init__(self, *answers: int | Exception) -> None:
        self.answers = list(answers)
        self.sent: list[tuple[float, bytes]] = []

    async def send(self, endpoint: Endpoint, payload: bytes) -> Reply:
        assert endpoint is Endpoint.INFO
        self.sent.append((asyncio.get_running_loop().time(), payload))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return Reply(answer)

    @property
    def payloads(self) -> list[bytes]:
        return [payload for _, payload in self.sent]

    @property
    def gaps(self) -> list[float]:
        times = [at for at, _ in self.sent]
        return [later - earlier for earlier, later in itertools.pairwise(times)]


@contextlib.asynccontextmanager
async def running(line: Line) -> AsyncIterator[EventQueue]:
    queue = EventQueue(line.send)
    task = asyncio.create_task(queue.run())
    try:
        yield queue
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.mark.parametrize(
    ("status", "reaction"),
    [
        *((status, Reaction.DONE) for status in (200, 201, 204, 304)),
        *((status, Reaction.DROP) for status in (400, 404, 409, 410, 413, 422)),
        *((status, Reaction.RETRY) for status in (302, 401, 403, 407, 408, 429, 500, 502, 503, 504)),
    ],
)
def test_reactions_follow_the_device_api(status: int, reaction: Reaction) -> None:
    assert plan_reaction(status) is reaction


async def test_message_goes_out_at_once() -> None:
    line = Line(201)
    async with running(line) as queue:
        queue.put("app/1", b"one")
        await asyncio.sleep(1)
        assert line.sent == [(0, b"one")]
        assert len(queue) == 0


async def test_newer_message_about_an_object_replaces_the_older() -> None:
    line = Line(503, 201)
    async with running(line) as queue:
        queue.put("app/1", b"old")
        await asyncio.sleep(5)
        queue.put("app/1", b"new")
        await asyncio.sleep(3600)
    assert line.payloads == [b"old", b"new"]


async def test_refused_for_now_is_retried_after_one_minute_doubling_to_fifteen() -> None:
    line = Line(503)
    async with running(line) as queue:
        queue.put("app/1", b"one")
        await asyncio.sleep(3600)
    for gap, expected in zip(line.gaps, [60, 120, 240, 480, 900, 900], strict=False):
        assert expected * 0.9 <= gap <= expected * 1.1


async def test_refused_for_good_is_dropped_and_the_rest_goes_on() -> None:
    line = Line(422, 201)
    async with running(line) as queue:
        queue.put("app/1", b"one")
        queue.put("app/2", b"two")
        await asyncio.sleep(3600)
        assert queue.dropped == 1
    assert line.payloads == [b"one", b"two"]


async def test_no_answer_ends_the_pass() -> None:
    line = Line(DialError("down"), 201)
    async with running(line) as queue:
        queue.put("app/1", b"one")
        queue.put("app/2", b"two")
        await asyncio.sleep(30)
        assert line.payloads == [b"one"]
        await asyncio.sleep(60 + NOISE_S)
    assert line.payloads == [b"one", b"one", b"two"]


async def test_passes_without_an_answer_come_ever_more_rarely() -> None:
    line = Line(DialError("down"))
    async with running(line) as queue:
        queue.put("app/1", b"one")
        await asyncio.sleep(4 * 3600)
    assert max(line.gaps) <= LIMIT_RETRY_S + NOISE_S
    assert line.gaps[0] < 121
    assert line.gaps[-1] >= LIMIT_RETRY_S


async def test_contact_again_sends_all_within_seconds() -> None:
    line = Line(DialError("down"))
    async with running(line) as queue:
        queue.put("app/1", b"one")
        await asyncio.sleep(2000)
        line.answers = [201]
        before = asyncio.get_running_loop().time()
        queue.note_reconnected()
        await queue.wait_empty()
        assert asyncio.get_running_loop().time() - before <= 10


@pytest.mark.parametrize("answer", [SignatureError("no"), RefusedError(503, "/certs")])
async def test_answer_that_cannot_be_believed_keeps_the_message(answer: Exception) -> None:
    line = Line(answer, 201)
    async with running(line) as queue:
        queue.put("app/1", b"one")
        await asyncio.sleep(120)
        assert len(queue) == 0
    assert line.payloads == [b"one", b"one"]


async def test_message_put_while_an_older_one_is_under_way_is_not_lost() -> None:
    line = Line(201)
    started, go_on = asyncio.Event(), asyncio.Event()
    sent: list[bytes] = []

    async def slow(endpoint: Endpoint, payload: bytes) -> Reply:
        sent.append(payload)
        started.set()
        await go_on.wait()
        return await line.send(endpoint, payload)

    queue = EventQueue(slow)
    task = asyncio.create_task(queue.run())
    queue.put("app/1", b"old")
    await started.wait()
    queue.put("app/1", b"new")
    go_on.set()
    await queue.wait_empty()
    task.cancel()
    await asyncio.wait([task])
    assert sent == [b"old", b"new"]
