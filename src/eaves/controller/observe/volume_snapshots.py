"""Snapshots in a volume's info → the status of VolumeSnapshots. Only an Eaves node has any; it tells of them in our extension."""

from __future__ import annotations

from eaves.controller.observe.conditions import (
    FALSE,
    TRUE,
    Fact,
    Status,
    assign,
    plan_update,
    set_conditions,
    status_of,
)
from eaves.controller.observe.model import DeviceObjects, EventNote, EventType, StatusUpdate
from eaves.controller.observe.pieces import time_of
from eaves.kinds.volumesnapshot import VolumeSnapshotPhase
from eaves.kube.resource import Object
from eaves.wire.pb.eaves.extension_pb2 import VolumeSnapshotInfo
from eaves.wire.pb.info.info_pb2 import ZInfoVolume


def snapshots_of(volume: Object, objects: DeviceObjects) -> list[Object]:
    """VolumeSnapshots of one Volume that are to be there."""
    meta = volume["metadata"]
    return [
        snapshot
        for snapshot in objects.volume_snapshots
        if snapshot["metadata"].get("namespace") == meta.get("namespace")
        and (snapshot.get("spec") or {}).get("volumeName") == meta["name"]
        and not snapshot["metadata"].get("deletionTimestamp")
    ]


def held_snapshots(objects: DeviceObjects, volume: Object, info: ZInfoVolume) -> list[str]:
    """Names of the snapshots that can be gone back to."""
    held = {told.id for told in info.eaves.snapshots if told.state == VolumeSnapshotPhase.READY}
    return sorted(obj["metadata"]["name"] for obj in snapshots_of(volume, objects) if obj["metadata"]["uid"] in held)


def observe_volume_snapshots(
    objects: DeviceObjects, volume: Object, info: ZInfoVolume, now: float
) -> list[StatusUpdate | None]:
    """What the device says of each snapshot of the volume."""
    told = {snapshot.id: snapshot for snapshot in info.eaves.snapshots}
    node_name = objects.edgenode["metadata"]["name"]
    return [
        _observe(snapshot, told[snapshot["metadata"]["uid"]], node_name, now)
        for snapshot in snapshots_of(volume, objects)
        if snapshot["metadata"]["uid"] in told
    ]


def observe_wanted_volume_snapshots(objects: DeviceObjects, volume: Object, now: float) -> list[StatusUpdate | None]:
    """Snapshots that the config of the device now asks for, and of which nothing was heard."""
    node_name = objects.edgenode["metadata"]["name"]
    updates = []
    for snapshot in snapshots_of(volume, objects):
        status = status_of(snapshot)
        if not status.get("phase"):
            text = f"waits for node {node_name} to take its config"
            _assign(status, VolumeSnapshotPhase.PENDING, "AwaitingNode", text, now)
            updates.append(plan_update(snapshot, status))
    return updates


def _observe(snapshot: Object, told: VolumeSnapshotInfo, node_name: str, now: float) -> StatusUpdate | None:
    status = status_of(snapshot)
    former = status.get("phase")
    known = {str(phase): phase for phase in VolumeSnapshotPhase}
    phase = known.get(told.state, VolumeSnapshotPhase.PENDING)
    reason = {VolumeSnapshotPhase.READY: "Taken", VolumeSnapshotPhase.FAILED: "SnapshotFailed"}.get(phase, str(phase))
    _assign(status, phase, reason, told.message, now)
    assign(
        status,
        nodeName=node_name,
        takenAt=time_of(told.taken_at) or status.get("takenAt"),
        size=str(told.size_bytes) if told.size_bytes else status.get("size"),
    )
    events = []
    if phase != former and phase is VolumeSnapshotPhase.READY:
        events.append(EventNote(EventType.NORMAL, "SnapshotTaken", f"the snapshot is on node {node_name}"))
    elif phase != former and phase is VolumeSnapshotPhase.FAILED:
        events.append(EventNote(EventType.WARNING, "SnapshotFailed", told.message))
    return plan_update(snapshot, status, events)


def _assign(status: Status, phase: VolumeSnapshotPhase, reason: str, message: str, now: float) -> None:
    assign(status, phase=str(phase), message=message)
    is_ready = phase is VolumeSnapshotPhase.READY
    set_conditions(status, [Fact("Ready", TRUE if is_ready else FALSE, reason, message)], now)
