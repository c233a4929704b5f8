"""Going back to a snapshot: all servers stop, one restores, the others drop what they have and join it anew one by one.

Works on blank hardware too: the server that restores fetches the snapshot from the backup's Datastore, and the token is the cluster's.
"""

from __future__ import annotations

import msgspec

from eaves.controller.reconcile.clusters.draft import Activity, Draft
from eaves.kinds.k3scluster_status import K3sMemberStatus
from eaves.kinds.k3scluster_status import MemberWish as Wish


def is_restoring(draft: Draft) -> bool:
    """Members that run EVE neither stop nor restore, which condition SpecSupported tells."""
    order = draft.spec.operations.restore
    return order is not None and order.counter > draft.done.restore and not draft.has_eve


def drop_vanished(draft: Draft) -> None:
    """Members whose device is no more: the restored cluster knows nothing of them but a Node, and may run on none of them."""
    for member in list(draft.members.values()):
        if draft.node_of(member) is None:
            draft.drop(member)


def restore_cluster(draft: Draft) -> None:
    """One step of a restore that is on order."""
    order = draft.spec.operations.restore
    assert order is not None
    servers = [member for member in draft.servers() if member.address]
    if not servers:
        draft.say(Activity.RESTORING, "NoServer", "there is no server to restore on; name one in spec.servers")
        return
    chosen = _choose(draft, servers, order.counter)
    draft.first_server = draft.leader = chosen.node_name
    if not _has_obeyed(chosen, order.counter):
        if chosen.ordered.restore != order.counter:
            _prepare(draft, chosen, order.counter)
        else:
            draft.say(Activity.RESTORING, "Restoring", f"{chosen.node_name} restores {order.snapshot}{_why(chosen)}")
        return
    if not (chosen.api_ready and chosen.has_data):
        draft.say(Activity.RESTORING, "Restoring", f"{chosen.node_name} starts with {order.snapshot}{_why(chosen)}")
        return
    draft.initialized = True
    _bring_back(draft, chosen, order.counter)


def _choose(draft: Draft, servers: list[K3sMemberStatus], counter: int) -> K3sMemberStatus:
    """Who restores: the one that was told to, else the first server if it can be reached, else any that can."""
    told = [member for member in servers if member.ordered.restore == counter and not member.stopped]
    if told and not (draft.first_server and draft.first_server in {member.node_name for member in told}):
        return told[0]
    return min(
        servers,
        key=lambda member: (
            member.node_name != draft.first_server or not (member in told or draft.is_connected(member)),
            not draft.is_connected(member),
            not member.has_data,
            member.node_name,
        ),
    )


def _prepare(draft: Draft, chosen: K3sMemberStatus, counter: int) -> None:
    """No server may run with the former state while another starts with the restored one. Those out of reach drop theirs later."""
    running = []
    for member in draft.servers():
        if member is chosen:
            continue
        member = draft.change(member, stopped=True)
        if draft.is_connected(member) and member.state not in ("Stopped", "") and member.joined:
            running.append(member.node_name)
    if running:
        draft.say(Activity.RESTORING, "Stopping", f"servers stop before the restore: {', '.join(running)}")
        return
    ordered = msgspec.structs.replace(chosen.ordered, restore=counter)
    draft.change(chosen, ordered=ordered, stopped=False, want=Wish.READY)
    draft.say(Activity.RESTORING, "Restoring", f"{chosen.node_name} restores the snapshot")


def _bring_back(draft: Draft, chosen: K3sMemberStatus, counter: int) -> None:
    """The others drop their state and join, one after the other; who is out of reach is not waited for."""
    others = [member for member in draft.servers() if member.node_name != chosen.node_name]
    for member in others:
        if member.ordered.restore == counter and not member.stopped:
            if draft.is_connected(member) and not (_has_obeyed(member, counter) and member.ready):
                draft.say(
                    Activity.RESTORING, "ServerJoining", f"{member.node_name} joins the restored cluster{_why(member)}"
                )
                return
            continue
        ordered = msgspec.structs.replace(member.ordered, restore=counter)
        member = draft.change(member, ordered=ordered, stopped=False, want=Wish.READY)
        if draft.is_connected(member):
            draft.say(Activity.RESTORING, "ServerJoining", f"{member.node_name} joins the restored cluster")
            return
    draft.done = msgspec.structs.replace(draft.done, restore=counter)


def _has_obeyed(member: K3sMemberStatus, counter: int) -> bool:
    return member.done.restore >= counter


def _why(member: K3sMemberStatus) -> str:
    text = member.order_message or member.message
    return f": {text}" if text else ""
