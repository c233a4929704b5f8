"""Pairs of SPDY streams become connections: what a client may do wrong, how far it may run ahead, and that nothing is left."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eaves.controller.api import inboxes
from eaves.controller.api.relaying import ByteStream
from eaves.controller.api.sockets import SocketClosedError
from eaves.controller.api.spdyforward import PAIR_TIMEOUT_S, serve_pairs
from eaves.kube.spdy import (
    Data,
    Frame,
    GoAway,
    Headers,
    Ping,
    Reset,
    RstStream,
    Settings,
    SynReply,
    SynStream,
    WindowUpdate,
)
from eaves.testing.spdy_client import SpdyClient

pytestmark = pytest.mark.looptime

NAMES = st.sampled_from(["streamtype", "port", "requestid", "other"])
VALUES = st.sampled_from(["error", "data", "80", "82", "83", "0", "1", ""])
IDS = st.integers(1, 9)
HEADERS = st.dictionaries(NAMES, VALUES, max_size=4)
FRAMES: st.SearchStrategy[Frame] = st.one_of(
    st.builds(SynStream, IDS, HEADERS, st.booleans(), st.booleans()),
    st.builds(SynReply, IDS, HEADERS, st.booleans()),
    st.builds(Headers, IDS, HEADERS, st.booleans()),
    st.builds(Data, IDS, st.binary(max_size=50), st.booleans()),
    st.builds(RstStream, IDS, st.integers(1, 11)),
    st.builds(Settings, st.just({4: 1})),
    st.builds(Ping, IDS),
    st.builds(GoAway, IDS),
    st.builds(WindowUpdate, IDS, IDS),
)


class Ports:
    """What is behind the ports: 80 echoes, 81 refuses, 82 reads nothing until told, 83 says much."""

    def __init__(self) -> None:
        self.may_read = asyncio.Event()
        self.active = 0
        self.read = b""

    async def forward(self, port: int, client: ByteStream) -> str:
        self.active += 1
        try:
            return await self._serve(port, client)
        finally:
            self.active -= 1

    async def _serve(self, port: int, client: ByteStream) -> str:
        if port == 81:
            return "error forwarding port 81: nothing answers"
        if port == 82:
            await self.may_read.wait()
        if port == 83:
            await client.send(b"x" * 100_000)
            return ""
        while (data := await client.receive()) is not None:
            self.read += data
            if port == 80:
                await client.send(data)
        return ""


@contextlib.asynccontextmanager
async def serving(ports: Ports) -> AsyncIterator[SpdyClient]:
    client = SpdyClient()
    task = asyncio.create_task(serve_pairs(client, ports.forward))
    try:
        yield client
    finally:
        if not task.done():
            client.go()
        with contextlib.suppress(SocketClosedError):
            await task
        assert ports.active == 0


async def test_a_pair_is_a_connection() -> None:
    async with serving(Ports()) as client:
        error, data = client.open_pair(0)
        client.say(Data(data, b"hello"), Data(data, b"", fin=True))
        assert [await client.hear() for _ in range(2)] == [SynReply(error), SynReply(data)]
        assert await client.hear() == Data(data, b"hello")
        assert [await client.hear() for _ in range(2)] == [Data(error, b"", fin=True), Data(data, b"", fin=True)]


async def test_pairs_may_be_mixed_and_come_in_any_order() -> None:
    async with serving(Ports()) as client:
        for stream, kind, request in ((1, "data", "b"), (3, "error", "a"), (5, "error", "b"), (7, "data", "a")):
            client.say(SynStream(stream, {"port": "80", "requestid": request, "streamtype": kind}))
        client.say(Data(7, b"of a", fin=True))
        assert await client.hear_all(7) == b"of a"
        client.say(Data(1, b"of b", fin=True))
        assert await client.hear_all(1) == b"of b"


async def test_old_clients_name_no_request() -> None:
    async with serving(Ports()) as client:
        client.say(SynStream(1, {"port": "80", "streamtype": "error"}))
        client.say(SynStream(3, {"port": "80", "streamtype": "data"}), Data(3, b"x", fin=True))
        assert await client.hear_all(3) == b"x"


async def test_what_went_wrong_is_said_on_the_error_stream() -> None:
    async with serving(Ports()) as client:
        error, data = client.open_pair(0, "81")
        assert await client.hear_all(error) == b"error forwarding port 81: nothing answers"
        assert await client.hear_all(data) == b""


@pytest.mark.parametrize(
    "headers",
    [
        {"port": "80", "requestid": "1"},
        {"port": "80", "requestid": "1", "streamtype": "stdin"},
        {"requestid": "1", "streamtype": "data"},
        {"port": "0", "requestid": "1", "streamtype": "data"},
        {"port": "65536", "requestid": "1", "streamtype": "data"},
        {"port": "8\u0660", "requestid": "1", "streamtype": "data"},
    ],
)
async def test_streams_that_belong_to_no_pair_are_refused(headers: dict[str, str]) -> None:
    async with serving(Ports()) as client:
        client.say(SynStream(1, headers))
        assert await client.hear() == RstStream(1, Reset.REFUSED_STREAM)


async def test_a_second_stream_of_the_same_kind_or_for_another_port_is_refused() -> None:
    async with serving(Ports()) as client:
        first = {"port": "80", "requestid": "1", "streamtype": "data"}
        client.say(
            SynStream(1, first), SynStream(3, first), SynStream(5, {**first, "streamtype": "error", "port": "9"})
        )
        assert [await client.hear() for _ in range(3)] == [
            SynReply(1),
            RstStream(3, Reset.REFUSED_STREAM),
            RstStream(5, Reset.REFUSED_STREAM),
        ]


async def test_half_a_pair_is_not_waited_for_for_ever() -> None:
    async with serving(Ports()) as client:
        client.say(SynStream(1, {"port": "80", "requestid": "1", "streamtype": "data"}))
        assert await client.hear() == SynReply(1)
        await asyncio.sleep(PAIR_TIMEOUT_S + 1)
        assert await client.hear() == RstStream(1, Reset.CANCEL)


@pytest.mark.parametrize("stream_id", [2, 5, 3])
async def test_ids_are_odd_and_grow(stream_id: int) -> None:
    async with serving(Ports()) as client:
        client.say(SynStream(5, {"port": "80", "requestid": "1", "streamtype": "error"}))
        assert await client.hear() == SynReply(5)
        client.say(SynStream(stream_id, {"port": "80", "requestid": "1", "streamtype": "data"}))
        assert await client.hear() == RstStream(stream_id, Reset.PROTOCOL_ERROR)


async def test_pings_of_the_client_are_answered_and_settings_change_nothing() -> None:
    async with serving(Ports()) as client:
        client.say(Settings({7: 100}), Ping(2), Ping(1))
        assert await client.hear() == Ping(1)


async def test_after_going_away_no_stream_is_taken_and_those_open_go_on() -> None:
    async with serving(Ports()) as client:
        _, data = client.open_pair(0)
        client.say(GoAway(0))
        error, _ = client.open_pair(1)
        client.say(Data(data, b"still", fin=True))
        heard = [await client.hear() for _ in range(4)]
        assert RstStream(error, Reset.REFUSED_STREAM) in heard
        assert await client.hear_all(data) == b"still"


async def test_what_is_no_spdy_ends_the_connection_with_a_word() -> None:
    async with serving(Ports()) as client:
        client.open_pair(0)
        assert isinstance(await client.hear(), SynReply)
        assert isinstance(await client.hear(), SynReply)
        client.say_raw(b"\x80\x02\x00\x06\x00\x00\x00\x04\x00\x00\x00\x01")
        assert await client.hear() == GoAway(3, Reset.PROTOCOL_ERROR)


async def test_a_reset_ends_one_connection_and_no_other() -> None:
    ports = Ports()
    async with serving(ports) as client:
        error, data = client.open_pair(0)
        _, other = client.open_pair(1)
        await asyncio.sleep(1)
        assert ports.active == 2
        client.say(RstStream(data, Reset.CANCEL))
        await asyncio.sleep(1)
        assert ports.active == 1
        client.say(Data(other, b"alive", fin=True))
        assert await client.hear_all(other) == b"alive"
        assert error


async def test_a_client_that_runs_ahead_is_not_read_until_its_reader_has_caught_up() -> None:
    ports = Ports()
    async with serving(ports) as client:
        _, data = client.open_pair(0, "82")
        piece = b"y" * 32_768
        for _ in range(40):
            client.say(Data(data, piece))
        client.say(Data(data, b"", fin=True))
        await asyncio.sleep(5)
        taken = 40 - client.unread
        assert taken * len(piece) <= inboxes.STREAM_BYTES + 2 * len(piece)
        ports.may_read.set()
        await asyncio.sleep(1)
        assert ports.read == 40 * piece


async def test_a_stream_within_its_bound_holds_up_no_other() -> None:
    ports = Ports()
    async with serving(ports) as client:
        _, stalled = client.open_pair(0, "82")
        client.say(Data(stalled, b"z" * 100_000))
        _, other = client.open_pair(1)
        client.say(Data(other, b"quick", fin=True))
        assert await client.hear_all(other) == b"quick"


async def test_what_is_said_to_an_ended_connection_fills_nothing() -> None:
    async with serving(Ports()) as client:
        _, data = client.open_pair(0, "83")
        assert len(await client.hear_all(data)) == 100_000
        for _ in range(40):
            client.say(Data(data, bytes(32_768)))
        await asyncio.sleep(1)
        assert client.unread == 0


async def test_a_client_that_goes_leaves_nothing() -> None:
    ports = Ports()
    async with serving(ports) as client:
        client.open_pair(0, "82")
        client.open_pair(1)
        client.say(SynStream(99, {"port": "80", "requestid": "9", "streamtype": "data"}))
        await asyncio.sleep(1)
        assert ports.active == 2


@given(st.lists(FRAMES, max_size=30))
def test_whatever_a_client_says_nothing_is_left_of_it(frames: list[Frame]) -> None:
    async def talk() -> None:
        ports = Ports()
        ports.may_read.set()
        async with serving(ports) as client:
            client.say(*frames)
            for _ in range(5):
                await asyncio.sleep(0)

    asyncio.run(talk())
