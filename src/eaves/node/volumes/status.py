"""What is told of one volume. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec import Struct

from eaves.node.desired.model import DesiredVolume
from eaves.node.observed import Fault, SnapshotState, VolumeSnapshotStatus, VolumeState, VolumeStatus
from eaves.node.volumes.actions import TakeSnapshot, Wait, name_work
from eaves.node.volumes.model import Form, Seen, Use
from eaves.node.volumes.plan import VolumePlan
from eaves.node.volumes.sets import OLDER

AWAITED = frozenset(
    {
        "ImageAwaited",
        "UpdateAwaited",
        "MachineStopped",
        "SnapshotImpossible",
        "SnapshotPruned",
        "SnapshotInterrupted",
        OLDER,
    }
)
"""Waits that end by themselves, or tell of a snapshot alone: no fault of the volume."""
_FINAL = frozenset({"SnapshotLost", "SnapshotPruned", "SnapshotImpossible"})
"""Waits of snapshots that nothing but another wish ends."""

FULL_PART = 0.05
"""The part of its size that is free at most when a volume counts as full."""

_FORMATS = {Form.QCOW2: "Qcow2", Form.RAW: "Raw"}


class View(Struct, frozen=True):
    """All that is known of a volume. ``work``: what is being done to it; ``faults``: what failed, by the work."""

    volume: DesiredVolume
    seen: Seen | None
    plan: VolumePlan
    work: str = ""
    faults: Mapping[str, Fault] = {}
    use: Use | None = None
    users: tuple[str, ...] = ()
    is_encrypted: bool = False
    rollback_counter: int = 0


def want_status(view: View, former: VolumeStatus | None, now: float) -> VolumeStatus:
    """``now``: Unix seconds; a fault that was known before keeps its time."""
    volume, seen = view.volume, view.seen
    use = view.use or Use()
    fault = _want_fault(view, former, now, use)
    if seen is None:
        state = _want_state(view, fault)
        return VolumeStatus(volume.id, volume.generation, volume.name, state, volume.size_bytes, fault=fault)
    return VolumeStatus(
        volume.id,
        volume.generation,
        volume.name,
        _want_state(view, fault),
        seen.size_bytes or volume.size_bytes,
        use.used_bytes,
        str(seen.path),
        fault,
        allocated_bytes=use.allocated_bytes,
        mode="Block" if seen.form.is_block else "Filesystem",
        format=_FORMATS.get(seen.form, ""),
        enforcement=str(seen.enforcement),
        is_encrypted=view.is_encrypted,
        users=view.users,
        snapshots=tuple(_want_snapshots(view, seen)),
        rollback_counter=view.rollback_counter,
    )


def _want_state(view: View, fault: Fault | None) -> VolumeState:
    if view.plan.is_usable:
        return VolumeState.READY
    if fault is not None:
        return VolumeState.FAILED
    if view.work:
        return VolumeState.CREATING
    return VolumeState.WAITING if view.plan.waits else VolumeState.CREATING


def _want_fault(view: View, former: VolumeStatus | None, now: float, use: Use) -> Fault | None:
    """What failed comes before what has to wait, and both before what is only to be known."""
    if view.faults:
        return next(iter(view.faults.values()))
    wait = next((wait for wait in view.plan.waits if wait.code not in AWAITED), None)
    wait = wait or _check_size(view.volume, view.seen, use)
    if wait is None:
        return None
    known = former.fault if former else None
    since = known.since if known and known.code == wait.code else now
    return Fault(wait.code, wait.message, wait.resolution, since)


def _check_size(volume: DesiredVolume, seen: Seen | None, use: Use) -> Wait | None:
    """What a volume runs out of. The inside of a disk is its guest's affair."""
    if seen is None or seen.form.is_block:
        return None
    if use.free_bytes is not None and use.free_bytes <= FULL_PART * seen.size_bytes:
        message = f"volume {volume.name} is full: {use.free_bytes} of {seen.size_bytes} bytes are free"
        return Wait("VolumeFull", message, "delete data in it or give it more room")
    if seen.size_bytes or not volume.size_bytes or use.used_bytes <= volume.size_bytes:
        return None
    message = f"volume {volume.name} holds {use.used_bytes} bytes, {volume.size_bytes} are allowed"
    return Wait("VolumeOverfull", message, "delete data in it or give it more room")


def _want_snapshots(view: View, seen: Seen) -> Iterator[VolumeSnapshotStatus]:
    waits = {wait.snapshot_id: wait for wait in view.plan.waits if wait.snapshot_id}
    for wish in view.volume.snapshots:
        found, wait = seen.snapshots.get(wish.id), waits.get(wish.id)
        fault = view.faults.get(name_work(TakeSnapshot(seen.key, wish.id)))
        if wait is not None and wait.code == OLDER:
            continue
        if found is not None and wait is None:
            yield VolumeSnapshotStatus(wish.id, wish.name, SnapshotState.READY, found.taken_at, found.allocated_bytes)
        elif fault is not None:
            yield VolumeSnapshotStatus(wish.id, wish.name, SnapshotState.FAILED, message=fault.message)
        elif wait is not None:
            state = SnapshotState.FAILED if wait.code in _FINAL else SnapshotState.PENDING
            yield VolumeSnapshotStatus(wish.id, wish.name, state, message=wait.message)
        else:
            yield VolumeSnapshotStatus(wish.id, wish.name, SnapshotState.PENDING)
