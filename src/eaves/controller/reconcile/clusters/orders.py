"""Orders that are obeyed once each: snapshots, renewal of certificates, change of the token. Counters of the spec against those obeyed."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from eaves.controller.reconcile.clusters.draft import Activity, Draft
from eaves.kinds.k3scluster_status import K3sMemberStatus, MemberRole
from eaves.kinds.k3scluster_status import MemberWish as Wish
from eaves.kinds.times import parse_time, render_time

RENEW_BEFORE_S = 30 * 86_400
"""Certificates are renewed when less is left. K3s renews them by itself at a start with less than 120 days left."""
ROTATE_AGAIN_S = 86_400
"""A renewal that did not help is tried again a day later."""


def order_snapshot(draft: Draft) -> None:
    """The leader takes one; another leader does not take it again."""
    wanted, leader = draft.spec.operations.snapshot, draft.acting_leader
    if wanted <= draft.done.snapshot:
        return
    done = max((member.done.snapshot for member in draft.members.values()), default=0)
    if done >= wanted:
        _note_done(draft, snapshot=wanted)
    elif leader is not None and leader.want is Wish.READY and not leader.runs_eve:
        _order(draft, leader, snapshot=wanted)
        if leader.order_message:
            draft.say(Activity.UPDATING, "SnapshotFailing", f"the snapshot is not taken: {leader.order_message}")


def rotate_certificates(draft: Draft, *, is_free: bool) -> None:
    """Servers one by one, then agents one by one, each ready before the next."""
    wanted = _wanted_rotations(draft)
    if wanted <= draft.done.rotate_certificates or not draft.initialized or not draft.obeying():
        return

    def has_done(member: K3sMemberStatus) -> bool:
        return max(member.done.rotate_certificates, member.joined_after.rotate_certificates) >= wanted

    if _one_by_one(
        draft, has_done, "CertificatesRenewing", "renews its certificates", is_free=is_free, rotate_certificates=wanted
    ):
        _note_done(draft, rotate_certificates=wanted)


def _wanted_rotations(draft: Draft) -> int:
    """Renewals on order and those that are due by themselves, as one counter that only grows."""
    wanted = draft.spec.operations.rotate_certificates + draft.automatic_rotations
    if wanted > draft.done.rotate_certificates or not draft.initialized:
        return wanted
    expiring = [member for member in draft.obeying() if _expires_soon(draft, member) and draft.is_connected(member)]
    is_recent = draft.rotated_at is not None and draft.now - parse_time(draft.rotated_at) < ROTATE_AGAIN_S
    if expiring and not is_recent:
        draft.automatic_rotations += 1
        draft.rotated_at = render_time(draft.now)
        return wanted + 1
    return wanted


def _expires_soon(draft: Draft, member: K3sMemberStatus) -> bool:
    expiry = member.certificates_expire_at
    return expiry is not None and parse_time(expiry) - draft.now < RENEW_BEFORE_S


def rotate_token(draft: Draft, *, is_free: bool) -> None:
    """The leader tells the cluster the new token, then the others take it, servers before agents.

    A member that runs EVE takes no other token than the one that it joined by, so all keep theirs beside it.
    """
    wanted = draft.spec.operations.rotate_token
    if wanted <= draft.done.rotate_token or not draft.initialized or draft.has_eve:
        return

    def has_done(member: K3sMemberStatus) -> bool:
        return max(member.done.rotate_token, member.joined_after.rotate_token) >= wanted

    first = next((member for member in draft.servers() if member.ordered.rotate_token == wanted), None)
    if not any(has_done(member) for member in draft.servers()):
        leader = draft.acting_leader if first is None else first
        if leader is None or not (is_free or first is not None):
            return
        _order(draft, leader, rotate_token=wanted)
        draft.say(Activity.UPDATING, "TokenRotating", _progress(leader, "makes the new token known"))
        return
    if _one_by_one(draft, has_done, "TokenRotating", "takes the new token", is_free=is_free, rotate_token=wanted):
        _note_done(draft, rotate_token=wanted)


def _one_by_one(
    draft: Draft, has_done: Callable[[K3sMemberStatus], bool], reason: str, what: str, *, is_free: bool, **orders: int
) -> bool:
    """Gives the order to the next member; True when all have obeyed. Agents out of reach obey when they come back."""
    members = [member for member in draft.obeying() if member.want is Wish.READY]
    members.sort(key=lambda member: (member.role is not MemberRole.SERVER, member.node_name))
    for member in members:
        is_ordered = all(getattr(member.ordered, name) == value for name, value in orders.items())
        if has_done(member) and member.ready:
            continue
        if is_ordered and not draft.is_connected(member) and member.role is MemberRole.AGENT:
            continue
        if has_done(member) or is_ordered:
            draft.say(Activity.UPDATING, reason, _progress(member, what))
            return False
        if member.role is MemberRole.AGENT and not draft.is_connected(member):
            _order(draft, member, **orders)
            continue
        unready = [other for other in draft.servers() if not other.stopped and not other.ready and other is not member]
        if unready or not is_free:
            text = f"{member.node_name} {what} when nothing else goes on and all servers are ready"
            draft.say(Activity.UPDATING, reason, text)
            return False
        _order(draft, member, **orders)
        draft.say(Activity.UPDATING, reason, _progress(member, what))
        return False
    return all(has_done(member) for member in members if member.role is MemberRole.SERVER)


def _order(draft: Draft, member: K3sMemberStatus, **orders: int) -> None:
    draft.change(member, ordered=msgspec.structs.replace(member.ordered, **orders))


def _note_done(draft: Draft, **orders: int) -> None:
    draft.done = msgspec.structs.replace(draft.done, **orders)


def _progress(member: K3sMemberStatus, what: str) -> str:
    return f"{member.node_name} {what}{f': {member.order_message}' if member.order_message else ''}"
