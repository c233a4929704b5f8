"""The server that starts the cluster, and the one that acts for it.

There is never a second cluster: the first server is recorded before any node hears of it, and while the cluster never ran another is
elected only after the former has left or its EdgeNode is gone. Once it ran, the office goes only to a server that holds its state.
"""

from __future__ import annotations

from eaves.controller.reconcile.clusters.draft import Activity, Draft
from eaves.kinds.k3scluster_status import K3sMemberStatus
from eaves.kinds.k3scluster_status import MemberWish as Wish


def elect_first_server(draft: Draft) -> None:
    """Records who starts the cluster, or who is joined instead of that one."""
    current = draft.members.get(draft.first_server)
    if not draft.initialized:
        if current is None:
            _elect(draft)
        elif current not in draft.servers():
            text = f"server {current.node_name} may have started the cluster and is leaving; another starts it when that one has left"
            draft.say(Activity.WAITING, "FirstServerLeaving", text)
        return
    if current is not None and current.want is Wish.READY and (current.has_data or current.ready):
        return
    heirs = [member for member in draft.servers() if member.ready and member.has_data and member.want is Wish.READY]
    if heirs:
        draft.first_server = heirs[0].node_name


def _elect(draft: Draft) -> None:
    """The first in the order of the spec, else of names, that could start at once."""
    order = {name: place for place, name in enumerate(draft.spec.servers.node_names)}
    candidates = [
        member
        for member in draft.servers()
        if member.address and draft.is_connected(member) and not draft.inputs.problems.get(member.node_name)
    ]
    if not candidates:
        if draft.servers():
            draft.say(
                Activity.WAITING,
                "NoServerReachable",
                "no server is in contact yet; the first that calls starts the cluster",
            )
        return
    chosen = min(candidates, key=lambda member: (order.get(member.node_name, 0), member.node_name))
    draft.first_server = chosen.node_name


def choose_leader(draft: Draft) -> None:
    """Keeps the leader while it can act, else takes another that can. Who cannot be told is not deposed without an heir."""
    current = draft.acting_leader
    is_able = current is not None and current.want is Wish.READY
    if current is not None and is_able and current.ready and not current.runs_eve:
        return
    able = [
        member
        for member in draft.servers()
        if member.api_ready and draft.is_connected(member) and member.want is Wish.READY and not member.stopped
    ]
    heirs = sorted(
        able,
        key=lambda member: (
            not member.ready,
            # One that runs EVE does nothing for the cluster that is ordered.
            member.runs_eve,
            member is not current,
            member.node_name != draft.first_server,
            member.node_name,
        ),
    )
    if is_able and not (heirs and heirs[0].ready):
        return
    if heirs:
        draft.leader = heirs[0].node_name
    elif draft.leader not in draft.members:
        draft.leader = draft.first_server


def leader_beside(draft: Draft, member: K3sMemberStatus) -> bool:
    """Hands the leadership to another server before this one is touched; False while there is none."""
    others = [other for other in draft.servers() if other is not member and other.api_ready and other.ready]
    others = [other for other in others if other.want is Wish.READY and draft.is_connected(other)]
    if not others:
        return False
    draft.leader = min(others, key=lambda other: (other.runs_eve, other.node_name)).node_name
    return True
