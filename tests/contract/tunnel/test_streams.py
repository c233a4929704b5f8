"""Streams between the real gateway and the real dialler over TLS: opening, refusing, ending, and bounds."""

from __future__ import annotations

import asyncio
import hashlib
import os

import pytest

from eaves.controller.tunnel import errors
from eaves.node.tunnel.abc import Offer, RefusedError
from eaves.tunnel.stream import StreamClosedError, TunnelStream
from eaves.wire.identifiers import DeviceId
from eaves.wire.tunnel import DONE, CloseCause, CloseCode, RefusalCode, StreamRequest
from tests.contract.tunnel.conftest import TunnelStage

pytestmark = pytest.mark.contract

ECHO = StreamRequest("echo", {"greeting": "hello"})
WAIT_S = 60.0


class Echo:
    """Answers a greeting with the request's, then sends back what comes; ends when the controller has no more."""

    def __init__(self) -> None:
        self.ended: asyncio.Queue[CloseCause | None] = asyncio.Queue()

    async def serve(self, request: StreamRequest, offer: Offer) -> None:
        stream: TunnelStream | None = None
        try:
            stream = await offer.accept()
            await stream.send(str(request.parameters["greeting"]).encode())
            while (data := await stream.receive()) is not None:
                await stream.send(data)
        finally:
            self.ended.put_nowait(stream.cause if stream is not None else None)

    async def wait_end(self) -> CloseCause | None:
        async with asyncio.timeout(WAIT_S):
            return await self.ended.get()


class Stuck:
    """Accepts and reads nothing, ever."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()

    async def serve(self, request: StreamRequest, offer: Offer) -> None:
        await offer.accept()
        try:
            await asyncio.Event().wait()
        finally:
            self.gone.set()


async def read_all(stream: TunnelStream) -> bytes:
    received = bytearray()
    async with asyncio.timeout(WAIT_S):
        while (data := await stream.receive()) is not None:
            received += data
    return bytes(received)


async def test_a_stream_carries_what_is_sent_both_ways_and_ends_as_done(stage: TunnelStage) -> None:
    async with stage.node() as (node, device):
        node.tunnel.register("echo", Echo())
        stream = await stage.rig.side.tunnel.open(device, ECHO)
        assert await stream.receive() == b"hello"
        sent = os.urandom(3_000_000)

        async def send() -> None:
            await stream.send(sent)
            await stream.send_end()

        sending = asyncio.create_task(send())
        received = await read_all(stream)
        await sending
        assert hashlib.sha256(received).digest() == hashlib.sha256(sent).digest()
        assert stream.cause == DONE
        await stage.rig.until(lambda: not len(stage.rig.side.tunnel) and not len(node.tunnel), "both ends to forget it")


async def test_a_message_arrives_as_one(stage: TunnelStage) -> None:
    async with stage.node() as (node, device):
        node.tunnel.register("echo", Echo())
        stream = await stage.rig.side.tunnel.open(device, ECHO)
        assert await stream.receive() == b"hello"
        for size in (1, 1000, 32_769, 65_536):
            await stream.send(bytes(size))
            assert await stream.receive() == bytes(size)
        await stream.close()


async def test_the_node_hears_why_the_controller_closed(stage: TunnelStage) -> None:
    async with stage.node() as (node, device):
        echo = Echo()
        node.tunnel.register("echo", echo)
        stream = await stage.rig.side.tunnel.open(device, ECHO)
        await stream.close(CloseCause(CloseCode.DONE, "enough"))
        assert await echo.wait_end() == CloseCause(CloseCode.DONE, "enough")
        with pytest.raises(StreamClosedError, match="enough"):
            await stream.send(b"more")


async def test_a_handler_that_reads_nothing_still_ends_when_the_user_goes(stage: TunnelStage) -> None:
    async with stage.node() as (node, device):
        stuck = Stuck()
        node.tunnel.register("stuck", stuck)
        stream = await stage.rig.side.tunnel.open(device, StreamRequest("stuck"))
        filling = asyncio.create_task(stream.send(bytes(64 << 20)))
        done, _ = await asyncio.wait([filling], timeout=1)
        assert not done, "64 MiB went to somebody who reads nothing"
        filling.cancel()
        await stream.close(CloseCause(CloseCode.GONE))
        async with asyncio.timeout(WAIT_S):
            await stuck.gone.wait()
        await stage.rig.until(lambda: not len(node.tunnel), "the node to forget it")


@pytest.mark.parametrize("code", list(RefusalCode))
async def test_a_refusal_reaches_the_caller_with_its_cause(stage: TunnelStage, code: RefusalCode) -> None:
    class Refusing:
        async def serve(self, request: StreamRequest, offer: Offer) -> None:
            raise RefusedError(code, "not today")

    async with stage.node() as (node, device):
        node.tunnel.register("echo", Refusing())
        with pytest.raises(errors.RefusedError, match="not today") as caught:
            await stage.rig.side.tunnel.open(device, ECHO)
        assert caught.value.refusal.code is code
        assert stage.rig.side.tunnel.waiting == 0


async def test_an_unknown_kind_is_refused_and_a_defect_is_a_failure(stage: TunnelStage) -> None:
    class Defect:
        async def serve(self, request: StreamRequest, offer: Offer) -> None:
            raise KeyError("x")

    async with stage.node() as (node, device):
        with pytest.raises(errors.RefusedError, match="no streams of kind 'echo'"):
            await stage.rig.side.tunnel.open(device, ECHO)
        node.tunnel.register("echo", Defect())
        with pytest.raises(errors.RefusedError, match="KeyError on the node"):
            await stage.rig.side.tunnel.open(device, ECHO)


async def test_a_node_that_is_away_is_told_at_once(stage: TunnelStage) -> None:
    with pytest.raises(errors.NotConnectedError):
        await stage.rig.side.tunnel.open(DeviceId("aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"), ECHO)


async def test_the_stop_of_either_daemon_ends_streams_with_that_cause(stage: TunnelStage) -> None:
    tunnel = stage.rig.side.tunnel
    async with stage.node() as (node, device):
        echo = Echo()
        node.tunnel.register("echo", echo)
        first = await tunnel.open(device, ECHO)
        assert await first.receive() == b"hello"
        tunnel.stop()
        assert await read_all(first) == b""
        assert first.cause is not None
        assert first.cause.code is CloseCode.STOPPING
        await echo.wait_end()
        second = await tunnel.open(device, ECHO)
        assert await second.receive() == b"hello"
    assert await read_all(second) == b""
    assert second.cause is not None
    assert second.cause.code is CloseCode.STOPPING


async def test_two_hundred_streams_of_one_node_at_once(stage: TunnelStage) -> None:
    async with stage.node() as (node, device):
        node.tunnel.register("echo", Echo())
        tunnel = stage.rig.side.tunnel
        streams = await asyncio.gather(*(tunnel.open(device, ECHO) for _ in range(200)))
        assert len(tunnel) == 200
        for number, stream in enumerate(streams):
            await stream.send(b"%d" % number)
        for number, stream in enumerate(streams):
            assert await stream.receive() == b"hello"
            assert await stream.receive() == b"%d" % number
        await asyncio.gather(*(stream.close() for stream in streams))
        await stage.rig.until(lambda: not len(tunnel) and not len(node.tunnel), "all to end")
