"""The real kubectl reads metrics: ``top`` with its options."""

from __future__ import annotations

import json
import time

import pytest

from eaves.store.telemetry import RecordKind
from eaves.testing.kubectl import Kubectl
from eaves.testing.objects import make_app, make_edgenode
from eaves.testing.operator_api import ServedApi
from eaves.wire.pb.metrics.metrics_pb2 import ZMetricMsg

pytestmark = pytest.mark.contract

DEVICE_ID = "11111111-2222-4333-8444-000000000001"
STATUS = {"phase": "Running", "nodeName": "top-1"}


@pytest.fixture
def measured(kubectl: Kubectl, served: ServedApi, space: str) -> str:
    """A namespace with apps web (250m, 64Mi) and db (10m, 512Mi) on node top-1 (1500m of 2 processors, half its memory)."""
    capacity = {"cpu": "2", "memory": "2000Mi"}
    node = make_edgenode("top-1", status={"capacity": capacity, "allocatable": capacity})
    node["metadata"]["uid"] = DEVICE_ID
    served.call(served.bench.put(node))
    for name, tier in (("web", "front"), ("db", "back")):
        app = make_app(name, namespace=space, metadata={"labels": {"tier": tier}}, status=STATUS, nodeName="top-1")
        served.call(served.bench.put(app))
    uids = {
        item["metadata"]["name"]: item["metadata"]["uid"]
        for item in kubectl.ok("get", "apps", "-n", space, "-o", "json").json()["items"]
    }
    now = int(time.time())
    for at, node_s, web_s, db_s in ((now - 60, 1000, 100.0, 7.0), (now, 1090, 115.0, 7.6)):
        message = ZMetricMsg(devID=DEVICE_ID)
        message.atTimeStamp.seconds = at
        message.dm.cpuMetric.total_ns = node_s * 10**9
        message.dm.memory.usedMem = 1000
        for name, cpu_s, mib in (("web", web_s, 64), ("db", db_s, 512)):
            found = message.am.add(AppID=uids[name])
            found.cpu.total_ns, found.cpu.upTime.seconds, found.appMemory.usedMB = int(cpu_s * 1e9), now - 3600, mib
        payload = message.SerializeToString()
        served.call(served.bench.telemetry.append_record(RecordKind.METRICS, DEVICE_ID, at, payload))
    return space


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_top_shows_nodes_and_pods(kubectl: Kubectl, measured: str) -> None:
    assert ["top-1", "1500m", "75%", "1000Mi", "50%"] in rows(kubectl.ok("top", "nodes", "--no-headers").out)
    assert rows(kubectl.ok("top", "node", "top-1").out)[1] == ["top-1", "1500m", "75%", "1000Mi", "50%"]
    found = rows(kubectl.ok("top", "pods", "-n", measured, "--no-headers").out)
    assert found == [["db", "10m", "512Mi"], ["web", "250m", "64Mi"]]
    assert rows(kubectl.ok("top", "pod", "web", "-n", measured, "--containers", "--no-headers").out) == [
        ["web", "app", "250m", "64Mi"]
    ]


def test_top_sorts_and_selects(kubectl: Kubectl, measured: str) -> None:
    def names(*options: str) -> list[str]:
        return [row[0] for row in rows(kubectl.ok("top", "pods", "-n", measured, "--no-headers", *options).out)]

    assert names("--sort-by=cpu") == ["web", "db"]
    assert names("--sort-by=memory") == ["db", "web"]
    assert names("-l", "tier=front") == ["web"]
    everywhere = rows(kubectl.ok("top", "pods", "-A", "--no-headers").out)
    assert [measured, "web", "250m", "64Mi"] in everywhere
    total = rows(kubectl.ok("top", "pods", "-n", measured, "--sum").out)[-1]
    assert total == ["260m", "576Mi"]


def test_metrics_are_explained_and_do_not_hide_the_core_kinds(kubectl: Kubectl, measured: str) -> None:
    assert "window" in kubectl.ok("explain", "podmetrics").out
    assert "v1" in kubectl.ok("explain", "pods").out.splitlines()[1]
    assert kubectl.ok("get", "podmetrics", "web", "-n", measured, "--no-headers").out.split() == [
        "web",
        "250m",
        "64Mi",
        "60s",
    ]
    listed = json.loads(kubectl.ok("get", "--raw", f"/apis/metrics.k8s.io/v1beta1/namespaces/{measured}/pods").out)
    assert (listed["kind"], len(listed["items"])) == ("PodMetricsList", 2)


def test_top_of_a_pod_without_figures_says_so(kubectl: Kubectl, measured: str, served: ServedApi) -> None:
    served.call(served.bench.put(make_app("fresh", namespace=measured, status=STATUS, nodeName="top-1")))
    assert "not found" in kubectl.fails("top", "pod", "fresh", "-n", measured)
