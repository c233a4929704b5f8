"""The new status of a cluster: phase, conditions and counts, from the draft and what was remarked while it was made."""

from __future__ import annotations

import msgspec

from eaves.controller.observe.clusters import MemberReport
from eaves.controller.observe.conditions import FALSE, TRUE, UNKNOWN, Fact, with_conditions
from eaves.controller.reconcile.clusters.draft import Activity, Draft, Remark
from eaves.controller.reconcile.clusters.eve import judge_support
from eaves.controller.reconcile.clusters.upkeep import (
    judge_add_ons,
    judge_backup,
    judge_datastore,
    judge_etcd,
    list_add_ons,
)
from eaves.kinds.fields import Condition
from eaves.kinds.k3scluster_rules import wanted_servers
from eaves.kinds.k3scluster_status import (
    K3sClusterPhase,
    K3sClusterStatus,
    K3sMemberStatus,
    MemberCount,
    MemberRole,
)

_PHASES = (
    (Activity.RESTORING, K3sClusterPhase.RESTORING),
    (Activity.WAITING, K3sClusterPhase.PENDING),
    (Activity.FAULT, K3sClusterPhase.DEGRADED),
    (Activity.UPGRADING, K3sClusterPhase.UPGRADING),
    (Activity.CREATING, K3sClusterPhase.CREATING),
    (Activity.UPDATING, K3sClusterPhase.UPDATING),
)


def conclude(draft: Draft, *, is_deleted: bool) -> K3sClusterStatus:
    """The status to write."""
    counts = {role: _count(draft, role) for role in MemberRole}
    lost = [member for member in (*draft.servers(), *draft.agents()) if member.joined and not member.ready]
    lost = [member for member in lost if not _is_busy(draft, member)]
    leader = _leader_report(draft)
    snapshots = list(leader.snapshots) if leader is not None else draft.before.snapshots
    add_ons = list_add_ons(draft, leader.add_ons if leader is not None else draft.before.add_ons)
    facts = [
        _ready(draft, counts),
        _api(draft),
        _progressing(draft, is_deleted=is_deleted),
        _upgrading(draft),
        judge_etcd(draft),
        judge_datastore(draft),
        judge_backup(draft, snapshots),
        judge_add_ons(add_ons),
        judge_support(draft),
        _degraded(draft, lost),
    ]
    conditions = with_conditions([msgspec.to_builtins(entry) for entry in draft.before.conditions], facts, draft.now)
    expiries = sorted(
        member.certificates_expire_at for member in draft.members.values() if member.certificates_expire_at
    )
    versions = sorted(draft.running_versions())
    return K3sClusterStatus(
        phase=_phase(draft, lost, counts, is_deleted=is_deleted),
        message=_message(draft, lost),
        cluster_id=draft.inputs.cluster.metadata.uid,
        version=str(versions[0]) if versions else "",
        conditions=msgspec.convert(conditions, list[Condition]),
        first_server=draft.first_server,
        initialized=draft.initialized,
        leader=draft.leader,
        ca_hash=draft.ca_hash,
        servers=counts[MemberRole.SERVER],
        agents=counts[MemberRole.AGENT],
        members=[draft.members[name] for name in sorted(draft.members)],
        snapshots=snapshots,
        certificates_expire_at=expiries[0] if expiries else None,
        automatic_rotations=draft.automatic_rotations,
        rotated_at=draft.rotated_at,
        done=draft.done,
        add_ons=add_ons,
        pods=leader.pods if leader is not None else draft.before.pods,
        observed_generation=draft.inputs.cluster.metadata.generation,
    )


def _leader_report(draft: Draft) -> MemberReport | None:
    leader = draft.acting_leader
    report = draft.inputs.reports.get(leader.id) if leader is not None else None
    return report if report is not None and report.is_leader else None


def _count(draft: Draft, role: MemberRole) -> MemberCount:
    members = draft.by_role(role)
    pool = draft.spec.agents if role is MemberRole.AGENT else draft.spec.servers
    asked = wanted_servers(draft.spec) if role is MemberRole.SERVER else len(pool.node_names) or (pool.count or 0)
    wanted = max(len([member for member in members if draft.roles.get(member.node_name) is role]), asked)
    return MemberCount(wanted=wanted, ready=sum(1 for member in members if member.ready))


def _is_busy(draft: Draft, member: K3sMemberStatus) -> bool:
    """It is not ready because something is done to it, and not for too long."""
    is_told = any(
        member.node_name in remark.message and remark.activity is not Activity.FAULT for remark in draft.remarks
    )
    return (is_told and not member.runs_eve and member.version != member.running_version) or member.stopped


def _ready(draft: Draft, counts: dict[MemberRole, MemberCount]) -> Fact:
    missing = [
        f"{count.ready} of {count.wanted} {role.lower()}s are ready"
        for role, count in counts.items()
        if count.ready < count.wanted
    ]
    if not draft.has_api:
        return Fact("Ready", FALSE, "APINotAvailable", "; ".join(["no server's API answers", *missing]))
    if missing:
        return Fact("Ready", FALSE, "MembersNotReady", "; ".join([*missing, *_first_messages(draft)]))
    return Fact("Ready", TRUE, "AllMembersReady", "all members are ready and the API answers")


