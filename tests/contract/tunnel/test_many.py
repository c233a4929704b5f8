"""Two thousand streams on one controller, and one reader that takes nothing beside them."""

from __future__ import annotations

import asyncio
import contextlib
import resource
from pathlib import Path

import pytest

from eaves.node.tunnel.abc import Offer
from eaves.testing.stream_node import StreamNode
from eaves.wire.tunnel import CloseCause, CloseCode, StreamRequest
from tests.contract.tunnel.conftest import TunnelStage

pytestmark = pytest.mark.contract

NODES, STREAMS_PER_NODE = 10, 200
REQUEST = StreamRequest("echo")


class Echo:
    async def serve(self, request: StreamRequest, offer: Offer) -> None:
        stream = await offer.accept()
        while (data := await stream.receive()) is not None:
            await stream.send(data)


class Spout:
    """Sends without end."""

    async def serve(self, request: StreamRequest, offer: Offer) -> None:
        stream = await offer.accept()
        while True:
            await stream.send(bytes(65536))


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


async def open_nodes(stage: TunnelStage, stack: contextlib.AsyncExitStack, count: int) -> list[StreamNode]:
    root_pem = stage.rig.identity.current.root_pem
    nodes = []
    for number in range(count):
        device = await stage.rig.onboarded(serial=f"N{number}")
        node = await stack.enter_async_context(StreamNode(device, stage.port, root_pem).connected())
        node.dialler.register("echo", Echo())
        node.dialler.register("spout", Spout())
        nodes.append(node)
    return nodes


@pytest.mark.timeout(600)
async def test_two_thousand_streams_on_one_controller(stage: TunnelStage) -> None:
    tunnel = stage.rig.side.tunnel
    async with contextlib.AsyncExitStack() as stack:
        nodes = await open_nodes(stage, stack, NODES)
        slots = asyncio.Semaphore(50)

        async def open_one(node: StreamNode) -> object:
            async with slots:
                return await tunnel.open(node.link.device_id, REQUEST)

        opening = [open_one(node) for _ in range(STREAMS_PER_NODE) for node in nodes]
        streams = [await future for future in asyncio.as_completed(opening)]
        assert len(tunnel) == NODES * STREAMS_PER_NODE
        for number, stream in enumerate(streams):
            await stream.send(b"%d" % number)  # type: ignore[attr-defined]  # as_completed loses the type
        for number, stream in enumerate(streams):
            assert await stream.receive() == b"%d" % number  # type: ignore[attr-defined]
        await asyncio.gather(*(stream.close() for stream in streams))  # type: ignore[attr-defined]
        await stage.rig.until(lambda: len(tunnel) == 0, "all to end")


async def test_a_reader_that_takes_nothing_costs_little_and_stops_its_writer_alone(stage: TunnelStage) -> None:
    tunnel = stage.rig.side.tunnel
    async with contextlib.AsyncExitStack() as stack:
        (node,) = await open_nodes(stage, stack, 1)
        stuck = [await tunnel.open(node.link.device_id, StreamRequest("spout")) for _ in range(5)]
        other = await tunnel.open(node.link.device_id, REQUEST)
        before = resident_bytes()
        for _ in range(300):
            await other.send(bytes(65536))
            assert await other.receive() == bytes(65536)
        # Five writers could have sent gigabytes by now; both ends of them are in this process.
        assert resident_bytes() - before < 64 << 20
        for stream in (*stuck, other):
            await stream.close(CloseCause(CloseCode.GONE))
        await stage.rig.until(lambda: not len(tunnel) and not len(node.dialler), "all to end")
