"""Flow records on their way to the controller, and what the metrics say of them."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, cast

import pytest
from msgspec import Struct

from eaves.node.flows.model import DnsRecord, FlowBatch, FlowCount, FlowFigures, FlowRecord, FlowScope
from eaves.node.observed import FLOW_LIMIT, Observations
from eaves.node.report import flows
from eaves.node.report.facts import Load, Machine
from eaves.node.report.metrics import MetricsView, want_metrics
from eaves.wire.pb.flowlog.flowlog_pb2 import FlowMessage

FLOW = FlowRecord("10.0.0.2", 4000, "192.0.2.7", 443, 6, False, True, 1, "web", 100.0)
BATCH = FlowBatch(FlowScope("app", "eth0", "evv1", "net"), (FLOW, FLOW), (DnsRecord("shop.example", (), 99.0),))


class Answer(Struct):
    status: int


class Controller:
    """Gives these answers and then none."""

    device_id = "device"

    def __init__(self, *statuses: int) -> None:
        self.got: list[FlowMessage] = []
        self.is_done = asyncio.Event()
        self._statuses = list(statuses)

    async def post(self, _: object, payload: bytes) -> Answer:
        if not self._statuses:
            self.is_done.set()
            await asyncio.Event().wait()
        self.got.append(FlowMessage.FromString(payload))
        return Answer(self._statuses.pop(0))


async def upload(controller: Controller, observations: Observations) -> FlowFigures:
    """What the figures are once all answers were given and the next message is on its way."""
    uploader = flows.FlowUploader(cast(Any, controller), observations)
    run = asyncio.create_task(uploader.run())
    done = asyncio.create_task(controller.is_done.wait())
    await asyncio.wait((run, done), return_when=asyncio.FIRST_COMPLETED)
    run.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await run
    return uploader.figures()


async def test_messages_are_sent_tried_again_and_dropped_and_all_of_it_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(flows, "FIRST_RETRY_S", 0.001)
    observations = Observations()
    for _ in range(3):
        observations.post_flows(BATCH)
    controller = Controller(500, 201, 413)
    figures = await upload(controller, observations)
    assert [len(message.flows) for message in controller.got] == [2, 2, 2]
    assert figures == FlowFigures(sent=FlowCount(1, 2, 1), dropped=FlowCount(1, 2, 1), failed=FlowCount(2, 4, 2))
    metric = want_metrics(
        "device", MetricsView(machine=Machine(), load=Load(0, 0, 0, 0), flows=figures), 1.0
    ).dm.flowlog
    assert (metric.messages.success, metric.messages.drops, metric.messages.failed_attempts) == (1, 1, 2)
    assert (metric.flows.success, metric.flows.drops, metric.flows.failed_attempts) == (2, 2, 4)
    assert (metric.dns_requests.success, metric.dns_requests.drops, metric.dns_requests.failed_attempts) == (1, 1, 2)


async def test_a_nearly_full_queue_is_not_held_up_by_one_message() -> None:
    observations = Observations()
    for _ in range(FLOW_LIMIT + 5):
        observations.post_flows(BATCH)
    assert observations.flows_dropped == FlowCount(5, 10, 5)
    figures = await upload(Controller(500), observations)
    assert figures.dropped.messages == 6
    assert figures.failed.messages == 1
