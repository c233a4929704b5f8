"""What to do next about this node's cluster: a pure function of what is wished, what is remembered and what is seen.

The rule that matters most: **a cluster is made once**. A node makes one only when its config names it as the first, the config does not
say that the cluster exists, it never was a member itself, and no other server answers as one of this cluster.
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from eaves.node.clusters.model import ClusterRecord, Step
from eaves.node.desired.cluster_model import ClusterDatastore, DesiredCluster
from eaves.node.observed_cluster import ClusterState


class View(Struct, frozen=True):
    """What is there. Times are seconds of the clock that never jumps."""

    record: ClusterRecord
    is_running: bool = False
    is_ready: bool = False
    """API server (of a server) or kubelet (of an agent) answers."""
    has_data: bool = False
    """Its datastore (of a server) is on the disk, and not that of a member which the cluster has taken out."""
    was_removed: bool = False
    """The cluster has taken this server out of etcd."""
    is_renewal_due: bool = False
    """K3s is to be started anew so that it renews its certificates."""
    missing_images: tuple[str, ...] = ()
    """Names of images that are not here yet."""
    image_message: str = ""
    wanted_digest: str = ""
    """Of the spec that K3s would be started with now; empty = cannot be told yet."""
    join_problem: str = ""
    """Why the server to join cannot be joined; empty = it can, or it was not asked."""
    other_server: str = ""
    """Address of another server that answers as one of this cluster."""
    was_asked: bool = False
    """Whether other servers were asked at all."""
    start_after: float = 0.0
    end_message: str = ""
    now: float = 0.0


class Plan(Struct, frozen=True):
    step: Step
    state: ClusterState = ClusterState.FAILED
    waiting_for: str = ""
    message: str = ""
    is_first: bool = False
    """Start as the one that makes the cluster."""
    join: str = ""
    """Server to join instead of the config's."""
    joins_anew: bool = False
    """What is on the disk is of a member that the cluster has forgotten."""
    is_restart: bool = False
    """A stop for the sake of another config."""
    asks_servers: bool = False
    """Nothing can be decided before the other servers have been asked."""


def plan_step(cluster: DesiredCluster | None, view: View, *, is_refused: bool = False) -> Plan:
    """The next step."""
    record = view.record
    if record.is_leaving:
        return Plan(Step.LEAVE, ClusterState.LEAVING)
    if is_refused and cluster is None:
        return _plan_refused(view)
    if cluster is None:
        return Plan(Step.LEAVE, ClusterState.LEAVING) if record.id else Plan(Step.NONE)
    if record.id and _is_another(cluster, record):
        return Plan(Step.LEAVE, ClusterState.LEAVING, message=f"leaving cluster {record.name} first")
    if cluster.is_stopped:
        if view.is_running:
            return Plan(Step.STOP, ClusterState.STOPPING)
        return Plan(Step.WAIT, ClusterState.STOPPED, message="stopped by the config")
    if view.missing_images:
        return _plan_missing(view)
    if cluster.is_server and cluster.orders.restore > record.done.restore and record.done.restore >= 0:
        return Plan(Step.RESTORE, ClusterState.RESTORING)
    if view.was_removed and not may_rejoin(cluster, record):
        return _plan_removed(view)
    if view.is_running:
        return _plan_running(cluster, view)
    if view.now < view.start_after:
        wait_s = view.start_after - view.now
        return Plan(Step.WAIT, ClusterState.FAILED, message=f"{view.end_message}; started again in {wait_s:.0f} s")
    return _plan_start(cluster, view)


def joins_anew(cluster: DesiredCluster, record: ClusterRecord) -> bool:
    """Whether the config means another member of etcd than the one whose data are here. Who makes the cluster goes on with what it has."""
    is_joining = cluster.is_server and cluster.join_address != cluster.address
    return is_joining and _has_etcd(cluster) and 0 < record.member_since < cluster.member_since


def may_rejoin(cluster: DesiredCluster, record: ClusterRecord) -> bool:
    """Whether a server that was taken out may join again. Controllers of others do not say, and leave it to K3s, which does."""
    return not cluster.member_since or joins_anew(cluster, record)


def has_order(cluster: DesiredCluster, record: ClusterRecord) -> bool:
    """Whether certificates are to be rotated, which needs K3s to stand still."""
    return cluster.orders.rotate_certificates > record.done.rotate_certificates


def must_restart_for_token(cluster: DesiredCluster, record: ClusterRecord) -> bool:
    """A member restarts with the new token; the leader tells the cluster before."""
    return cluster.orders.rotate_token > record.done.rotate_token and not cluster.former_token


def _is_another(cluster: DesiredCluster, record: ClusterRecord) -> bool:
    return (cluster.id, cluster.is_server, cluster.node_name) != (record.id, record.is_server, record.node_name)


def _has_etcd(cluster: DesiredCluster) -> bool:
    return cluster.datastore is ClusterDatastore.EMBEDDED_ETCD


