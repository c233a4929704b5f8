"""Events of a cluster: what changed from one status to the next, step by step, and what newly holds things up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from eaves.controller.observe.model import EventNote, EventType
from eaves.controller.reconcile.clusters.draft import Activity, Remark
from eaves.controller.reconcile.clusters.upkeep import FAILED, READY
from eaves.kinds.k3scluster_status import AddOnStatus, K3sClusterStatus, K3sMemberStatus
from eaves.kinds.k3scluster_status import MemberWish as Wish

_WARNED = (Activity.FAULT,)
_WARNED_REASONS = frozenset(
    {
        "ReferenceMissing",
        "ReleaseMissing",
        "ReleaseMismatch",
        "ArchitectureMissing",
        "NodeTaken",
        "VersionSkew",
        "SnapshotFailing",
    }
)


def compare(old: K3sClusterStatus, new: K3sClusterStatus, remarks: Sequence[Remark]) -> Iterator[EventNote]:
    """The events to record."""
    if new.first_server and new.first_server != old.first_server:
        what = "starts the cluster" if not old.initialized else f"is joined instead of {old.first_server}"
        yield _normal("FirstServerElected", f"server {new.first_server} {what}")
    if new.initialized and not old.initialized:
        yield _normal("ClusterCreated", f"the API answers on {new.first_server}")
    if new.leader and new.leader != old.leader and new.initialized:
        yield _normal("LeaderChosen", f"server {new.leader} acts for the cluster")
    former = {member.node_name: member for member in old.members}
    for member in new.members:
        yield from _compare_member(former.get(member.node_name), member)
    present = {member.node_name for member in new.members}
    for name in sorted(former.keys() - present):
        yield _normal("MemberLeft", f"{name} is no member any more")
    yield from _compare_orders(old, new)
    yield from _compare_snapshots(old, new)
    yield from _compare_add_ons(old, new)
    yield from _warn(old, remarks)


def _compare_member(old: K3sMemberStatus | None, new: K3sMemberStatus) -> Iterator[EventNote]:
    name = new.node_name
    if old is None or old.id != new.id:
        yield _normal("MemberAdded", f"{name} becomes {'a server' if new.role == 'Server' else 'an agent'}")
        return
    if new.joined and not old.joined:
        yield _normal("MemberJoined", f"{name} is ready with {new.running_version or new.version}")
    if new.want is not old.want:
        texts = {
            Wish.DRAINED: ("MemberDraining", f"{name} is being drained"),
            Wish.REMOVED: ("MemberRemoving", f"{name} is being taken out of the cluster"),
            Wish.LEFT: ("MemberLeaving", f"{name} takes K3s away"),
            Wish.READY: ("MemberUncordoned", f"{name} takes pods again"),
        }
        yield _normal(*texts[new.want])
    if new.joined and old.version and new.version != old.version:
        yield _normal("MemberUpgrading", f"{name} gets {new.version} after {old.version}")
    if old.running_version and new.running_version and new.running_version != old.running_version:
        yield _normal("MemberUpgraded", f"{name} runs {new.running_version}")


def _compare_orders(old: K3sClusterStatus, new: K3sClusterStatus) -> Iterator[EventNote]:
    told = (
        ("snapshot", "SnapshotOrdered", "the snapshot on order has been taken"),
        ("restore", "Restored", "the cluster has been restored"),
        ("rotate_certificates", "CertificatesRenewed", "all members have new certificates"),
        ("rotate_token", "TokenRotated", "all members have the new token"),
    )
    for field, reason, text in told:
        if getattr(new.done, field) > getattr(old.done, field):
            yield _normal(reason, text)
    if new.automatic_rotations > old.automatic_rotations:
        yield _normal("CertificatesDue", "certificates expire within 30 days; they are renewed")


def _compare_snapshots(old: K3sClusterStatus, new: K3sClusterStatus) -> Iterator[EventNote]:
    known = {snapshot.name: snapshot.message for snapshot in old.snapshots}
    for snapshot in new.snapshots:
        if snapshot.message and known.get(snapshot.name) != snapshot.message:
            yield EventNote(EventType.WARNING, "SnapshotFailed", f"snapshot {snapshot.name}: {snapshot.message}")


def _compare_add_ons(old: K3sClusterStatus, new: K3sClusterStatus) -> Iterator[EventNote]:
    former = {entry.name: entry for entry in old.add_ons}
    for entry in new.add_ons:
        before = former.pop(entry.name, AddOnStatus(name=entry.name))
        if entry.state == READY and (before.state, before.digest) != (READY, entry.digest):
            yield _normal("AddOnReady", f"add-on {entry.name} is ready")
        if entry.state == FAILED and (before.state, before.message) != (FAILED, entry.message):
            yield EventNote(EventType.WARNING, "AddOnFailed", f"add-on {entry.name}: {entry.message}")
    for name in sorted(former):
        yield _normal("AddOnRemoved", f"add-on {name} is not in the cluster any more")


def _warn(old: K3sClusterStatus, remarks: Sequence[Remark]) -> Iterator[EventNote]:
    """What stands still, once for as long as the conditions say it."""
    told = " ".join(condition.message for condition in old.conditions)
    for remark in remarks:
        is_worth = remark.activity in _WARNED or remark.reason in _WARNED_REASONS
        if is_worth and remark.message not in told:
            yield EventNote(EventType.WARNING, remark.reason, remark.message)


def _normal(reason: str, message: str) -> EventNote:
    return EventNote(EventType.NORMAL, reason, message)
