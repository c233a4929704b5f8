"""Members leave in order: pods go elsewhere, the cluster forgets the node, then its config says nothing of a cluster any more."""

from __future__ import annotations

from eaves.controller.reconcile.clusters.draft import Activity, Draft
from eaves.controller.reconcile.clusters.joining import is_etcd_changing
from eaves.kinds.k3scluster_spec import DeletionPolicy
from eaves.kinds.k3scluster_status import K3sMemberStatus, MemberRole
from eaves.kinds.k3scluster_status import MemberWish as Wish

_CONFIG_ON_ITS_WAY = "30s"
"""By then a config without the cluster has been made, so that the device's word about its config is about that one."""


def let_leave(draft: Draft, leaving: list[K3sMemberStatus]) -> None:
    """Brings each one step further as far as the rest of the cluster allows."""
    for member in sorted(leaving, key=lambda entry: (entry.role is MemberRole.SERVER, entry.ready, entry.node_name)):
        _step(draft, draft.members[member.node_name])


def _step(draft: Draft, member: K3sMemberStatus) -> None:
    if member.want is Wish.LEFT:
        _finish(draft, member)
    elif not _is_known_to_cluster(draft, member):
        _let_go(draft, member)
    elif member.runs_eve and draft.is_connected(member) and not draft.can_drain:
        # It cordons itself and deletes its Node when its config has no cluster any more.
        if _may_go(draft, member):
            _let_go(draft, member)
    elif member.role is MemberRole.AGENT and not draft.can_drain:
        _let_go(draft, member)
    elif draft.acting_leader is None:
        text = f"{member.node_name} is to leave, which needs a server that answers; there is none"
        draft.say(Activity.FAULT, "NoServerAvailable", text)
    elif member.want is Wish.READY and _must_drain(draft, member):
        if _may_go(draft, member):
            draft.change(member, want=Wish.DRAINED)
            draft.say(Activity.UPDATING, "MemberLeaving", f"{member.node_name} is being drained before it leaves")
    elif member.want is Wish.DRAINED and not member.drained and draft.can_drain and draft.is_connected(member):
        _say_draining(draft, member)
    elif member.want is not Wish.REMOVED:
        if _may_go(draft, member):
            draft.change(member, want=Wish.REMOVED)
            draft.say(Activity.UPDATING, "MemberLeaving", f"{member.node_name} is being taken out of the cluster")
    elif member.removed:
        _let_go(draft, member)
    else:
        text = f"{member.node_name} is being taken out of the cluster{f': {member.message}' if member.message else ''}"
        draft.say(Activity.UPDATING, "MemberLeaving", text)


def _is_known_to_cluster(draft: Draft, member: K3sMemberStatus) -> bool:
    """Whether the cluster may have a Node or an etcd member of it."""
    return draft.initialized and not (member.stopped and not member.has_data and member.want is Wish.READY)


def _must_drain(draft: Draft, member: K3sMemberStatus) -> bool:
    """Pods of a node that runs go elsewhere, where there is an elsewhere."""
    others = [other for other in draft.started() if other is not member and other.ready]
    is_asked = draft.spec.upgrade.drain and draft.can_drain
    return is_asked and member.ready and draft.is_connected(member) and bool(others)


def _may_go(draft: Draft, member: K3sMemberStatus) -> bool:
    """Whether the rest of the servers keeps the cluster going; says what it waits for."""
    if member.role is MemberRole.AGENT:
        return True
    if is_etcd_changing(draft):
        return False
    busy = [other for other in draft.servers() if other.node_name != member.node_name and _is_busy(other)]
    if busy and member.ready:
        draft.say(Activity.UPDATING, "ServerBusy", f"{member.node_name} leaves when {busy[0].node_name} is done with")
        return False
    holders = [other for other in draft.holders() if other is not member]
    if not holders:
        text = (
            f"{member.node_name} is the last server that holds the cluster's state; it stays until another has joined"
        )
        draft.say(Activity.UPDATING, "LastServer", text)
        return False
    coming = [other for other in draft.servers() if not other.has_data and draft.is_connected(other)]
    if coming and member.ready and draft.has_quorum_rules:
        draft.say(
            Activity.UPDATING, "ServerJoining", f"{member.node_name} leaves when {coming[0].node_name} has joined"
        )
        return False
    healthy = [other for other in holders if other.ready]
    if draft.has_quorum_rules and len(healthy) < len(holders) // 2 + 1:
        text = (
            f"without {member.node_name} only {len(healthy)} of {len(holders)} servers would be ready, too few for etcd; bring another"
            " server back first, or restore a snapshot"
        )
        draft.say(Activity.FAULT, "NoQuorum", text)
        return False
    return True