def _plan_removed(view: View) -> Plan:
    """Started again, K3s would join by itself, against who took it out; the first server would make a second cluster."""
    if view.is_running:
        return Plan(Step.STOP, ClusterState.STOPPING, message="the cluster has taken this server out")
    message = "the cluster has taken this server out; it joins again when its controller says so"
    return Plan(Step.WAIT, ClusterState.WAITING_FOR_SERVER, "its controller", message)


def _plan_refused(view: View) -> Plan:
    """What was there before goes on, from the files that are on the disk."""
    if not view.record.is_installed:
        return Plan(Step.NONE)
    if view.was_removed:
        return _plan_removed(view)
    message = "the config's cluster cannot be understood, the former one is kept"
    if view.is_running:
        return Plan(Step.KEEP, ClusterState.READY if view.is_ready else ClusterState.STARTING, message=message)
    if view.now < view.start_after:
        return Plan(Step.WAIT, ClusterState.FAILED, message=view.end_message)
    return Plan(Step.START, ClusterState.STARTING, message=message)


def _plan_missing(view: View) -> Plan:
    waiting = f"image {view.missing_images[0]}"
    message = view.image_message or f"{len(view.missing_images)} images are on their way"
    if view.is_running:
        # The version that runs goes on until the next one is here whole.
        state = ClusterState.READY if view.is_ready else ClusterState.STARTING
        return Plan(Step.KEEP, state, waiting, message)
    return Plan(Step.WAIT, ClusterState.DOWNLOADING, waiting, message)


def _plan_running(cluster: DesiredCluster, view: View) -> Plan:
    is_due = has_order(cluster, view.record) or joins_anew(cluster, view.record)
    if is_due or (view.wanted_digest and view.wanted_digest != view.record.started_spec):
        message = "restart with another version, config or certificates"
        return Plan(Step.STOP, ClusterState.STOPPING, message=message, is_restart=not is_due)
    kept = Plan(Step.KEEP, ClusterState.READY)
    if not view.is_ready:
        what = "API of this server" if cluster.is_server else "kubelet of this node"
        kept = Plan(Step.KEEP, ClusterState.STARTING, what, f"K3s runs, the {what} does not answer yet")
    return _plan_renewal(cluster, view, kept) if view.is_renewal_due else kept


def _plan_renewal(cluster: DesiredCluster, view: View, kept: Plan) -> Plan:
    """An agent gets its certificates from a server: while none answers it goes on with those that it has."""
    if not cluster.is_server and not view.was_asked:
        return replace(kept, asks_servers=True)
    if not cluster.is_server and view.join_problem and not view.other_server:
        return kept
    return Plan(Step.STOP, ClusterState.STOPPING, message="restart to renew the certificates")


def _plan_start(cluster: DesiredCluster, view: View) -> Plan:
    """Not running: go on with the own data, make the cluster, or join it."""
    starting = Plan(Step.START, ClusterState.STARTING)
    is_own = cluster.join_address == cluster.address
    if not cluster.is_server:
        if view.record.has_been_ready:
            return starting
        return _plan_join(cluster, view)
    if joins_anew(cluster, view.record):
        return replace(_plan_join(cluster, view), joins_anew=True)
    if view.has_data or cluster.datastore is ClusterDatastore.EXTERNAL:
        return replace(starting, is_first=is_own)
    if cluster.datastore is ClusterDatastore.SQLITE:
        return _plan_lost(view, []) if _was_member(cluster, view) else replace(starting, is_first=True)
    if not is_own:
        return _plan_join(cluster, view)
    others = [member.address for member in cluster.servers if member.address != cluster.address]
    if others and not view.was_asked:
        return Plan(Step.WAIT, ClusterState.STARTING, asks_servers=True)
    if view.other_server:
        return replace(starting, join=view.other_server)
    if _was_member(cluster, view):
        return _plan_lost(view, others)
    return replace(starting, is_first=True)


def _was_member(cluster: DesiredCluster, view: View) -> bool:
    """The cluster exists, so its data were here or are elsewhere: it must not be made anew."""
    return cluster.is_initialized or view.record.has_been_ready


def _plan_lost(view: View, others: list[str]) -> Plan:
    waiting = f"server {others[0]}" if others else "a restore"
    message = (
        "the cluster exists but its data are not on this node; it is not made anew: "
        "bring another server back, restore a snapshot, or replace the node"
    )
    return Plan(Step.WAIT, ClusterState.WAITING_FOR_SERVER, waiting, message, asks_servers=bool(others))


def _plan_join(cluster: DesiredCluster, view: View) -> Plan:
    if not view.was_asked:
        return Plan(Step.WAIT, ClusterState.WAITING_FOR_SERVER, f"server {cluster.join_address}", asks_servers=True)
    if not view.join_problem:
        return Plan(Step.START, ClusterState.STARTING)
    if view.other_server:
        return Plan(Step.START, ClusterState.STARTING, join=view.other_server)
    message = f"the server to join: {view.join_problem}"
    return Plan(
        Step.WAIT, ClusterState.WAITING_FOR_SERVER, f"server {cluster.join_address}", message, asks_servers=True
    )
