"""Snapshots that several disks of a machine have together: what to do, or why not yet. Pure; asked by :mod:`eaves.node.volumes.plan`.

A set is whole when each disk has its part, and the machine's memory is there where it belongs to the set. What is not whole and was
never reported as taken is what a crash left of an attempt: its parts go, and all are taken anew at another moment.
"""

from __future__ import annotations

from eaves.node.desired.model import SnapshotSet, VolumeSnapshotWish
from eaves.node.volumes.actions import TakeSet, Wait
from eaves.node.volumes.around import Surroundings, join_users
from eaves.node.volumes.model import Form, Seen, VolumeKey

OLDER = "SnapshotOlder"
"""The wait of a disk that came after the snapshot was taken: it has no part in it, and none is missing."""


def list_members(of: SnapshotSet) -> tuple[VolumeKey, ...]:
    return tuple(VolumeKey(volume_id, generation) for volume_id, generation in of.members)


def has_later_disks(of: SnapshotSet, snapshot_id: str, around: Surroundings) -> bool:
    """Whether some disks have their part on record and others never had one."""
    on_record = [snapshot_id in around.taken.get(member, ()) for member in list_members(of)]
    return any(on_record) and not all(on_record)


def is_whole(of: SnapshotSet, snapshot_id: str, around: Surroundings) -> bool:
    """Whether all of the snapshot is there."""
    parts = []
    for member in list_members(of):
        seen = around.seen.get(member)
        part = seen.snapshots.get(snapshot_id) if seen is not None else None
        if (
            part is None
            and snapshot_id not in around.taken.get(member, ())
            and has_later_disks(of, snapshot_id, around)
        ):
            continue
        parts.append(part)
    if not parts or any(part is None for part in parts):
        return False
    return not of.with_memory or any(part.has_memory for part in parts if part is not None)


def is_torn(wish: VolumeSnapshotWish, key: VolumeKey, around: Surroundings) -> bool:
    """Whether this disk's part is left of an attempt that did not end."""
    if wish.of is None or any(wish.id in around.taken.get(member, ()) for member in list_members(wish.of)):
        return False
    return not is_whole(wish.of, wish.id, around)


def plan_part(volume_name: str, seen: Seen, wish: VolumeSnapshotWish, around: Surroundings) -> TakeSet | Wait:
    """For a disk that lacks its part."""
    assert wish.of is not None
    of = wish.of
    members = list_members(of)
    if any(wish.id in around.taken.get(member, ()) for member in members):
        message = f"snapshot {wish.name} was taken before volume {volume_name} was there"
        return Wait(OLDER, message, "take another snapshot", wish.id)
    if of.problem:
        return Wait(
            "SnapshotImpossible", f"snapshot {wish.name}: {of.problem}", "make a snapshot of type Disk", wish.id
        )
    if missing := next((member for member in members if member not in around.seen), None):
        return Wait("VolumeMissing", f"snapshot {wish.name} waits for volume {missing.id}", "", wish.id)
    if of.at_update and of.app_id not in around.updating:
        message = f"snapshot {wish.name} is taken when the app next stops for an update"
        return Wait("UpdateAwaited", message, "", wish.id)
    return _plan_moment(seen, wish, of, members, around)


def _plan_moment(
    seen: Seen, wish: VolumeSnapshotWish, of: SnapshotSet, members: tuple[VolumeKey, ...], around: Surroundings
) -> TakeSet | Wait:
    there = [around.seen[member] for member in members]
    raw = next((member for member in there if member.form is not Form.QCOW2), None)
    is_live = all(member in around.live for member in members)
    if of.with_memory and raw is not None:
        message = f"snapshot {wish.name}: disk {raw.key.id} is raw, and only qcow2 disks are saved together with memory"
        return Wait("SnapshotImpossible", message, "make a snapshot of type Disk", wish.id)
    if of.with_memory and not is_live:
        message = f"snapshot {wish.name} is taken when the app runs, for without that there is no memory to save"
        return Wait("MachineStopped", message, "start the app", wish.id)
    users = {name for member in members for name in around.users.get(member, ())}
    if users and (raw is not None or not is_live):
        names = join_users(tuple(sorted(users)))
        message = f"snapshot {wish.name} of its disks is taken when {names} has stopped"
        return Wait("VolumeInUse", message, f"stop {names} for a moment", wish.id)
    return TakeSet(members[0], members, wish.id, of.with_memory)
