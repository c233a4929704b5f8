"""What to do next for a volume that is there. Pure; what is missing is made by :mod:`eaves.node.volumes.making`."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from eaves.node.desired.model import DesiredVolume, VolumeSnapshotWish
from eaves.node.volumes import sets
from eaves.node.volumes.actions import Action, DropSnapshot, Grow, Mount, Repair, RollBack, TakeSnapshot, Wait
from eaves.node.volumes.around import Surroundings, join_users
from eaves.node.volumes.model import Enforcement, Form, Seen, StorageFacts

STILL_LIMIT_BYTES = 256 << 20
"""The most that is copied while an app's writes are held up; some seconds where the disk can share nothing."""


class VolumeRecord(Struct, frozen=True):
    """What cannot be seen on disk.

    ``rollback_counter`` None = no order seen yet; the first one seen with a volume that is there is remembered and not obeyed.
    ``taken``: snapshots that were taken; one that is gone is lost, and never taken again with other content. ``is_working``: the
    disk's file is being changed in place; found so after a crash it has to be repaired.
    """

    rollback_counter: int | None = None
    taken: tuple[str, ...] = ()
    is_working: bool = False


class VolumePlan(Struct, frozen=True):
    """``actions`` in the order to do them; ``waits``: what cannot be done now and why. ``is_usable``: an app may have it now."""

    actions: tuple[Action, ...] = ()
    waits: tuple[Wait, ...] = ()
    is_usable: bool = False


def plan_present(volume: DesiredVolume, seen: Seen, record: VolumeRecord, around: Surroundings) -> VolumePlan:
    """Bring a volume that is there to what is asked. It keeps its form, whatever the config says now."""
    if (record.is_working or seen.is_read_only) and seen.key not in around.users:
        return VolumePlan((Repair(seen.key),))
    found = list(_plan_steps(volume, seen, record, around))
    actions = tuple(step for step in found if not isinstance(step, Wait))
    waits = tuple(step for step in found if isinstance(step, Wait))
    return VolumePlan(actions, waits, not any(isinstance(step, Mount | RollBack) for step in actions))


def _plan_steps(
    volume: DesiredVolume, seen: Seen, record: VolumeRecord, around: Surroundings
) -> Iterator[Action | Wait]:
    if seen.form is Form.EXT4 and not seen.is_mounted:
        yield Mount(seen.key)
    if seen.is_read_only:
        users = join_users(around.users[seen.key])
        message = f"volume {volume.name} takes no writes, since some failed; it is mended when {users} has stopped"
        yield Wait("VolumeReadOnly", message, f"make room on the node's disk, then restart {users}")
    yield from _plan_rollback(volume, seen, record, around)
    yield from _plan_snapshots(volume, seen, record, around)
    yield from _plan_size(volume, seen, around)


def _plan_rollback(
    volume: DesiredVolume, seen: Seen, record: VolumeRecord, around: Surroundings
) -> Iterator[Action | Wait]:
    order = volume.rollback
    if order is None or record.rollback_counter in (None, order.counter):
        return
    of = order.of
    is_here = order.snapshot_id in seen.snapshots
    if not is_here or (of is not None and not sets.is_whole(of, order.snapshot_id, around)):
        message = f"volume {volume.name} cannot go back to a snapshot that is not there"
        yield Wait("SnapshotMissing", message, "name a snapshot that is ready")
    elif users := around.users.get(seen.key):
        message = f"volume {volume.name} goes back to its snapshot when {join_users(users)} has stopped"
        yield Wait("VolumeInUse", message, f"stop {join_users(users)}")
    else:
        has_memory = of is not None and of.with_memory and seen.snapshots[order.snapshot_id].has_memory
        yield RollBack(seen.key, order.snapshot_id, order.counter, of.app_id if of is not None and has_memory else "")