def _first_messages(draft: Draft) -> list[str]:
    unready = (member for member in (*draft.servers(), *draft.agents()) if not member.ready and member.message)
    return [f"{member.node_name}: {member.message}" for member in unready][:3]


def _api(draft: Draft) -> Fact:
    answering = [member.node_name for member in draft.servers() if member.api_ready]
    if answering:
        return Fact("APIAvailable", TRUE, "Answering", f"the API answers on {', '.join(answering)}")
    if draft.initialized and not any(draft.is_connected(member) for member in draft.servers()):
        return Fact("APIAvailable", UNKNOWN, "NoContact", "no server is in contact; the cluster may well run")
    reason, text = (
        ("NotAnswering", "no server's API answers")
        if draft.initialized
        else ("NotStarted", "the cluster has not run yet")
    )
    return Fact("APIAvailable", FALSE, reason, text)


def _progressing(draft: Draft, *, is_deleted: bool) -> Fact:
    """Whether something waits or goes on besides an upgrade, and what."""
    remark = _first(draft, Activity.RESTORING, Activity.WAITING, Activity.CREATING, Activity.UPDATING)
    if is_deleted:
        names = ", ".join(sorted(draft.members))
        text = f"waits for {names} to take K3s away" if names else "all members have left"
        return Fact("Progressing", TRUE, "Deleting", f"{text}{_rest(draft)}")
    if remark is None:
        return Fact("Progressing", FALSE, "Settled", "nothing is waited for")
    return Fact(
        "Progressing",
        TRUE,
        remark.reason,
        _texts(draft, Activity.RESTORING, Activity.WAITING, Activity.CREATING, Activity.UPDATING),
    )


def _rest(draft: Draft) -> str:
    texts = [remark.message for remark in draft.remarks if "out of contact" in remark.message]
    return f" ({'; '.join(texts)})" if texts else ""


def _upgrading(draft: Draft) -> Fact:
    remark = _first(draft, Activity.UPGRADING)
    behind = [
        member
        for member in draft.started()
        if not member.runs_eve and member.running_version and member.running_version != draft.spec.version
    ]
    if remark is None and not behind:
        who = "every member that takes a version" if draft.has_eve else "every member"
        return Fact("Upgrading", FALSE, "UpToDate", f"{who} has {draft.spec.version}" if draft.initialized else "")
    if remark is None:
        names = ", ".join(member.node_name for member in behind)
        return Fact("Upgrading", TRUE, "MembersBehind", f"{names} gets {draft.spec.version} when it can be reached")
    is_blocked = remark.reason in ("VersionSkew", "Paused", "ReleaseMissing", "ReleaseMismatch", "ArchitectureMissing")
    return Fact("Upgrading", FALSE if is_blocked else TRUE, remark.reason, _texts(draft, Activity.UPGRADING))


def _degraded(draft: Draft, lost: list[K3sMemberStatus]) -> Fact:
    remark = _first(draft, Activity.FAULT)
    if remark is not None:
        return Fact("Degraded", TRUE, remark.reason, _texts(draft, Activity.FAULT))
    if lost:
        told = "; ".join(
            f"{member.node_name} is not ready{f': {member.message}' if member.message else ''}" for member in lost[:5]
        )
        return Fact("Degraded", TRUE, "MembersLost", told)
    return Fact("Degraded", FALSE, "Healthy", "")


def _phase(
    draft: Draft, lost: list[K3sMemberStatus], counts: dict[MemberRole, MemberCount], *, is_deleted: bool
) -> K3sClusterPhase:
    if is_deleted:
        return K3sClusterPhase.DELETING
    present = {remark.activity for remark in draft.remarks}
    for activity, phase in _PHASES:
        if activity in present:
            return phase
    if lost:
        return K3sClusterPhase.DEGRADED
    if not draft.initialized:
        return K3sClusterPhase.CREATING
    if all(count.ready >= count.wanted for count in counts.values()) and draft.has_api:
        return K3sClusterPhase.READY
    return K3sClusterPhase.UPDATING if draft.has_api else K3sClusterPhase.DEGRADED


def _message(draft: Draft, lost: list[K3sMemberStatus]) -> str:
    for activity, _ in _PHASES:
        if (remark := _first(draft, activity)) is not None:
            return remark.message
    if lost:
        return f"{lost[0].node_name} is not ready{f': {lost[0].message}' if lost[0].message else ''}"
    texts = _first_messages(draft)
    return texts[0] if texts else ""


def _first(draft: Draft, *activities: Activity) -> Remark | None:
    return next((remark for activity in activities for remark in draft.remarks if remark.activity is activity), None)


def _texts(draft: Draft, *activities: Activity) -> str:
    texts = [remark.message for activity in activities for remark in draft.remarks if remark.activity is activity]
    return "; ".join(dict.fromkeys(texts))
