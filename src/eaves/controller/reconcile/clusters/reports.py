"""What members tell, taken into their entries of the status."""

from __future__ import annotations

import msgspec

from eaves.controller.observe.clusters import READY, MemberReport, MemberView
from eaves.controller.reconcile.clusters.draft import Draft
from eaves.kinds.k3scluster_status import K3sMemberStatus, MemberRole, MemberWish

_NOTHING = MemberReport()


def take_reports(draft: Draft) -> None:
    """Entries as their devices and the leader tell of them now. What an unreachable device said last stays, but for its readiness."""
    views, witnesses = _leader_views(draft), _list_witnesses(draft)
    for member in list(draft.members.values()):
        report = draft.inputs.reports.get(member.id, _NOTHING)
        view = _hear(draft, member, views.get(member.id), witnesses)
        draft.members[member.node_name] = _with_report(draft, member, report, view)
    for member in draft.servers():
        report = draft.inputs.reports.get(member.id, _NOTHING)
        if member.api_ready:
            draft.initialized = True
            # The authority of a cluster never changes but by a restore, which keeps it too.
            draft.ca_hash = draft.ca_hash or report.ca_hash


def _leader_views(draft: Draft) -> dict[str, MemberView]:
    """What the leader tells of the members; of a device that tells by public fields alone, what any of them tells."""
    leader = draft.members.get(draft.leader)
    if leader is not None and draft.is_connected(leader):
        return dict(draft.inputs.reports.get(leader.id, _NOTHING).views)
    return {}


def _list_witnesses(draft: Draft) -> dict[str, MemberReport]:
    """What servers tell that can see the cluster, by the UUID of the device. The word of one that died a moment ago is among them."""
    servers = (member for member in draft.members.values() if member.role is MemberRole.SERVER)
    reports = draft.inputs.reports
    return {
        member.id: report
        for member in servers
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
        if device_id != member.id and (seen := report.views.get(member.id)) is not None
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
    own = is_connected and report.state == READY
    if not report.state and not report.has_left and draft.inputs.reports.get(member.id) is not None:
        # A device without the extension: only the cluster tells of it.
        own = is_connected and view is not None and view.ready
    # K3s on the device is up before its Node is there: it has joined when the leader sees it, and not before.
    seen = view.ready if view is not None else is_connected and member.joined
    ready = seen and (own or not is_connected)
    has_left = report.has_left or (member.want is MemberWish.LEFT and not report.state)
    problem = draft.inputs.problems.get(member.node_name, "")
    return msgspec.structs.replace(
        member,
        state="Left" if has_left and member.want is MemberWish.LEFT else report.state,
        message=problem or report.message or _contact(draft, member, is_connected) or (view.message if view else ""),
        running_version=(report.version or (view.version if view else "")) if not has_left else "",
        ready=ready and not member.stopped and not has_left,
        joined=member.joined or (ready and not member.stopped and not has_left),
        api_ready=is_server and is_connected and report.api_ready and not member.stopped,
        etcd_healthy=is_server and is_connected and report.etcd_healthy,
        etcd_members=report.etcd_members if is_server else 0,
        has_data=is_server and (report.has_data or (member.joined and not draft.keeps_state_on_servers)),
        drained=member.want is MemberWish.DRAINED and view is not None and view.drained,
        removed=member.want is MemberWish.REMOVED and view is not None and view.removed,
        restarts=report.restarts,
        certificates_expire_at=report.certificates_expire_at or None,
        done=report.done,
        order_message=report.order_message,
        fetched_version=report.fetched_version if not has_left else "",
        fetch_message=report.fetch_message,
    )


def _contact(draft: Draft, member: K3sMemberStatus, is_connected: bool) -> str:
    if is_connected:
        return ""
    node = draft.node_of(member)
    return "the node is out of contact" if node is not None else "its EdgeNode is gone"
