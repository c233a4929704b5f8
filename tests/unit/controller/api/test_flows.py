"""``apps/NAME/flows``: records of one app, the last word on each connection."""

from __future__ import annotations

import pytest

from eaves.cli import flows as table
from eaves.store.telemetry import RecordKind
from eaves.testing.asgi import AsgiClient
from eaves.testing.objects import DEVICE_ID, make_app, make_edgenode, uid_of
from eaves.testing.operator_api import ADMIN_TOKEN, ApiBench
from eaves.wire.pb.flowlog import flowlog_pb2
from eaves.wire.pb.flowlog.flowlog_pb2 import FlowMessage

FLOWS = "/apis/eaves.dev/v1alpha1/namespaces/default/apps/web/flows"
START = 1_795_550_400


@pytest.fixture
async def admin(bench: ApiBench) -> AsgiClient:
    await bench.put(make_edgenode())
    await bench.put(make_app("web"))
    return AsgiClient(bench.api, ADMIN_TOKEN)


async def send(
    bench: ApiBench, port: int, *, app: str = "web", ended: int = 0, sent: int = 0, is_drop: bool = False
) -> None:
    message = FlowMessage(devId=DEVICE_ID)
    message.scope.uuid, message.scope.intf = uid_of("App", app), "default"
    flow = message.flows.add(aclId=0 if is_drop else 12, aclName="" if is_drop else "web", txBytes=sent)
    five = flow.flow
    five.src, five.srcPort, five.dest, five.destPort, five.protocol = "10.0.0.2", 40000, "192.0.2.7", port, 6
    flow.action = flowlog_pb2.ActionDrop if is_drop else flowlog_pb2.ActionAccept
    flow.startTime.seconds, flow.endTime.seconds = START + port, ended
    request = message.dnsReqs.add(hostName="example.org", addrs=["192.0.2.7"])
    request.requestTime.seconds = START
    await bench.telemetry.append_record(RecordKind.FLOWS, DEVICE_ID, 1, message.SerializeToString())


async def test_the_last_word_on_each_connection_of_the_app_counts(bench: ApiBench, admin: AsgiClient) -> None:
    await send(bench, 443, sent=10)
    await send(bench, 80, is_drop=True, ended=START + 90)
    await send(bench, 443, sent=3000, ended=START + 500)
    await send(bench, 22, app="other")
    await bench.telemetry.append_record(RecordKind.FLOWS, DEVICE_ID, 1, b"\xff")
    found = await admin.get(FLOWS)
    assert (found["kind"], found["metadata"]["name"]) == ("AppFlows", "web")
    assert [(flow["farPort"], flow["action"], flow["rule"], flow["sentBytes"]) for flow in found["flows"]] == [
        (80, "Drop", "", 0),
        (443, "Accept", "web", 3000),
    ]
    assert found["dns"][0]["addresses"] == ["192.0.2.7"]
    shown = table.render_flows(found).splitlines()
    assert shown[1].split()[1:7] == ["Drop", "Egress", "TCP", "10.0.0.2:40000", "192.0.2.7:80", "default"]
    assert shown[2].split()[1] == "Closed"
    assert "3 KiB" in shown[2]
    assert "example.org" in table.render_dns(found)


async def test_limits_and_strange_questions(bench: ApiBench, admin: AsgiClient) -> None:
    for port in (1, 2, 3):
        await send(bench, port)
    assert [flow["farPort"] for flow in (await admin.get(FLOWS, limit=2))["flows"]] == [2, 3]
    assert len((await admin.get(FLOWS, sinceSeconds=60))["flows"]) == 3
    assert (await admin.call("GET", FLOWS, limit="many")).status == 422
    assert (await admin.call("GET", FLOWS, sinceSeconds="-1")).status == 422
    assert (await admin.call("GET", FLOWS.replace("/web/", "/none/"))).status == 404
    assert "disableFlowlog" in table.render_flows({"flows": []})
