"""Serves ``apps/NAME/flows``: an app's flow records and DNS answers out of telemetry, newest last.

Records of one open connection replace each other: the last one counts. What the store holds is bounded, so is the answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec
from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from eaves.controller.api.http import Request, Response
from eaves.controller.api.routing import Query, Target
from eaves.controller.documents import key_of
from eaves.kinds import app, edgenode
from eaves.kube import status
from eaves.kube.errors import CauseType, FieldError
from eaves.store.abc import ObjectStore
from eaves.store.telemetry import Record, RecordKind, Telemetry
from eaves.wire.pb.flowlog import flowlog_pb2
from eaves.wire.pb.flowlog.flowlog_pb2 import DnsRequest, FlowMessage, FlowRecord

DEFAULT_LIMIT, LARGEST_LIMIT = 200, 2000
RECORDS_LIMIT = 2000
"""Messages of the device that are looked through."""
_NANOS = 10**9
_PROTOCOLS = {1: "ICMP", 6: "TCP", 17: "UDP", 58: "ICMPv6", 132: "SCTP"}


class AppFlows:
    """The subresource's handler."""

    def __init__(self, store: ObjectStore, telemetry: Telemetry, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._telemetry = telemetry
        self._clock = clock

    async def serve(self, request: Request, target: Target) -> Response:
        """Raises ApiError 404, 422."""
        limit, since_ns = parse_flow_options(request.query, target.name, self._clock())
        stored = await self._store.get(key_of(app.RESOURCE, target.namespace, target.name))
        if stored is None:
            raise status.not_found(app.RESOURCE.gvr.group, "apps", target.name)
        node_name = stored.fields.get("spec.nodeName", "")
        node = await self._store.get(key_of(edgenode.RESOURCE, "", node_name)) if node_name else None
        records = (
            await self._telemetry.list_records(RecordKind.FLOWS, node.uid, since_ns=since_ns, limit=RECORDS_LIMIT)
            if node is not None
            else ()
        )
        document = {
            "apiVersion": app.RESOURCE.api_version,
            "kind": "AppFlows",
            "metadata": {"name": target.name, "namespace": target.namespace},
            **summarise_flows(records, stored.uid, limit),
        }
        return Response(msgspec.json.encode(document))


def parse_flow_options(query: Query, name: str, now: float) -> tuple[int, int]:
    """(how many records at most, since when in Unix nanoseconds). Raises ApiError 422."""
    faults: list[FieldError] = []
    limit = _parse_number(query, "limit", LARGEST_LIMIT, faults)
    seconds = _parse_number(query, "sinceSeconds", 1 << 31, faults)
    if faults:
        raise status.invalid(app.RESOURCE.gvr.group, "AppFlows", name, faults)
    return limit or DEFAULT_LIMIT, int((now - seconds) * _NANOS) if seconds else 0


def summarise_flows(records: Iterable[Record], app_uid: str, limit: int) -> dict[str, list[dict[str, Any]]]:
    """``flows`` and ``dns`` of one app in the order of their begin. Pure."""
    flows: dict[tuple[Any, ...], dict[str, Any]] = {}
    names: list[dict[str, Any]] = []
    for record in records:
        try:
            message = FlowMessage.FromString(record.payload)
        except DecodeError:
            continue
        if message.scope.uuid.lower() != app_uid:
            continue
        for flow in message.flows:
            flows[_identify(flow)] = _render_flow(flow, message.scope.intf)
        names += [_render_request(request) for request in message.dnsReqs]
    ordered = sorted(flows.values(), key=lambda flow: str(flow["startTime"]))
    return {"flows": ordered[-limit:], "dns": names[-limit:]}


def _identify(flow: FlowRecord) -> tuple[Any, ...]:
    """What stays the same while a connection lives."""
    five = flow.flow
    start = (flow.startTime.seconds, flow.startTime.nanos)
    return (five.src, five.srcPort, five.dest, five.destPort, five.protocol, flow.inbound, flow.action, *start)


def _render_flow(flow: FlowRecord, interface: str) -> dict[str, Any]:
    five = flow.flow
    return {
        "interface": interface,
        "direction": "Ingress" if flow.inbound else "Egress",
        "protocol": _PROTOCOLS.get(five.protocol, str(five.protocol)),
        "address": five.src,
        "port": five.srcPort,
        "farAddress": five.dest,
        "farPort": five.destPort,
        "action": "Drop" if flow.action == flowlog_pb2.ActionDrop else "Accept",
        "rule": flow.aclName,
        "ruleId": flow.aclId,
        "startTime": _render_time(flow.startTime),
        "endTime": _render_time(flow.endTime),
        "sentBytes": flow.txBytes,
        "sentPackets": flow.txPkts,
        "receivedBytes": flow.rxBytes,
        "receivedPackets": flow.rxPkts,
    }


def _render_request(request: DnsRequest) -> dict[str, Any]:
    return {
        "name": request.hostName,
        "addresses": list(request.addrs),
        "time": _render_time(request.requestTime),
    }


def _render_time(stamp: Timestamp) -> str | None:
    """None for a time that is not there, or that no calendar has."""
    if not 0 < stamp.seconds < 253_402_300_800:
        return None
    return datetime.fromtimestamp(stamp.seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _parse_number(query: Query, name: str, largest: int, faults: list[FieldError]) -> int:
    """0 when it is not given."""
    text = query.get(name, "")
    if not text:
        return 0
    if text.isascii() and text.isdecimal() and len(text) < 12 and 0 < int(text) <= largest:
        return int(text)
    faults.append(FieldError(name, CauseType.INVALID, f"must be a number from 1 to {largest}"))
    return 0
