"""The planner of clusters: everything that is known in, the whole new status and what to do out. Pure.

Each step reads what the steps before it decided. The order is the order of urgency: what members tell, who belongs, who may start the
cluster, a restore, who leaves, who joins, another version, orders.
"""

from __future__ import annotations

from eaves.controller.reconcile.clusters.conditions import conclude
from eaves.controller.reconcile.clusters.draft import Activity, Draft
from eaves.controller.reconcile.clusters.election import choose_leader, elect_first_server
from eaves.controller.reconcile.clusters.joining import start_members
from eaves.controller.reconcile.clusters.leaving import let_all_leave, let_leave
from eaves.controller.reconcile.clusters.members import want_members, want_roles
from eaves.controller.reconcile.clusters.model import ClusterInputs, ClusterPlan, ReleaseFacts
from eaves.controller.reconcile.clusters.notes import compare
from eaves.controller.reconcile.clusters.orders import order_snapshot, rotate_certificates, rotate_token
from eaves.controller.reconcile.clusters.reports import take_reports
from eaves.controller.reconcile.clusters.restore import drop_vanished, is_restoring, restore_cluster
from eaves.controller.reconcile.clusters.upgrade import upgrade_members
from eaves.kinds.k3scluster import FORGET_ANNOTATION
from eaves.kinds.k3scluster_status import MemberRole
from eaves.kinds.k3scluster_status import MemberWish as Wish


def plan(inputs: ClusterInputs) -> ClusterPlan:
    """What the cluster's status is to say now. Equal inputs give an equal plan."""
    draft = Draft(inputs)
    take_reports(draft)
    is_deleted = bool(inputs.cluster.metadata.deletion_timestamp)
    if is_deleted:
        named = inputs.cluster.metadata.annotations.get(FORGET_ANNOTATION, "")
        let_all_leave(draft, frozenset(name.strip() for name in named.split(",")))
    else:
        _advance(draft)
    status = conclude(draft, is_deleted=is_deleted)
    return ClusterPlan(
        status=status,
        notes=tuple(compare(inputs.cluster.status, status, draft.remarks)),
        tokens=frozenset()
        if is_deleted
        else frozenset({draft.done.rotate_token, inputs.cluster.spec.operations.rotate_token}),
        is_held=not is_deleted or bool(draft.members),
        forget=frozenset(draft.forget) - {member.id for member in draft.members.values()},
        look_again_s=draft.look_again_s,
    )


def _advance(draft: Draft) -> None:
    for text in draft.inputs.obstacles:
        draft.say(Activity.WAITING if not draft.initialized else Activity.FAULT, "ReferenceMissing", text)
    roles = want_roles(draft)
    if is_restoring(draft):
        drop_vanished(draft)
    leaving = want_members(draft, roles)
    has_release = _check_release(draft)
    if is_restoring(draft):
        if not draft.inputs.obstacles and has_release:
            restore_cluster(draft)
        return
    elect_first_server(draft)
    choose_leader(draft)
    let_leave(draft, leaving)
    start_members(draft, has_release=has_release)
    is_free = _is_free(draft)
    if has_release:
        upgrade_members(draft, is_free=is_free)
    order_snapshot(draft)
    is_free = is_free and not any(remark.activity is Activity.UPGRADING for remark in draft.remarks)
    rotate_certificates(draft, is_free=is_free)
    is_free = is_free and not any(remark.reason == "CertificatesRenewing" for remark in draft.remarks)
    rotate_token(draft, is_free=is_free)


def _is_free(draft: Draft) -> bool:
    """Whether nobody joins or leaves."""
    is_changing = any(member.want is not Wish.READY for member in draft.members.values())
    servers = [member for member in draft.started() if member.role is MemberRole.SERVER]
    return not is_changing and all(member.joined or not draft.is_connected(member) for member in servers)


def find_release(version: str, name: str, releases: tuple[ReleaseFacts, ...]) -> ReleaseFacts | None:
    """The release that a cluster means: the named one, else the first by name that has the version."""
    if name:
        return next((release for release in releases if release.name == name and release.version == version), None)
    fitting = (release for release in releases if release.version == version)
    return min(fitting, key=lambda release: release.name, default=None)


def _check_release(draft: Draft) -> bool:
    """Whether the wanted version can be had by every member that does not bring its own; says what is missing.

    Members keep the version that they have meanwhile.
    """
    members = [member for member in (*draft.servers(), *draft.agents()) if not member.runs_eve]
    if not members and draft.has_eve:
        return True
    spec, activity = draft.spec, Activity.UPGRADING if draft.initialized else Activity.WAITING
    release = find_release(spec.version, spec.release, tuple(draft.inputs.releases))
    if release is None:
        named = next((found for found in draft.inputs.releases if found.name == spec.release), None)
        if named is not None:
            text = f"K3sRelease {spec.release} is {named.version}, and spec.version is {spec.version}; change one of the two"
            draft.say(activity, "ReleaseMismatch", text)
        else:
            text = (
                f"there is no K3sRelease {spec.release or f'of version {spec.version}'} in the namespace; make it with:"
                f" kubectl eaves k3s-release import {spec.version}"
            )
            draft.say(activity, "ReleaseMissing", text)
        return False
    for member in members:
        node = draft.node_of(member)
        if node is not None and node.architecture and node.architecture not in release.architectures:
            text = f"K3sRelease {release.name} has no files for {node.architecture}, which node {node.name} needs; add them"
            draft.say(activity, "ArchitectureMissing", text)
            return False
    return True
