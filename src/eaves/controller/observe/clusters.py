"""A member's ZInfoKubeCluster → what it says, in plain values: the planner of clusters takes these.

Eaves nodes tell of themselves in the extension, the leader of all members. A device without it (EVE's Kubernetes flavour) tells of the
cluster's nodes by the public fields alone.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from eaves.controller.observe.pieces import time_of
from eaves.kinds.k3scluster_status import AddOnStatus, ClusterOrderCounters, ClusterSnapshot, PodCounts
from eaves.wire.pb.eaves.cluster_pb2 import ClusterInfoExtension, ClusterOrders
from eaves.wire.pb.info import edge_node_cluster_pb2 as kube
from eaves.wire.pb.info.info_pb2 import ZInfoKubeCluster

READY = "Ready"
_MOST = 512
"""Snapshots, nodes and pods' namespaces of one message that are looked at."""
_LONGEST = 1024
"""Characters of a message that are kept."""


class MemberView(Struct, frozen=True):
    """What the leader tells of a member."""

    ready: bool = False
    drained: bool = False
    removed: bool = False
    version: str = ""
    message: str = ""


class MemberReport(Struct, frozen=True, kw_only=True):
    """What a member tells. ``has_left``: it has no trace of the cluster any more. ``state`` is empty for a device that tells none."""

    has_left: bool = False
    state: str = ""
    message: str = ""
    version: str = ""
    is_server: bool = False
    api_ready: bool = False
    etcd_healthy: bool = False
    etcd_members: int = 0
    has_data: bool = False
    keeps_data: bool = False
    """When it leaves, its data stay."""
    is_leader: bool = False
    ca_hash: str = ""
    restarts: int = 0
    certificates_expire_at: str = ""
    done: ClusterOrderCounters = ClusterOrderCounters()
    order_message: str = ""
    fetched_version: str = ""
    fetch_message: str = ""
    views: Mapping[str, MemberView] = {}
    """By the UUID of the device; of a device that tells by the public fields, by the Node's name where that has no UUID."""
    seq: int = 0
    """Of two reports the later has the higher number."""
    snapshots: tuple[ClusterSnapshot, ...] = ()
    add_ons: tuple[AddOnStatus, ...] = ()
    pods: PodCounts | None = None


def observe_cluster(info: ZInfoKubeCluster) -> MemberReport:
    """What the message says. A message with nothing but the cluster's id tells that the device has left."""
    if [field.name for field, _ in info.ListFields()] == ["cluster_id"]:
        return MemberReport(has_left=True)
    if not info.HasField("eaves"):
        return _observe_public(info)
    told = info.eaves
    return MemberReport(
        state=told.state[:_LONGEST],
        message=_explain(told),
        version=told.version[:_LONGEST],
        is_server=told.is_server,
        api_ready=told.is_server and told.api_ready,
        etcd_healthy=told.etcd_healthy,
        etcd_members=told.etcd_members,
        has_data=told.has_data,
        keeps_data=told.keeps_data,
        is_leader=told.is_leader,
        ca_hash=told.ca_hash[:64],
        restarts=told.restarts,
        certificates_expire_at=time_of(told.certificates_expire_at),
        done=counters_of(told.done),
        order_message=told.order_message[:_LONGEST],
        fetched_version=told.fetched_version[:_LONGEST],
        fetch_message=told.fetch_message[:_LONGEST],
        views={
            view.id: MemberView(view.ready, view.drained, view.removed, view.version, view.message[:_LONGEST])
            for view in told.members
        },
        snapshots=tuple(
            ClusterSnapshot(
                name=snapshot.name[:_LONGEST],
                taken_at=time_of(snapshot.taken_at) or None,
                size=str(snapshot.size_bytes) if snapshot.size_bytes else None,
                shipped=snapshot.shipped,
                scheduled=snapshot.scheduled,
                message=snapshot.message[:_LONGEST],
            )
            for snapshot in sorted(told.snapshots[:_MOST], key=lambda entry: (-entry.taken_at.seconds, entry.name))
        ),
        add_ons=tuple(
            AddOnStatus(name=entry.name, state=entry.state, digest=entry.digest, message=entry.message[:_LONGEST])
            for entry in sorted(told.add_ons[:_MOST], key=lambda entry: entry.name)
        ),
        pods=_count_pods(info) if told.is_leader else None,
    )


def _observe_public(info: ZInfoKubeCluster) -> MemberReport:
    """Of a device that knows the public fields alone: the one that EVE's members elected for it tells of all nodes.

    As zedkube has it (cmd/zedkube/kubestatscollect.go): until a device has joined, the same message is of the single-node K3s that it
    ran before, with the id of the new cluster on it; its own Node is then admitted as JOINING. Who has etcd is JOINED.
    """
    told = [node.admission_status for node in info.nodes[:_MOST]]
    if not any(status in (kube.NODE_ADMISSION_UNSPECIFIED, kube.NODE_ADMISSION_JOINED) for status in told):
        return MemberReport(is_server=True)
    views = {
        node.node_id or node.name: MemberView(
            ready=any(entry.type == kube.KUBE_NODE_CONDITION_TYPE_READY and entry.set for entry in node.conditions),
            version=node.api_server_sersion[:_LONGEST],
        )
        for node in info.nodes[:_MOST]
        if node.node_id or node.name
    }
    return MemberReport(is_server=True, api_ready=True, has_data=True, views=views, pods=_count_pods(info))


def counters_of(orders: ClusterOrders) -> ClusterOrderCounters:
    return ClusterOrderCounters(
        snapshot=orders.snapshot,
        restore=orders.restore,
        rotate_certificates=orders.rotate_certificates,
        rotate_token=orders.rotate_token,
    )


def _explain(told: ClusterInfoExtension) -> str:
    """What it waits for, or what is wrong."""
    waiting = f"waits for {told.waiting_for}" if told.waiting_for else ""
    return "; ".join(text for text in (told.message, waiting) if text)[:_LONGEST]


def _count_pods(info: ZInfoKubeCluster) -> PodCounts | None:
    spaces = info.pod_name_spaces[:_MOST]
    if not spaces:
        return None
    return PodCounts(
        total=sum(space.pod_count for space in spaces),
        running=sum(space.pod_running_count for space in spaces),
        pending=sum(space.pod_pending_count for space in spaces),
        failed=sum(space.pod_failed_count for space in spaces),
    )
