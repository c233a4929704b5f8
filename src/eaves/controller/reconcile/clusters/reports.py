"""What members tell, taken into their entries of the status."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from eaves.controller.observe.clusters import READY, MemberReport, MemberView
from eaves.controller.reconcile.clusters import eve
from eaves.controller.reconcile.clusters.draft import Draft
from eaves.kinds.k3scluster_status import K3sMemberStatus, MemberRole, MemberWish

_NOTHING = MemberReport()


def take_reports(draft: Draft) -> None:
    """Entries as their devices and the leader tell of them now. What an unreachable device said last stays, but for its readiness."""
    for member in list(draft.members.values()):
        draft.members[member.node_name] = eve.recognize(member, draft.node_of(member))
    reports = eve.drop_stale(draft.members.values(), draft.inputs.reports)
    teller = _find_teller(draft, reports)
    views, witnesses = teller.views, _list_witnesses(draft, reports)
    for member in list(draft.members.values()):
        report = reports.get(member.id, _NOTHING)
        view = _hear(draft, member, _seen_by(views, member), witnesses)
        if member.runs_eve:
            entry = eve.tell_of(draft, member, view, is_told=bool(views or witnesses))
        else:
            entry = _with_report(draft, member, report, view)
        is_absent = bool(views) and not teller.state and view is None
        removed = entry.want is MemberWish.REMOVED and (view.removed if view is not None else is_absent)
        draft.members[member.node_name] = msgspec.structs.replace(entry, removed=removed)
    for member in draft.servers():
        report = reports.get(member.id, _NOTHING)
        if member.api_ready:
            draft.initialized = True
            # The authority of a cluster never changes but by a restore, which keeps it too.
            draft.ca_hash = draft.ca_hash or report.ca_hash


def _find_teller(draft: Draft, reports: Mapping[str, MemberReport]) -> MemberReport:
    """Who is believed about the members: the leader, else the EVE device that the cluster's EVE devices elected to tell."""
    leader = draft.members.get(draft.leader)
    eves = [member for member in draft.members.values() if member.runs_eve]
    for member in ([leader] if leader is not None else []) + eves:
        if draft.is_connected(member) and reports.get(member.id, _NOTHING).views:
            return reports[member.id]
    return _NOTHING


def _seen_by(views: Mapping[str, MemberView], member: K3sMemberStatus) -> MemberView | None:
    return views.get(member.id, views.get(member.node_name))


def _list_witnesses(draft: Draft, reports: Mapping[str, MemberReport]) -> dict[str, MemberReport]:
    """What members tell that can see the cluster, by the UUID of the device. The word of one that died a moment ago is among them."""
    members = (member for member in draft.members.values() if member.role is MemberRole.SERVER or member.runs_eve)
    return {
        member.id: report
        for member in members
        if draft.is_connected(member) and (report := reports.get(member.id)) is not None and report.api_ready
    }


def _hear(
    draft: Draft, member: K3sMemberStatus, view: MemberView | None, witnesses: dict[str, MemberReport]
) -> MemberView | None:
    """The leader's view, but ready only if most of the other servers see it so.

    A server that loses its power tells nobody, the leader least of all, and its device counts as in contact for minutes. The others
    know within the time that Kubernetes gives a silent Node. On a tie the leader is right, unless it is about itself.
    """
    votes = [
        seen.ready
        for device_id, report in witnesses.items()
        if device_id != member.id and (seen := _seen_by(report.views, member)) is not None
    ]
    if not votes:
        return view
    is_ready = 2 * sum(votes) > len(votes)
    if 2 * sum(votes) == len(votes) and view is not None and member.node_name != draft.leader:
        is_ready = view.ready
    return msgspec.structs.replace(view or MemberView(), ready=is_ready)


def _with_report(
    draft: Draft, member: K3sMemberStatus, report: MemberReport, view: MemberView | None
) -> K3sMemberStatus:
    is_connected = draft.is_connected(member)
    is_server = member.role is MemberRole.SERVER
    # K3s on the device is up before its Node is there: it has joined when the leader sees it, and not before.
    seen = view.ready if view is not None else is_connected and member.joined
    ready = seen and (report.state == READY or not is_connected)
    has_left = report.has_left or (member.want is MemberWish.LEFT and not report.state)
    problem = draft.inputs.problems.get(member.node_name, "")
    return msgspec.structs.replace(
        member,
        state="Left" if has_left and member.want is MemberWish.LEFT else report.state,
        message=problem or report.message or draft.explain_contact(member) or (view.message if view else ""),
        running_version=(report.version or (view.version if view else "")) if not has_left else "",
        ready=ready and not member.stopped and not has_left,
        joined=member.joined or (ready and not member.stopped and not has_left),
        api_ready=is_server and is_connected and report.api_ready and not member.stopped,
        etcd_healthy=is_server and is_connected and report.etcd_healthy,
        etcd_members=report.etcd_members if is_server else 0,
        has_data=is_server and (report.has_data or (member.joined and not draft.keeps_state_on_servers)),
        drained=member.want is MemberWish.DRAINED and view is not None and view.drained,
        restarts=report.restarts,
        certificates_expire_at=report.certificates_expire_at or None,
        done=report.done,
        order_message=report.order_message,
        fetched_version=report.fetched_version if not has_left else "",
        fetch_message=report.fetch_message,
    )
