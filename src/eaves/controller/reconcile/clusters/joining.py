"""Members start in order: the first server, then the other servers one by one, then agents."""

from __future__ import annotations

from eaves.controller.reconcile.clusters import eve
from eaves.controller.reconcile.clusters.draft import Activity, Draft
from eaves.kinds.k3scluster_status import K3sMemberStatus, MemberRole
from eaves.kinds.k3scluster_status import MemberWish as Wish


def start_members(draft: Draft, *, has_release: bool) -> None:
    """Lets those start whose turn it is; says what the others wait for. Until then they fetch their images.

    Without a release only those start that bring their own K3s.
    """
    if draft.inputs.obstacles:
        return
    waiting = [member for member in (*draft.servers(), *draft.agents()) if member.stopped and member.address]
    waiting = [member for member in waiting if member.runs_eve or (has_release and _fits_eve(draft, member))]
    if not draft.initialized:
        _start_first(draft, waiting)
        return
    servers = [member for member in waiting if member.role is MemberRole.SERVER]
    if servers:
        _start_server(draft, servers)
    for member in waiting:
        if member.role is MemberRole.AGENT:
            if draft.has_api:
                draft.change(member, stopped=False, checks_authority=bool(draft.ca_hash))
            else:
                draft.say(
                    Activity.UPDATING, "APINotReady", f"agent {member.node_name} joins when a server's API answers"
                )


def _start_first(draft: Draft, waiting: list[K3sMemberStatus]) -> None:
    first = draft.members.get(draft.first_server)
    if first is None or first.want is not Wish.READY:
        return
    if first.stopped and first in waiting:
        first = draft.change(first, stopped=False)
    if not first.stopped:
        draft.say(Activity.CREATING, "FirstServerStarting", f"server {first.node_name} starts the cluster{_why(first)}")


def _start_server(draft: Draft, waiting: list[K3sMemberStatus]) -> None:
    started = [member for member in draft.started() if member.role is MemberRole.SERVER]
    joining = [member for member in started if not member.has_data]
    if joining:
        names = ", ".join(member.node_name for member in joining)
        draft.say(Activity.CREATING, "ServerJoining", f"server {names} joins{_why(joining[0])}; the next one follows")
        return
    if is_etcd_changing(draft):
        # One change of the etcd membership at a time.
        return
    healthy = [member for member in started if member.ready]
    if not draft.has_api or len(healthy) < len(started) // 2 + 1:
        text = f"server {waiting[0].node_name} joins when most of the servers are ready ({len(healthy)} of {len(started)} are)"
        draft.say(Activity.UPDATING, "NoQuorum", text)
        return
    chosen = min(waiting, key=lambda member: (not draft.is_connected(member), member.node_name))
    draft.change(chosen, stopped=False, checks_authority=bool(draft.ca_hash))


def is_etcd_changing(draft: Draft) -> bool:
    """Whether a server is being taken out; one that runs EVE takes itself out when it hears that it is to leave."""
    return any(
        member.role is MemberRole.SERVER
        and (member.want is Wish.REMOVED or (member.want is Wish.LEFT and member.runs_eve))
        for member in draft.members.values()
    )


def _fits_eve(draft: Draft, member: K3sMemberStatus) -> bool:
    """Whether the member's version goes with those that servers bring along; says so when not."""
    if text := eve.explain_skew(draft, member.role):
        draft.say(Activity.UPDATING, "VersionSkew", f"{member.node_name} does not join: {text}")
    return not text


def _why(member: K3sMemberStatus) -> str:
    text = ": ".join(part for part in (member.state, member.message) if part)
    return f" ({text})" if text else ""
