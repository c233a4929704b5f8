"""Snapshots of a machine from what its volumes tell of theirs, and whether it has to stop to go back to one. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from eaves.node.desired.model import DesiredApp
from eaves.node.desired.vm_model import DesiredSnapshot, SnapshotTrigger
from eaves.node.observed import Fault, Observations, VolumeSnapshotStatus, VolumeStatus
from eaves.node.observed import SnapshotState as Part
from eaves.node.observed_vm import SnapshotState, SnapshotStatus

Volumes = Mapping[str, VolumeStatus]
"""What is seen of an app's volumes, by id."""


def list_disks(app: DesiredApp) -> list[str]:
    """Ids of the volumes that an app's snapshots are made of."""
    if app.vm is None:
        return list(app.snapshots.volumes)
    return [disk.volume_id for disk in app.vm.disks if disk.has_snapshots]


def list_volumes(observations: Observations, app: DesiredApp) -> dict[str, VolumeStatus]:
    """The board's statuses of the volumes that the app's snapshots are made of."""
    found = ((volume_id, observations.get(VolumeStatus, volume_id)) for volume_id in list_disks(app))
    return {volume_id: status for volume_id, status in found if isinstance(status, VolumeStatus)}


def want_snapshots(app: DesiredApp, volumes: Volumes) -> tuple[SnapshotStatus, ...]:
    """One status for each snapshot that is asked for."""
    return tuple(_want_snapshot(app, wish, volumes) for wish in app.snapshots.wanted)


def _want_snapshot(app: DesiredApp, wish: DesiredSnapshot, volumes: Volumes) -> SnapshotStatus:
    parts = _list_parts(app, wish.id, volumes)
    state = _want_state(app, wish.id, parts, volumes)
    is_whole = state in (SnapshotState.READY, SnapshotState.ROLLING_BACK)
    told = [part.message for part in parts if part is not None and part.message]
    return SnapshotStatus(
        wish.id,
        state,
        created_at=max((part.taken_at for part in parts if part is not None), default=0.0) if is_whole else 0.0,
        size_bytes=sum(part.size_bytes for part in parts if part is not None),
        with_memory=wish.with_memory,
        is_immediate=wish.trigger is SnapshotTrigger.IMMEDIATE,
        error="; ".join(dict.fromkeys(told)),
    )


def _list_parts(app: DesiredApp, snapshot_id: str, volumes: Volumes) -> list[VolumeSnapshotStatus | None]:
    """What each disk tells of its part. One that came after the others had theirs has none, and lacks none."""
    found = [
        next((part for part in status.snapshots if part.id == snapshot_id), None) if status else None
        for status in (volumes.get(volume_id) for volume_id in list_disks(app))
    ]
    is_taken = any(part is not None and part.state is Part.READY for part in found)
    return [part for part in found if part is not None] if is_taken else found


def _want_state(
    app: DesiredApp, snapshot_id: str, parts: list[VolumeSnapshotStatus | None], volumes: Volumes
) -> SnapshotState:
    states = [part.state if part is not None else Part.PENDING for part in parts]
    if Part.FAILED in states:
        return SnapshotState.FAILED
    if not states or all(state is Part.PENDING for state in states):
        return SnapshotState.WAITING
    if Part.PENDING in states:
        return SnapshotState.CREATING
    is_back = app.snapshots.active_id == snapshot_id and find_rollback(app, volumes) is not None
    return SnapshotState.ROLLING_BACK if is_back else SnapshotState.READY


def find_rollback(app: DesiredApp, volumes: Volumes) -> Fault | None:
    """What keeps the app from running until all of its disks have gone back; None when nothing does.

    All of them go back or none: where a part of the snapshot is lost, the app runs on as it is.
    """
    orders = app.snapshots
    parts = _list_parts(app, orders.active_id, volumes)
    if any(part is not None and part.state is Part.FAILED for part in parts):
        return None
    for volume_id in list_disks(app):
        status = volumes.get(volume_id)
        if status is None or status.rollback_counter == orders.rollback_counter:
            continue
        if any(part.id == orders.active_id and part.state is Part.READY for part in status.snapshots):
            name = next((wish.name for wish in orders.wanted if wish.id == orders.active_id), "") or orders.active_id
            why = f": {status.fault.message}" if status.fault else ""
            return Fault("RollingBack", f"volume {status.name} goes back to snapshot {name}{why}")
    return None


def find_update_snapshots(app: DesiredApp, volumes: Volumes) -> str:
    """Name of a snapshot that is to be taken before the app is updated and is not there yet; empty = none keeps it waiting.

    One that failed does not keep the app from its update.
    """
    for wish in app.snapshots.wanted:
        if wish.trigger is not SnapshotTrigger.APP_UPDATE or wish.with_memory:
            continue
        if _want_snapshot(app, wish, volumes).state in (SnapshotState.WAITING, SnapshotState.CREATING):
            return wish.name or wish.id
    return ""
