"""Nodes, pods and leases: views of EdgeNodes and Apps, and what writes to them do."""

from __future__ import annotations

from typing import Any

import pytest

from eaves.testing.asgi import AsgiClient
from eaves.testing.objects import DEVICE_ID, make_app, make_edgenode
from eaves.testing.operator_api import ApiBench

NODES = "/api/v1/nodes"
EDGENODES = "/apis/eaves.dev/v1alpha1/edgenodes"
PODS = "/api/v1/namespaces/default/pods"
APPS = "/apis/eaves.dev/v1alpha1/namespaces/default/apps"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"

HOST = {"addresses": [{"type": "InternalIP", "address": "192.0.2.7"}]}


async def patch(admin: AsgiClient, path: str, body: Any, kind: str = MERGE, **query: Any) -> Any:
    answer = await admin.call("PATCH", path, body, content_type=kind, **query)
    assert answer.status == 200, answer.body.decode()
    return answer.json()


async def test_a_node_has_its_edgenodes_version_and_uid(bench: ApiBench, admin: AsgiClient) -> None:
    await bench.put(make_edgenode(status=HOST))
    node, edge = await admin.get(f"{NODES}/store-17"), await admin.get(f"{EDGENODES}/store-17")
    assert node["kind"] == "Node"
    for name in ("uid", "resourceVersion", "creationTimestamp"):
        assert node["metadata"][name] == edge["metadata"][name]
    listed = await admin.get(NODES, labelSelector="kubernetes.io/hostname=store-17")
    assert [item["metadata"]["name"] for item in listed["items"]] == ["store-17"]
    assert (await admin.call("GET", f"{NODES}/other")).status == 404


async def test_labels_taints_and_cordon_reach_the_edgenode(bench: ApiBench, admin: AsgiClient) -> None:
    await bench.put(make_edgenode(status=HOST))
    node = await patch(admin, f"{NODES}/store-17", {"metadata": {"labels": {"zone": "north"}}}, STRATEGIC)
    assert node["metadata"]["labels"]["zone"] == "north"
    taints = [{"key": "gpu", "effect": "NoSchedule"}]
    await patch(admin, f"{NODES}/store-17", {"spec": {"unschedulable": True, "taints": taints}})
    edge = await admin.get(f"{EDGENODES}/store-17")
    assert (edge["metadata"]["labels"], edge["spec"]["unschedulable"], edge["spec"]["taints"]) == (
        {"zone": "north"},
        True,
        taints,
    )
    assert edge["status"] == HOST
    assert edge["metadata"]["generation"] == 2


async def test_a_put_of_a_node_locks_by_its_version(bench: ApiBench, admin: AsgiClient) -> None:
    await bench.put(make_edgenode())
    node = await admin.get(f"{NODES}/store-17")
    node["metadata"]["annotations"] = {"note": "x"}
    assert (await admin.call("PUT", f"{NODES}/store-17", node)).status == 200
    assert (await admin.call("PUT", f"{NODES}/store-17", node)).status == 409
    assert (await admin.get(f"{EDGENODES}/store-17"))["metadata"]["annotations"] == {"note": "x"}


async def test_an_applied_node_owns_its_labels_only(bench: ApiBench, admin: AsgiClient) -> None:
    await bench.put(make_edgenode())
    body = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "store-17", "labels": {"a": "1", "b": "2"}}}
    kind = "application/apply-patch+yaml"
    await patch(admin, f"{NODES}/store-17", body, kind, fieldManager="one")
    body["metadata"] = {"name": "store-17", "labels": {"a": "1"}}
    await patch(admin, f"{NODES}/store-17", body, kind, fieldManager="one")
    assert (await admin.get(f"{EDGENODES}/store-17"))["metadata"]["labels"] == {"a": "1"}
    missing = {**body, "metadata": {"name": "other"}}
    answer = await admin.call("PATCH", f"{NODES}/other", missing, content_type=kind, fieldManager="one")
    assert (answer.status, answer.json()["message"]) == (404, 'nodes "other" not found')


async def test_bad_writes_to_nodes(bench: ApiBench, admin: AsgiClient) -> None:
    await bench.put(make_edgenode())
    bad = {"spec": {"taints": [{"key": "a", "effect": "Sometimes"}]}}
    assert (await admin.call("PATCH", f"{NODES}/store-17", bad, content_type=MERGE)).status == 422
    assert (await admin.call("POST", NODES, {"metadata": {"name": "n"}})).status == 405
    assert (await admin.call("PUT", f"{NODES}/store-17/status", {})).status == 405


async def test_deleting_a_node_deletes_its_edgenode(bench: ApiBench, admin: AsgiClient) -> None:
    await bench.put(make_edgenode())
    answer = await admin.call("DELETE", f"{NODES}/store-17")
    assert answer.json()["details"]["kind"] == "nodes"
    assert (await admin.call("GET", f"{EDGENODES}/store-17")).status == 404
    assert (await admin.call("DELETE", f"{NODES}/store-17")).status == 404


async def test_nodes_are_watched_through_their_edgenodes(bench: ApiBench, admin: AsgiClient) -> None:
    await bench.put(make_edgenode())
    async with admin.open("GET", NODES, watch="1") as stream:
        assert (await stream.read_event())["type"] == "ADDED"
        await bench.set_status("EdgeNode", "", "store-17", HOST)
        event = await stream.read_event()
        assert (event["type"], event["object"]["status"]["addresses"]) == ("MODIFIED", HOST["addresses"])


