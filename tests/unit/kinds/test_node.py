"""Node as a view of EdgeNode: what kubectl prints, and which writes flow back."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from eaves.kinds.node import RESOURCE, project_node, unproject_node
from eaves.kube.schema import validate_schema
from eaves.testing.objects import DEVICE_ID, make_edgenode

NOW = 1795543200.0 + 3600

STATUS: dict[str, Any] = {
    "conditions": [
        {"type": kind, "status": status, "reason": "Seen", "message": "", "lastTransitionTime": "2026-11-24T18:00:00Z"}
        for kind, status in (("Connected", "True"), ("DiskPressure", "False"), ("Ready", "True"))
    ],
    "capacity": {"cpu": "2", "memory": "4Gi", "storage": "20Gi", "pods": "250"},
    "allocatable": {"cpu": "2", "memory": "3Gi", "storage": "18Gi", "pods": "250"},
    "addresses": [{"type": "InternalIP", "address": "192.0.2.7"}, {"type": "Hostname", "address": "box"}],
    "versions": {
        "daemon": "0.1.0",
        "os": "Debian GNU/Linux 13",
        "kernel": "6.12.1",
        "containerRuntime": "podman://5.4.2",
    },
    "inventory": {"architecture": "arm64"},
}


def cells(node: dict[str, Any]) -> dict[str, Any]:
    return {column.name: column.value(node, NOW) for column in RESOURCE.columns}


def test_a_ready_node_prints_as_kubectl_prints_nodes() -> None:
    node = project_node(make_edgenode(status=STATUS), NOW)
    assert list(validate_schema(RESOURCE.schema, node)) == []
    assert cells(node) == {
        "Name": "store-17",
        "Status": "Ready",
        "Roles": "edge",
        "Age": "60m",
        "Version": "v0.1.0",
        "Internal-IP": "192.0.2.7",
        "External-IP": "<none>",
        "OS-Image": "Debian GNU/Linux 13",
        "Kernel-Version": "6.12.1",
        "Container-Runtime": "podman://5.4.2",
    }
    assert node["metadata"]["uid"] == DEVICE_ID
    assert node["status"]["capacity"]["ephemeral-storage"] == "20Gi"
    assert node["metadata"]["labels"]["kubernetes.io/arch"] == "arm64"


def test_native_conditions_come_first_and_all_have_a_heartbeat() -> None:
    conditions = project_node(make_edgenode(status=STATUS), NOW)["status"]["conditions"]
    assert [condition["type"] for condition in conditions] == ["DiskPressure", "Ready", "Connected"]
    assert {condition["lastHeartbeatTime"] for condition in conditions} == {"2026-11-24T19:00:00Z"}


def test_a_node_that_nobody_heard_of_is_unknown() -> None:
    node = project_node(make_edgenode(approved=False), NOW)
    assert list(validate_schema(RESOURCE.schema, node)) == []
    assert cells(node)["Status"] == "Unknown"
    assert cells(node)["OS-Image"] == "<unknown>"


def test_cordon_shows_and_flows_back() -> None:
    edgenode = make_edgenode(status=STATUS)
    node = project_node(edgenode, NOW)
    node["spec"]["unschedulable"] = True
    cordoned = unproject_node(node, edgenode)
    assert cordoned["spec"]["unschedulable"] is True
    again = project_node(cordoned, NOW)
    assert cells(again)["Status"] == "Ready,SchedulingDisabled"
    assert again["spec"]["taints"] == [{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]
    del again["spec"]["unschedulable"]
    assert unproject_node(again, cordoned)["spec"] == edgenode["spec"]


def test_labels_annotations_and_taints_flow_back_and_nothing_else() -> None:
    edgenode = make_edgenode(status=STATUS)
    node = project_node(edgenode, NOW)
    node["metadata"]["labels"] |= {"region": "north", "kubernetes.io/arch": "amd64"}
    node["metadata"]["annotations"] = {"note": "x"}
    node["metadata"]["uid"] = "other"
    node["spec"]["taints"] = [{"key": "dedicated", "value": "gpu", "effect": "NoSchedule"}]
    node["spec"]["podCIDR"] = "10.0.0.0/24"
    node["status"] = {}
    changed = unproject_node(node, edgenode)
    assert changed["metadata"]["labels"] == {"region": "north"}
    assert changed["metadata"]["annotations"] == {"note": "x"}
    assert changed["metadata"]["uid"] == DEVICE_ID
    assert changed["spec"] == {
        "approved": True,
        "taints": [{"key": "dedicated", "value": "gpu", "effect": "NoSchedule"}],
    }
    assert changed["status"] == STATUS


labels = st.dictionaries(st.sampled_from(["a", "b/c", "region"]), st.text("xyz", max_size=3), max_size=3)
taints = st.lists(
    st.fixed_dictionaries({"key": st.sampled_from(["a", "b"]), "effect": st.just("NoSchedule")}),
    max_size=2,
    unique_by=lambda t: t["key"],
)


@given(labels, labels, taints, st.booleans())
def test_a_node_that_is_written_back_unchanged_changes_nothing(
    own: dict[str, str], notes: dict[str, str], tainted: list[dict[str, str]], cordoned: bool
) -> None:
    spec: dict[str, Any] = {"taints": tainted} if tainted else {}
    if cordoned:
        spec["unschedulable"] = True
    edgenode = make_edgenode(status=STATUS, **spec)
    if own:
        edgenode["metadata"]["labels"] = own
    if notes:
        edgenode["metadata"]["annotations"] = notes
    assert unproject_node(project_node(edgenode, NOW), edgenode) == edgenode


def test_a_bad_taint_is_told_with_its_path() -> None:
    node = project_node(make_edgenode(), NOW)
    node["spec"]["taints"] = [{"key": "a b", "effect": "NoSchedule"}]
    assert [fault.path for fault in RESOURCE.validate(node, None)] == ["spec.taints[0].key"]
