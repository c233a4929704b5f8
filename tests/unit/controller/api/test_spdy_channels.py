"""Exec and attach by SPDY: streams become messages of channels, and back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from eaves.controller.api.sockets import SocketClosedError
from eaves.controller.api.spdychannels import LEAVE_TIMEOUT_S, OPEN_TIMEOUT_S, Talk, talk_by_spdy
from eaves.controller.api.spdysession import Pipe
from eaves.kube.spdy import Data, Reset, RstStream, SynReply, SynStream
from eaves.testing.spdy_client import SpdyClient
from eaves.wire.channels import Channel

pytestmark = pytest.mark.looptime

EVERYTHING = frozenset({Channel.ERROR, Channel.STDIN, Channel.STDOUT, Channel.STDERR})
ERROR, STDIN, STDOUT, STDERR = 1, 3, 5, 7


class Conversation:
    """The server's side under test."""

    def __init__(self, client: SpdyClient, task: asyncio.Task[None]) -> None:
        self.client, self.task = client, task

    def open(self, *kinds: str) -> None:
        for number, kind in enumerate(kinds):
            self.client.say(SynStream(2 * number + 1, {"streamtype": kind}))


@contextlib.asynccontextmanager
async def talking(talk: Talk, expected: frozenset[Channel] = EVERYTHING) -> AsyncIterator[Conversation]:
    client = SpdyClient()
    task = asyncio.create_task(talk_by_spdy(client, expected, talk))
    try:
        yield Conversation(client, task)
    finally:
        if not task.done():
            client.go()
        with contextlib.suppress(SocketClosedError):
            await task


async def test_channels_go_by_their_streams_both_ways() -> None:
    heard: list[bytes | str | None] = []

    async def talk(pipe: Pipe) -> None:
        heard.extend([await pipe.receive(), await pipe.receive()])
        for message in (b"\x01out", b"\x02err", b"\x01", b"\x09x", b'\x03{"status":"Success"}'):
            await pipe.send(message)

    async with talking(talk) as conversation:
        conversation.open("error", "stdin", "stdout", "stderr")
        client = conversation.client
        client.say(Data(STDIN, b"typed"), Data(STDIN, b"", fin=True))
        assert [await client.hear() for _ in range(4)] == [SynReply(number) for number in (1, 3, 5, 7)]
        assert await client.hear() == Data(STDOUT, b"out")
        assert await client.hear() == Data(STDERR, b"err")
        assert await client.hear() == Data(ERROR, b'{"status":"Success"}')
        ends = [await client.hear() for _ in range(4)]
        assert sorted(end.stream_id for end in ends if isinstance(end, Data) and end.fin) == [1, 3, 5, 7]
    assert heard == [b"\x00typed", b"\xff\x00"]


async def test_nothing_begins_before_all_streams_are_there() -> None:
    has_begun = asyncio.Event()

    async def talk(pipe: Pipe) -> None:
        has_begun.set()

    async with talking(talk) as conversation:
        conversation.open("error", "stdin", "stdout")
        await asyncio.sleep(1)
        assert not has_begun.is_set()
        conversation.client.say(SynStream(7, {"streamtype": "stderr"}))
        await asyncio.sleep(1)
        assert has_begun.is_set()


async def test_a_client_that_opens_no_streams_is_not_waited_for_for_ever() -> None:
    async def talk(pipe: Pipe) -> None:
        raise AssertionError("it has begun")

    async with talking(talk) as conversation:
        conversation.open("error")
        await asyncio.sleep(OPEN_TIMEOUT_S + 1)
        assert conversation.task.done()


@pytest.mark.parametrize("kind", ["resize", "error", "data", ""])
async def test_streams_that_were_not_asked_for_are_refused(kind: str) -> None:
    async def talk(pipe: Pipe) -> None:
        await pipe.receive()

    async with talking(talk) as conversation:
        conversation.open("error")
        conversation.client.say(SynStream(9, {"streamtype": kind}))
        assert [await conversation.client.hear() for _ in range(2)] == [SynReply(1), RstStream(9, Reset.REFUSED_STREAM)]


async def test_a_client_that_goes_is_the_end_of_what_it_says() -> None:
    heard: list[bytes | str | None] = []

    async def talk(pipe: Pipe) -> None:
        heard.append(await pipe.receive())
        with pytest.raises(SocketClosedError):
            await pipe.send(b"\x01anybody")

    async with talking(talk) as conversation:
        conversation.open("error", "stdin", "stdout", "stderr")
        await asyncio.sleep(1)
        conversation.client.go()
        await asyncio.sleep(1)
        assert heard == [None]


async def test_a_client_that_has_been_told_the_end_has_time_to_read_and_no_more() -> None:
    async def talk(pipe: Pipe) -> None:
        await pipe.send(b"\x01bye")

    async with talking(talk) as conversation:
        conversation.open("error", "stdin", "stdout", "stderr")
        await asyncio.sleep(LEAVE_TIMEOUT_S - 1)
        assert not conversation.task.done()
        await asyncio.sleep(2)
        assert conversation.task.done()


async def test_sizes_of_a_terminal_have_a_channel_of_their_own() -> None:
    heard: list[bytes | str | None] = []

    async def talk(pipe: Pipe) -> None:
        heard.append(await pipe.receive())

    wanted = frozenset({Channel.ERROR, Channel.STDOUT, Channel.RESIZE})
    async with talking(talk, wanted) as conversation:
        conversation.open("error", "stdout", "resize")
        conversation.client.say(Data(5, b'{"Width":80,"Height":24}'))
        await asyncio.sleep(1)
    assert heard == [b'\x04{"Width":80,"Height":24}']
