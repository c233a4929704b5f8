"""What was seen of a membership → its status for reports. Pure."""

from __future__ import annotations

from msgspec import Struct

from eaves.node.clusters.model import ClusterRecord
from eaves.node.clusters.observe import LeaderReport
from eaves.node.clusters.plan import Plan
from eaves.node.clusters.prefetching import Fetched
from eaves.node.desired.cluster_model import DesiredCluster
from eaves.node.observed import ClusterStatus, Fault
from eaves.node.observed_cluster import ClusterSnapshot, OrdersSeen


class Sight(Struct, frozen=True):
    """All that was seen. ``report`` and ``snapshots`` are the leader's."""

    record: ClusterRecord
    is_running: bool = False
    is_ready: bool = False
    is_etcd_healthy: bool = False
    certificates_expire_at: float = 0.0
    ca_hash: str = ""
    has_data: bool = False
    report: LeaderReport = LeaderReport()
    snapshots: tuple[ClusterSnapshot, ...] = ()
    order_message: str = ""
    fetched: Fetched = Fetched()


def find_id(cluster: DesiredCluster | None, record: ClusterRecord) -> str:
    """Of the cluster that there is something to tell of; empty = none."""
    return record.id or (cluster.id if cluster is not None else "")


def want_status(cluster: DesiredCluster | None, sight: Sight, plan: Plan, fault: Fault | None = None) -> ClusterStatus:
    """``cluster`` names what the record does not know yet."""
    record, report = sight.record, sight.report
    is_leader = bool(cluster is not None and cluster.acts_as_leader and sight.is_ready)
    return ClusterStatus(
        id=find_id(cluster, record),
        name=record.name or (cluster.name if cluster is not None else ""),
        state=plan.state,
        node_name=record.node_name or (cluster.node_name if cluster is not None else ""),
        is_server=record.is_server if record.id else bool(cluster and cluster.is_server),
        waiting_for=plan.waiting_for,
        message=plan.message,
        version=record.version if sight.is_running else "",
        is_api_ready=record.is_server and sight.is_ready,
        is_etcd_healthy=sight.is_etcd_healthy,
        etcd_members=report.etcd_members if is_leader else 0,
        certificates_expire_at=sight.certificates_expire_at,
        ca_hash=sight.ca_hash,
        has_data=sight.has_data,
        keeps_data=record.keep_data,
        is_leader=is_leader,
        restarts=record.restarts,
        done=OrdersSeen(
            record.done.snapshot, record.done.restore, record.done.rotate_certificates, record.done.rotate_token
        ),
        order_message=sight.order_message or report.problem,
        fetched_version=sight.fetched.version,
        fetch_message=sight.fetched.message,
        snapshots=sight.snapshots if is_leader else (),
        members=report.members if sight.is_ready else (),
        add_ons=report.add_ons if is_leader else (),
        nodes=report.nodes if is_leader else (),
        pods=report.pods if is_leader else (),
        fault=fault,
    )