def _is_busy(member: K3sMemberStatus) -> bool:
    """Another server that is drained, or gets another version, is enough at a time."""
    is_new = not member.runs_eve and bool(member.running_version) and member.running_version != member.version
    return member.joined and (member.want is Wish.DRAINED or is_new)


def _say_draining(draft: Draft, member: K3sMemberStatus) -> None:
    text = f"{member.node_name} is being drained before it leaves{f': {member.message}' if member.message else ''}"
    is_long = draft.has_passed(member.want_since, draft.spec.upgrade.drain_timeout)
    draft.say(Activity.FAULT if is_long else Activity.UPDATING, "DrainBlocked" if is_long else "MemberLeaving", text)


def _let_go(draft: Draft, member: K3sMemberStatus) -> None:
    """The cluster does not know it any more: its config is to know no cluster. One that is gone or comes back anew is just dropped."""
    is_wanted = draft.roles.get(member.node_name) is member.role and member.want is Wish.REMOVED
    if draft.node_of(member) is None or is_wanted:
        draft.drop(member)
    elif not _waits_to_be_heard(draft, member):
        draft.change(member, want=Wish.LEFT, stopped=False)
        draft.say(Activity.UPDATING, "MemberLeaving", f"{member.node_name} takes K3s away")


def _waits_to_be_heard(draft: Draft, member: K3sMemberStatus) -> bool:
    """Whether a server has still to say that it will keep its data: a config that names no cluster any more could not tell it to."""
    if draft.spec.deletion_policy is DeletionPolicy.DELETE_DATA or member.role is not MemberRole.SERVER:
        return False
    report = draft.inputs.reports.get(member.id)
    has_heard = report is not None and (report.keeps_data or report.has_left)
    if has_heard or member.runs_eve or not (member.joined or member.has_data) or draft.node_of(member) is None:
        return False
    text = f"{member.node_name} has to know first that its data are to be kept{_contact(draft, member)}"
    draft.say(Activity.UPDATING, "MemberLeaving", text)
    return True


def _finish(draft: Draft, member: K3sMemberStatus) -> None:
    if has_left(draft, member):
        draft.drop(member)
    else:
        draft.say(Activity.UPDATING, "MemberLeaving", f"{member.node_name} takes K3s away{_contact(draft, member)}")


def has_left(draft: Draft, member: K3sMemberStatus) -> bool:
    """Whether nothing of the cluster is left on the device: it said so, or never had anything, or there is no such device."""
    node = draft.node_of(member)
    if node is None:
        return True
    report = draft.inputs.reports.get(member.id)
    if report is not None and not node.runs_eve:
        return report.has_left
    # It never told anything, or cannot tell this: its config has to have gone by first.
    return node.has_config and draft.has_passed(member.want_since, _CONFIG_ON_ITS_WAY)


def _contact(draft: Draft, member: K3sMemberStatus) -> str:
    if draft.is_connected(member):
        return ""
    return "; it is out of contact: delete its EdgeNode if it is gone for good"


def let_all_leave(draft: Draft, forgotten: frozenset[str]) -> None:
    """The cluster is being deleted: everybody leaves at once, and nobody waits for those in ``forgotten``."""
    for member in list(draft.members.values()):
        if member.node_name in forgotten:
            draft.drop(member)
            continue
        if member.want is not Wish.LEFT:
            if _waits_to_be_heard(draft, member):
                continue
            member = draft.change(member, want=Wish.LEFT, stopped=False)
        _finish(draft, member)
