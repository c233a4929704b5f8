"""Cluster status → ZInfoKubeCluster (3.10 of the device API), with what Eaves tells beside it."""

from __future__ import annotations

from collections.abc import Sequence

from eaves.node.desired.model import ConfigProblem
from eaves.node.observed import ClusterStatus
from eaves.node.observed_cluster import ClusterState, KubeNodeStatus
from eaves.node.report.pieces import want_message, want_time
from eaves.wire.pb.eaves.cluster_pb2 import (
    ClusterAddOnInfo,
    ClusterInfoExtension,
    ClusterMemberInfo,
    ClusterOrders,
    ClusterSnapshotInfo,
)
from eaves.wire.pb.info import edge_node_cluster_pb2, info_pb2
from eaves.wire.pb.info.edge_node_cluster_pb2 import KubeNodeCondition, KubeNodeInfo, KubePodNameSpaceInfo
from eaves.wire.pb.info.info_pb2 import ZInfoKubeCluster, ZInfoMsg

_CONDITIONS = {
    "Ready": edge_node_cluster_pb2.KUBE_NODE_CONDITION_TYPE_READY,
    "MemoryPressure": edge_node_cluster_pb2.KUBE_NODE_CONDITION_TYPE_MEMORY_PRESSURE,
    "DiskPressure": edge_node_cluster_pb2.KUBE_NODE_CONDITION_TYPE_DISK_PRESSURE,
    "PIDPressure": edge_node_cluster_pb2.KUBE_NODE_CONDITION_TYPE_PID_PRESSURE,
    "NetworkUnavailable": edge_node_cluster_pb2.KUBE_NODE_CONDITION_TYPE_NETWORK_UNAVAIL,
}


def want_cluster_info(device_id: str, status: ClusterStatus, problems: Sequence[ConfigProblem], now: float) -> ZInfoMsg:
    """The message about this node's membership; the leader's tells of the whole cluster."""
    info = ZInfoKubeCluster(
        nodes=[_want_node(node) for node in status.nodes],
        pod_name_spaces=[
            KubePodNameSpaceInfo(
                name=count.namespace,
                pod_count=count.total,
                pod_running_count=count.running,
                pod_pending_count=count.pending,
                pod_failed_count=count.failed,
                pod_succeeded_count=count.succeeded,
            )
            for count in status.pods
        ],
        cluster_id=status.id,
        eaves=_want_extension(status, problems),
    )
    message = want_message(device_id, info_pb2.ZiKubeCluster, now)
    message.cluster_info.CopyFrom(info)
    return message


def want_refused_cluster_info(device_id: str, problems: Sequence[ConfigProblem], now: float) -> ZInfoMsg:
    """The message about a cluster that the config does not describe well enough to take part in it."""
    extension = ClusterInfoExtension(
        cluster_id=problems[0].object_id, state=ClusterState.FAILED, message=_say_problems(problems)
    )
    message = want_message(device_id, info_pb2.ZiKubeCluster, now)
    message.cluster_info.CopyFrom(ZInfoKubeCluster(cluster_id=problems[0].object_id, eaves=extension))
    return message


def want_removed_cluster_info(device_id: str, cluster_id: str, now: float) -> ZInfoMsg:
    """Nothing but the id: the node has left."""
    message = want_message(device_id, info_pb2.ZiKubeCluster, now)
    message.cluster_info.CopyFrom(ZInfoKubeCluster(cluster_id=cluster_id))
    return message


def _want_node(node: KubeNodeStatus) -> KubeNodeInfo:
    joined = edge_node_cluster_pb2.NODE_ADMISSION_JOINED
    return KubeNodeInfo(
        name=node.name,
        conditions=[
            KubeNodeCondition(type=_CONDITIONS[kind], set=is_set, last_transition_time=want_time(since))
            for kind, (is_set, since) in sorted(node.conditions.items())
            if kind in _CONDITIONS
        ],
        role_server=node.is_server,
        creation_timestamp=want_time(node.created_at),
        api_server_sersion=node.version,
        internal_ip=node.internal_ip,
        schedulable=node.is_schedulable,
        admission_status=joined if node.is_ready else edge_node_cluster_pb2.NODE_ADMISSION_JOINING,
        node_id=node.device_id,
    )


def _want_extension(status: ClusterStatus, problems: Sequence[ConfigProblem]) -> ClusterInfoExtension:
    return ClusterInfoExtension(
        cluster_id=status.id,
        state=status.state,
        waiting_for=status.waiting_for,
        message=_want_text(status, problems),
        version=status.version,
        api_ready=status.is_api_ready,
        etcd_healthy=status.is_etcd_healthy,
        etcd_members=status.etcd_members,
        certificates_expire_at=want_time(status.certificates_expire_at),
        snapshots=[
            ClusterSnapshotInfo(
                name=snapshot.name,
                taken_at=want_time(snapshot.taken_at),
                size_bytes=snapshot.size_bytes,
                shipped=snapshot.is_shipped,
                message=snapshot.message,
                scheduled=snapshot.is_scheduled,
            )
            for snapshot in status.snapshots
        ],
        members=[
            ClusterMemberInfo(
                id=member.id,
                name=member.name,
                ready=member.is_ready,
                drained=member.is_drained,
                removed=member.is_removed,
                version=member.version,
                message=member.message,
            )
            for member in status.members
        ],
        add_ons=[
            ClusterAddOnInfo(name=add_on.name, digest=add_on.digest, state=add_on.state, message=add_on.message)
            for add_on in status.add_ons
        ],
        done=ClusterOrders(
            snapshot=status.done.snapshot,
            restore=status.done.restore,
            rotate_certificates=status.done.rotate_certificates,
            rotate_token=status.done.rotate_token,
        ),
        restarts=status.restarts,
        node_name=status.node_name,
        is_server=status.is_server,
        ca_hash=status.ca_hash,
        has_data=status.has_data,
        keeps_data=status.keeps_data,
        is_leader=status.is_leader,
        order_message=status.order_message,
        fetched_version=status.fetched_version,
        fetch_message=status.fetch_message,
    )


def _want_text(status: ClusterStatus, problems: Sequence[ConfigProblem]) -> str:
    fault = status.fault
    parts = [status.message] if status.message else []
    if fault is not None:
        parts.append(f"{fault.message}; {fault.resolution}" if fault.resolution else fault.message)
    if problems:
        parts.append(_say_problems(problems))
    return "; ".join(dict.fromkeys(parts))


def _say_problems(problems: Sequence[ConfigProblem]) -> str:
    return "; ".join(
        f"{problem.message} ({problem.resolution})" if problem.resolution else problem.message for problem in problems
    )
