"""metrics.k8s.io: use of nodes and pods, in the form of the Kubernetes metrics server."""

from __future__ import annotations

import time
from collections.abc import Mapping

import pytest

from eaves.kinds.pod_projection import APP_LABEL
from eaves.kinds.times import parse_time
from eaves.store.telemetry import RecordKind
from eaves.testing.asgi import AsgiClient
from eaves.testing.objects import DEVICE_ID, make_app, make_edgenode, uid_of
from eaves.testing.operator_api import ApiBench
from eaves.wire.pb.metrics.metrics_pb2 import ZMetricMsg

ROOT = "/apis/metrics.k8s.io/v1beta1"
PODS = f"{ROOT}/namespaces/default/pods"
RUNNING = {"phase": "Running", "nodeName": "store-17"}
SECOND = 10**9


async def send_metrics(
    bench: ApiBench, at: float, *, since: float, node_cpu_s: float = 0, apps: Mapping[str, float] = {}
) -> None:
    """Store a message of the device; ``apps`` are seconds of processor time since ``since``, by app name."""
    message = ZMetricMsg(devID=DEVICE_ID)
    message.atTimeStamp.seconds = int(at)
    message.dm.cpuMetric.total_ns = int(node_cpu_s * SECOND)
    message.dm.memory.usedMem = 900
    for name, cpu_s in apps.items():
        app = message.am.add(AppID=uid_of("App", name))
        app.cpu.total_ns = int(cpu_s * SECOND)
        app.cpu.upTime.seconds = int(since)
        app.appMemory.usedMB = 64
    await bench.telemetry.append_record(RecordKind.METRICS, DEVICE_ID, 1, message.SerializeToString())


@pytest.fixture
async def measured(bench: ApiBench) -> ApiBench:
    """Node store-17 uses half a processor; its apps web and db use a quarter and nothing, app stopped does not run."""
    await bench.put(make_edgenode())
    await bench.put(make_app("web", metadata={"labels": {"tier": "front"}}, status=RUNNING))
    await bench.put(make_app("db", status=RUNNING))
    await bench.put(make_app("stopped", status={"phase": "Halted", "nodeName": "store-17"}))
    now = time.time()
    await send_metrics(bench, now - 60, since=now - 3600, node_cpu_s=1000, apps={"web": 10, "db": 5, "stopped": 1})
    await send_metrics(bench, now, since=now - 3600, node_cpu_s=1030, apps={"web": 25, "db": 5, "stopped": 1})
    return bench


async def test_a_pod_tells_what_its_container_uses(measured: ApiBench, admin: AsgiClient) -> None:
    found = await admin.get(f"{PODS}/web")
    assert (found["kind"], found["apiVersion"]) == ("PodMetrics", "metrics.k8s.io/v1beta1")
    assert found["containers"] == [{"name": "app", "usage": {"cpu": f"{SECOND // 4}n", "memory": "65536Ki"}}]
    assert found["window"] == "60s"
    assert abs(parse_time(found["timestamp"]) - time.time()) < 60
    assert found["metadata"]["labels"] == {"tier": "front", APP_LABEL: "web"}


async def test_a_node_tells_what_it_uses(measured: ApiBench, admin: AsgiClient) -> None:
    found = await admin.get(f"{ROOT}/nodes/store-17")
    assert found["usage"] == {"cpu": f"{SECOND // 2}n", "memory": f"{900 * 1024}Ki"}
    listed = await admin.get(f"{ROOT}/nodes", labelSelector="kubernetes.io/hostname=store-17")
    assert [item["metadata"]["name"] for item in listed["items"]] == ["store-17"]
    assert (await admin.get(f"{ROOT}/nodes", labelSelector="kubernetes.io/hostname=other"))["items"] == []


async def test_pods_are_found_by_labels_names_and_everywhere(measured: ApiBench, admin: AsgiClient) -> None:
    async def names(path: str, **query: str) -> list[str]:
        return [item["metadata"]["name"] for item in (await admin.get(path, **query))["items"]]

    assert await names(f"{ROOT}/pods") == ["db", "web"]
    assert await names(PODS, labelSelector="tier=front") == ["web"]
    assert await names(PODS, labelSelector="tier!=front") == ["db"]
    assert await names(PODS, fieldSelector="metadata.name=db") == ["db"]
    assert await names(f"{ROOT}/namespaces/other/pods") == []


async def test_pages_skip_what_has_no_figures(measured: ApiBench, admin: AsgiClient) -> None:
    found, token = [], ""
    for _ in range(4):
        page = await admin.get(PODS, limit=1, **{"continue": token})
        found += [item["metadata"]["name"] for item in page["items"]]
        token = page["metadata"].get("continue", "")
        if not token:
            break
    assert found == ["db", "web"]


async def test_what_has_no_figures_is_not_there(bench: ApiBench, admin: AsgiClient) -> None:
    await bench.put(make_edgenode())
    await bench.put(make_app("web", status=RUNNING))
    await bench.put(make_app("nowhere", nodeName="none", status=RUNNING))
    assert (await admin.get(f"{ROOT}/pods"))["items"] == []
    answer = await admin.call("GET", f"{PODS}/web")
    assert (answer.status, answer.json()["message"]) == (404, 'pods.metrics.k8s.io "web" not found')
    assert (await admin.get(f"{ROOT}/nodes"))["items"] == []


async def test_one_sample_is_enough_for_an_app_and_too_few_for_a_node(bench: ApiBench, admin: AsgiClient) -> None:
    await bench.put(make_edgenode())
    await bench.put(make_app("web", status=RUNNING))
    now = time.time()
    await send_metrics(bench, now, since=now - 3600, node_cpu_s=9, apps={"web": 360})
    assert (await admin.get(f"{PODS}/web"))["containers"][0]["usage"]["cpu"] == f"{SECOND // 10}n"
    assert (await admin.get(f"{ROOT}/nodes"))["items"] == []


async def test_metrics_are_only_read(measured: ApiBench, admin: AsgiClient) -> None:
    assert (await admin.call("DELETE", f"{PODS}/web")).status == 405
    assert (await admin.call("POST", PODS, {"metadata": {"name": "x"}})).status == 405
    assert (await admin.call("GET", PODS, watch="1")).status == 405


async def test_discovery_names_the_kinds(bench: ApiBench, admin: AsgiClient) -> None:
    listed = await admin.get(ROOT)
    assert [(item["name"], item["kind"], item["verbs"]) for item in listed["resources"]] == [
        ("nodes", "NodeMetrics", ["get", "list"]),
        ("pods", "PodMetrics", ["get", "list"]),
    ]


async def test_tables_show_round_figures(measured: ApiBench, admin: AsgiClient) -> None:
    accept = {"accept": "application/json;as=Table;g=meta.k8s.io;v=v1"}
    table = (await admin.call("GET", f"{PODS}/web", headers=accept)).json()
    assert [row["cells"] for row in table["rows"]] == [["web", "250m", "64Mi", "60s"]]


async def test_a_long_window_is_written_as_kubectl_reads_it(bench: ApiBench, admin: AsgiClient) -> None:
    await bench.put(make_edgenode())
    await bench.put(make_app("web", status=RUNNING))
    now = time.time()
    await send_metrics(bench, now, since=now - 40 * 86_400, apps={"web": 10})
    window = (await admin.get(f"{PODS}/web"))["window"]
    assert window == f"{40 * 86_400}s"
