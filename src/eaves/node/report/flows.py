"""Flow records → FlowMessage, and the service that brings them to the controller (1.9 and 3.14 of the device API).

One message at a time, tried again after 1, 2, 4 … 128 s; when the queue is nearly full a message that fails is dropped instead, since
new records are worth more than old ones.
"""

from __future__ import annotations

import asyncio
import logging

from eaves.kit.retry import Backoff
from eaves.node.flows.model import DnsRecord, FlowBatch, FlowCount, FlowFigures, FlowRecord
from eaves.node.link.calls import LINK_ERRORS, Controller
from eaves.node.link.queues import Reaction, plan_reaction
from eaves.node.observed import FLOW_LIMIT, Observations
from eaves.node.report.pieces import want_time
from eaves.wire.paths import Endpoint
from eaves.wire.pb.flowlog import flowlog_pb2
from eaves.wire.pb.flowlog.flowlog_pb2 import DnsRequest, FlowMessage, IpFlow, ScopeInfo
from eaves.wire.pb.flowlog.flowlog_pb2 import FlowRecord as FlowRecordMessage

log = logging.getLogger(__name__)

FIRST_RETRY_S, LIMIT_RETRY_S = 1.0, 128.0
_NEARLY_FULL = FLOW_LIMIT * 9 // 10


class FlowUploader:
    """Takes batches from the board and sends them, for ever."""

    def __init__(self, controller: Controller, observations: Observations) -> None:
        self._controller = controller
        self._observations = observations
        self._sent = FlowCount()
        self._failed = FlowCount()

    def figures(self) -> FlowFigures:
        """For metrics."""
        return FlowFigures(self._sent, self._observations.flows_dropped, self._failed)

    async def run(self) -> None:
        while True:
            batch = await self._observations.take_flows()
            assert self._controller.device_id is not None
            await self._send(batch, want_flow_message(self._controller.device_id, batch).SerializeToString())

    async def _send(self, batch: FlowBatch, payload: bytes) -> None:
        backoff = Backoff(FIRST_RETRY_S, LIMIT_RETRY_S)
        while True:
            try:
                reaction = plan_reaction((await self._controller.post(Endpoint.FLOWLOG, payload)).status)
            except LINK_ERRORS:
                reaction = Reaction.RETRY
            if reaction is Reaction.DONE:
                self._sent = self._sent.plus(batch)
                return
            self._failed = self._failed.plus(batch)
            if reaction is not Reaction.RETRY:
                self._observations.drop_flows(batch)
                return
            if self._observations.flows_waiting > _NEARLY_FULL:
                log.info("flow records are dropped, too many wait: waiting=%d", self._observations.flows_waiting)
                self._observations.drop_flows(batch)
                return
            await asyncio.sleep(backoff.next_s())


def want_flow_message(device_id: str, batch: FlowBatch) -> FlowMessage:
    scope = batch.scope
    return FlowMessage(
        devId=device_id,
        scope=ScopeInfo(uuid=scope.app_id, intf=scope.interface, localIntf=scope.link, netInstUUID=scope.network_id),
        flows=[_want_flow(record) for record in batch.flows],
        dnsReqs=[_want_request(record) for record in batch.dns],
    )


def _want_flow(record: FlowRecord) -> FlowRecordMessage:
    return FlowRecordMessage(
        flow=IpFlow(
            src=record.address,
            srcPort=record.port,
            dest=record.far_address,
            destPort=record.far_port,
            protocol=record.protocol,
        ),
        inbound=record.is_inbound,
        aclId=record.rule_id,
        aclName=record.rule_name,
        startTime=want_time(record.started_at),
        endTime=want_time(record.ended_at),
        txBytes=record.sent_bytes,
        txPkts=record.sent_packets,
        rxBytes=record.received_bytes,
        rxPkts=record.received_packets,
        action=flowlog_pb2.ActionAccept if record.is_allowed else flowlog_pb2.ActionDrop,
    )


def _want_request(record: DnsRecord) -> DnsRequest:
    return DnsRequest(hostName=record.name, addrs=record.addresses, requestTime=want_time(record.at))
