"""Cluster status on the wire."""

from __future__ import annotations

from eaves.node.desired.model import ConfigProblem, ObjectKind
from eaves.node.observed import ClusterStatus, Fault
from eaves.node.observed_cluster import (
    AddOnState,
    AddOnStatus,
    ClusterSnapshot,
    ClusterState,
    ClusterUsage,
    KubeNodeStatus,
    MemberStatus,
    OrdersSeen,
    PodCount,
)
from eaves.node.report.clusters import want_cluster_info, want_refused_cluster_info, want_removed_cluster_info
from eaves.node.report.facts import Load, Machine
from eaves.node.report.metrics import MetricsView, want_metrics
from eaves.wire.pb.info import edge_node_cluster_pb2, info_pb2

STATUS = ClusterStatus(
    id="c",
    name="shop",
    state=ClusterState.READY,
    node_name="a",
    is_server=True,
    version="v1.34.2+k3s1",
    is_api_ready=True,
    is_etcd_healthy=True,
    etcd_members=3,
    certificates_expire_at=1_800_000_000.0,
    restarts=1,
    fetched_version="v1.34.3+k3s1",
    fetch_message="tried",
    done=OrdersSeen(snapshot=4),
    snapshots=(ClusterSnapshot("scheduled-a-1", 5.0, 7, True, "", True),),
    members=(MemberStatus("d", "b", is_ready=True, version="v1.34.2+k3s1", message="held"),),
    add_ons=(AddOnStatus("metrics", "d1", AddOnState.READY),),
    nodes=(KubeNodeStatus("a", {"Ready": (True, 3.0), "Odd": (True, 0.0)}, True, 1.0, "v1.34.2+k3s1", "10.0.0.1"),),
    pods=(PodCount("shop", 3, 2, 1, 0, 0),),
)


def test_a_leader_tells_of_the_whole_cluster() -> None:
    message = want_cluster_info("device", STATUS, [], 10.0)
    assert message.ztype == info_pb2.ZiKubeCluster
    info = message.cluster_info
    assert info.cluster_id == "c"
    (node,) = info.nodes
    assert (node.name, node.role_server, node.internal_ip, node.schedulable) == ("a", True, "10.0.0.1", True)
    assert [condition.type for condition in node.conditions] == [edge_node_cluster_pb2.KUBE_NODE_CONDITION_TYPE_READY]
    assert node.admission_status == edge_node_cluster_pb2.NODE_ADMISSION_JOINED
    assert info.pod_name_spaces[0].pod_running_count == 2
    eaves = info.eaves
    assert (eaves.state, eaves.version, eaves.api_ready, eaves.etcd_members) == ("Ready", "v1.34.2+k3s1", True, 3)
    assert eaves.certificates_expire_at.seconds == 1_800_000_000
    assert eaves.snapshots[0].shipped
    assert eaves.members[0].message == "held"
    assert eaves.add_ons[0].state == "Ready"
    assert eaves.done.snapshot == 4
    assert (eaves.fetched_version, eaves.fetch_message) == ("v1.34.3+k3s1", "tried")


def test_what_a_cluster_uses_is_in_the_metrics() -> None:
    usage = ClusterUsage("c", "a", 250, 6.25, 5 << 30, 62.5)
    view = MetricsView(machine=Machine(), load=Load(1, 2, 3, 4), cluster=usage)
    metrics = want_metrics("device", view, 10.0).cm
    assert metrics.cluster_id == "c"
    (node,) = metrics.nodes
    assert (node.name, node.cpu_cores, node.cpu_usage, node.memory_usage_percentage) == ("a", 250, 6.25, 62.5)
    assert node.memory_usage == 2**32 - 1
    assert not want_metrics("device", MetricsView(machine=Machine(), load=Load(1, 2, 3, 4)), 10.0).HasField("cm")


def test_a_fault_is_told_with_its_remedy() -> None:
    status = ClusterStatus("c", "shop", ClusterState.FAILED, fault=Fault("X", "no port", "label one"))
    assert want_cluster_info("device", status, [], 1.0).cluster_info.eaves.message == "no port; label one"


def test_a_refused_cluster_and_one_that_was_left() -> None:
    problem = ConfigProblem(
        "c", "cluster shop", "BadClusterAddress", "no address", "write one", ObjectKind.CLUSTER, True
    )
    refused = want_refused_cluster_info("device", [problem], 1.0).cluster_info
    assert (refused.eaves.state, refused.eaves.message) == ("Failed", "no address (write one)")
    left = want_removed_cluster_info("device", "c", 1.0).cluster_info
    assert left.cluster_id == "c"
    assert not left.HasField("eaves")