def _plan_snapshots(
    volume: DesiredVolume, seen: Seen, record: VolumeRecord, around: Surroundings
) -> Iterator[Action | Wait]:
    wanted = {snapshot.id: snapshot for snapshot in volume.snapshots}
    is_held = seen.form is Form.QCOW2 and seen.key in around.users and seen.key not in around.live
    torn = {snapshot.id for snapshot in volume.snapshots if sets.is_torn(snapshot, seen.key, around)}
    pruned = _list_pruned(volume, seen, torn)
    for snapshot_id in sorted(seen.snapshots):
        is_unwanted = snapshot_id not in wanted or snapshot_id in torn or snapshot_id in pruned
        if is_unwanted and snapshot_id not in around.copied_snapshots and not is_held:
            yield DropSnapshot(seen.key, snapshot_id)
    for snapshot in volume.snapshots:
        is_here = snapshot.id in seen.snapshots and snapshot.id not in torn
        if is_here and not _lacks_memory(snapshot, seen, record, around):
            continue
        if snapshot.id in record.taken and 0 < volume.snapshots_limit < len(volume.snapshots):
            message = f"snapshot {snapshot.name} made way for newer ones: {volume.snapshots_limit} are kept at most"
            yield Wait("SnapshotPruned", message, "delete the snapshot", snapshot.id)
        elif snapshot.id in record.taken:
            message = f"snapshot {snapshot.name} of volume {volume.name} is no longer there"
            yield Wait("SnapshotLost", message, "delete the snapshot, and take another one", snapshot.id)
        elif snapshot.id in torn and snapshot.id in seen.snapshots:
            # What is left of it goes first.
            message = f"snapshot {snapshot.name} was broken off half taken, and is taken anew"
            yield Wait("SnapshotInterrupted", message, "", snapshot.id)
        elif snapshot.of is not None:
            yield sets.plan_part(volume.name, seen, snapshot, around)
        elif is_held or _needs_stop(seen, around):
            users = join_users(around.users[seen.key])
            message = f"snapshot {snapshot.name} of volume {volume.name} is taken when {users} has stopped"
            yield Wait("VolumeInUse", message, f"stop {users} for a moment", snapshot.id)
        else:
            yield TakeSnapshot(seen.key, snapshot.id)


def _list_pruned(volume: DesiredVolume, seen: Seen, torn: set[str]) -> set[str]:
    """Snapshots that are more than the config lets be kept: the oldest."""
    if not volume.snapshots_limit:
        return set()
    kept = [snapshot.id for snapshot in volume.snapshots if snapshot.id in seen.snapshots and snapshot.id not in torn]
    kept.sort(key=lambda snapshot_id: seen.snapshots[snapshot_id].taken_at)
    return set(kept[: -volume.snapshots_limit])


def _lacks_memory(wish: VolumeSnapshotWish, seen: Seen, record: VolumeRecord, around: Surroundings) -> bool:
    """Whether the memory that was saved with it, beside this disk, is gone."""
    of = wish.of
    is_first = of is not None and of.with_memory and sets.list_members(of)[0] == seen.key
    return is_first and wish.id in record.taken and not seen.snapshots[wish.id].has_memory


def _needs_stop(seen: Seen, around: Surroundings) -> bool:
    """Whether the copy would take longer than writes may be held up."""
    if seen.key not in around.users or seen.form is Form.QCOW2 or around.facts.has_reflink:
        return False
    return seen.form is Form.RAW or (seen.form is Form.EXT4 and seen.allocated_bytes > STILL_LIMIT_BYTES)


def _plan_size(volume: DesiredVolume, seen: Seen, around: Surroundings) -> Iterator[Action | Wait]:
    wanted = volume.size_bytes
    is_down = seen.form is Form.EXT4 and not seen.is_mounted
    if seen.enforcement is Enforcement.WATCHED or is_down or not wanted or wanted == seen.size_bytes:
        return
    if wanted < seen.size_bytes:
        # The size of an image that is larger than asked for is no shrinking; nobody asked for less than before.
        if not volume.image_id:
            message = f"volume {volume.name} has {seen.size_bytes} bytes and cannot shrink to {wanted}"
            yield Wait("VolumeCannotShrink", message, "make a smaller volume and copy what is needed")
    elif too_large := find_excess(volume, around.facts):
        yield too_large
    elif seen.key in around.users and not _grows_in_use(seen, around):
        users = join_users(around.users[seen.key])
        yield Wait("VolumeInUse", f"volume {volume.name} grows when {users} has stopped", f"stop {users} for a moment")
    else:
        yield Grow(seen.key, wanted, is_offline=seen.form is Form.EXT4 and not around.facts.grows_mounted)


def _grows_in_use(seen: Seen, around: Surroundings) -> bool:
    if seen.form.is_block:
        return seen.key in around.live
    return seen.form is Form.FOLDER or around.facts.grows_mounted


def find_excess(volume: DesiredVolume, facts: StorageFacts) -> Wait | None:
    """Whether the volume could never be filled on this node's disk."""
    if not facts.total_bytes or volume.size_bytes <= facts.total_bytes:
        return None
    message = f"volume {volume.name} asks for {volume.size_bytes} bytes, the node's disk has {facts.total_bytes}"
    return Wait("VolumeTooLarge", message, "ask for less, or use another node")