async def test_leases_tell_the_last_contact_and_live_in_one_namespace(bench: ApiBench, admin: AsgiClient) -> None:
    await bench.put(make_edgenode())
    bench.contacts.seen[DEVICE_ID] = 1_795_550_400.0
    leases = "/apis/coordination.k8s.io/v1/namespaces/{}/leases"
    lease = await admin.get(leases.format("kube-node-lease") + "/store-17")
    assert lease["spec"]["renewTime"] == "2026-11-24T20:00:00.000000Z"
    assert len((await admin.get(leases.format("kube-node-lease")))["items"]) == 1
    assert (await admin.get(leases.format("default")))["items"] == []
    assert (await admin.call("GET", leases.format("default") + "/store-17")).status == 404
    assert len((await admin.get("/apis/coordination.k8s.io/v1/leases"))["items"]) == 1


async def test_pods_show_their_app_and_their_nodes_address(bench: ApiBench, admin: AsgiClient) -> None:
    await bench.put(make_edgenode(status=HOST))
    await bench.put(make_app("web", status={"phase": "Running", "nodeName": "store-17"}))
    await bench.put(make_app("db", nodeName="other"))
    pod = await admin.get(f"{PODS}/web")
    assert pod["metadata"]["ownerReferences"][0]["kind"] == "App"
    assert pod["status"]["hostIP"] == "192.0.2.7"
    on_node = await admin.get("/api/v1/pods", fieldSelector="spec.nodeName=store-17,status.phase!=Failed")
    assert [item["metadata"]["name"] for item in on_node["items"]] == ["web"]
    running = await admin.get("/api/v1/pods", fieldSelector="status.phase=Running")
    assert [item["metadata"]["name"] for item in running["items"]] == ["web"]
    labelled = await admin.get(PODS, labelSelector="eaves.dev/app=db")
    assert [item["metadata"]["name"] for item in labelled["items"]] == ["db"]
    pages = await admin.get(PODS, limit=1)
    assert len(pages["items"]) == 1
    rest = await admin.get(PODS, limit=1, **{"continue": pages["metadata"]["continue"]})
    assert [item["metadata"]["name"] for item in rest["items"]] == ["web"]


async def test_deleting_a_pod_restarts_its_app_and_makes_another_pod(bench: ApiBench, admin: AsgiClient) -> None:
    await bench.put(make_app("web"))
    before = await admin.get(f"{PODS}/web")
    async with admin.open("GET", PODS, watch="1", resourceVersion=before["metadata"]["resourceVersion"]) as stream:
        answer = await admin.call("DELETE", f"{PODS}/web")
        assert answer.json()["metadata"]["uid"] == before["metadata"]["uid"]
        events = [await stream.read_event(), await stream.read_event()]
    assert [event["type"] for event in events] == ["DELETED", "ADDED"]
    assert events[0]["object"]["metadata"]["uid"] == before["metadata"]["uid"]
    assert events[1]["object"]["metadata"]["uid"] != before["metadata"]["uid"]
    assert (await admin.get(f"{APPS}/web"))["spec"]["restartCounter"] == 1
    stale = {"preconditions": {"uid": before["metadata"]["uid"]}}
    assert (await admin.call("DELETE", f"{PODS}/web", stale)).status == 409
    assert (await admin.call("DELETE", f"{PODS}/web", dryRun="All")).status == 200
    assert (await admin.get(f"{APPS}/web"))["spec"]["restartCounter"] == 1
    assert (await admin.call("DELETE", PODS)).status == 200
    assert (await admin.get(f"{APPS}/web"))["spec"]["restartCounter"] == 2
    assert (await admin.call("DELETE", f"{PODS}/none")).status == 404


@pytest.mark.parametrize(
    "spec", [{"containers": [{"image": "nginx", "command": ["a"]}]}, {}, {"containers": 5}, None, []]
)
async def test_creating_a_pod_shows_the_app_to_write(admin: AsgiClient, spec: Any) -> None:
    answer = await admin.call("POST", PODS, {"metadata": {"name": "x"}, "spec": spec})
    assert answer.status == 405
    assert '"kind": "App"' in answer.json()["message"]


async def test_pods_have_no_other_writes(bench: ApiBench, admin: AsgiClient) -> None:
    await bench.put(make_app("web"))
    assert (await admin.call("PATCH", f"{PODS}/web", {}, content_type=MERGE)).status == 405
    assert (await admin.call("PUT", f"{PODS}/web", {})).status == 405


async def test_pods_of_a_cordoned_node_are_not_deleted_since_a_drain_would_only_restart_them(
    bench: ApiBench, admin: AsgiClient
) -> None:
    await bench.put(make_edgenode(unschedulable=True))
    await bench.put(make_app("web"))
    answer = await admin.call("DELETE", f"{PODS}/web")
    assert (answer.status, "spec.maintenance" in answer.json()["message"]) == (403, True)
    await patch(admin, f"{NODES}/store-17", {"spec": {"unschedulable": False}})
    assert (await admin.call("DELETE", f"{PODS}/web")).status == 200
