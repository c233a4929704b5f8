"""Snapshots in an app's info → the status of AppSnapshots.

Of an EVE device only the time and an error are known; an Eaves node tells state and size in our extension.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from eaves.controller.compile.snapshots import is_of_root
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
from eaves.controller.observe.pieces import generation_of, hindrances_of, time_of
from eaves.kinds import app as app_kind
from eaves.kinds.appsnapshot import AppSnapshotPhase, SnapshotContent
from eaves.kube.resource import Object
from eaves.wire.pb.info.info_pb2 import ZInfoApp, ZInfoSnapshot

_PHASES = {
    "Waiting": AppSnapshotPhase.PENDING,
    "Creating": AppSnapshotPhase.CREATING,
    "Ready": AppSnapshotPhase.READY,
    "RollingBack": AppSnapshotPhase.ROLLING_BACK,
    "Deleting": AppSnapshotPhase.DELETING,
    "Failed": AppSnapshotPhase.FAILED,
}
_TEXTS = {
    AppSnapshotPhase.PENDING: "waits for its moment",
    AppSnapshotPhase.CREATING: "is being taken",
    AppSnapshotPhase.READY: "",
    AppSnapshotPhase.ROLLING_BACK: "the app is being taken back to it",
    AppSnapshotPhase.DELETING: "is being deleted",
    AppSnapshotPhase.FAILED: "the device says only that it failed",
}


def snapshots_of(app: Object, objects: DeviceObjects) -> list[Object]:
    """AppSnapshots of one app that are to be there."""
    meta = app["metadata"]
    return [
        snapshot
        for snapshot in objects.snapshots
        if snapshot["metadata"].get("namespace") == meta.get("namespace")
        and (snapshot.get("spec") or {}).get("appName") == meta["name"]
        and not snapshot["metadata"].get("deletionTimestamp")
    ]


def observe_snapshots(objects: DeviceObjects, app: Object, info: ZInfoApp, now: float) -> list[StatusUpdate]:
    """What the device says of each snapshot of the app."""
    told = {snapshot.id: snapshot for snapshot in info.snapshots}
    node_name = objects.edgenode["metadata"]["name"]
    updates = [
        _observe(snapshot, told.get(snapshot["metadata"]["uid"]), node_name, now)
        for snapshot in snapshots_of(app, objects)
        if not _is_gone(snapshot, app)
    ]
    return [update for update in updates if update is not None]


def observe_wanted_snapshots(objects: DeviceObjects, app: Object, now: float) -> list[StatusUpdate]:
    """Snapshots that the config of the device now asks for, and of which nothing was heard."""
    node_name = objects.edgenode["metadata"]["name"]
    updates = []
    for snapshot in snapshots_of(app, objects):
        status = status_of(snapshot)
        if _is_gone(snapshot, app):
            text = "the app has another root disk since, by another image or a purge, and the snapshot went with the former"
            _assign(status, AppSnapshotPhase.FAILED, "RootReplaced", text, now)
            updates.append(plan_update(snapshot, status))
        elif not status.get("phase"):
            text = f"waits for node {node_name} to take its config"
            _assign(status, AppSnapshotPhase.PENDING, "AwaitingNode", text, now)
            updates.append(plan_update(snapshot, status))
    return [update for update in updates if update is not None]


def _is_gone(snapshot: Object, app: Object) -> bool:
    """Whether it was of a root disk that the app has no longer."""
    try:
        return not is_of_root(snapshot["metadata"].get("annotations") or {}, app_kind.decode(app))
    except msgspec.ValidationError:
        return False


def _observe(snapshot: Object, told: ZInfoSnapshot | None, node_name: str, now: float) -> StatusUpdate | None:
    status = status_of(snapshot)
    former = str(status.get("phase") or "")
    if told is None:
        if former not in (AppSnapshotPhase.READY, AppSnapshotPhase.ROLLING_BACK):
            return None
        text = f"node {node_name} does not have it any more; delete the object, and make another one"
        _assign(status, AppSnapshotPhase.FAILED, "Lost", text, now)
        return plan_update(snapshot, status, [EventNote(EventType.WARNING, "SnapshotLost", text)])
    phase = _phase(told)
    message = hindrances_of([told.snap_err]) if told.HasField("snap_err") else ""
    if phase is AppSnapshotPhase.READY and _lacks_memory(snapshot, told):
        message = f"node {node_name} saves no memory of machines: it has the disks alone"
    _assign(status, phase, _reason(phase), message or _TEXTS[phase], now)
    assign(
        status,
        nodeName=node_name,
        takenAt=time_of(told.create_time) or status.get("takenAt"),
        size=str(told.eaves.size_bytes) if told.eaves.size_bytes else status.get("size"),
        appGeneration=generation_of(told.config_version) or status.get("appGeneration"),
    )
    return plan_update(snapshot, status, list(_events(snapshot, former, phase, status)))


def _lacks_memory(snapshot: Object, told: ZInfoSnapshot) -> bool:
    wanted = (snapshot.get("spec") or {}).get("type")
    return wanted == SnapshotContent.DISK_AND_MEMORY and not told.eaves.with_memory


def _phase(told: ZInfoSnapshot) -> AppSnapshotPhase:
    if told.eaves.state in _PHASES:
        return _PHASES[told.eaves.state]
    if told.snap_err.description:
        return AppSnapshotPhase.FAILED
    return AppSnapshotPhase.READY if told.create_time.seconds > 0 else AppSnapshotPhase.PENDING


def _reason(phase: AppSnapshotPhase) -> str:
    return {AppSnapshotPhase.FAILED: "SnapshotFailed", AppSnapshotPhase.READY: "Taken"}.get(phase, str(phase))


def _assign(status: Status, phase: AppSnapshotPhase, reason: str, message: str, now: float) -> None:
    fields: dict[str, Any] = {"phase": str(phase), "reason": reason, "message": message}
    assign(status, **fields)
    is_ready = phase is AppSnapshotPhase.READY
    set_conditions(status, [Fact("Ready", TRUE if is_ready else FALSE, reason, message)], now)


def _events(snapshot: Object, former: str, phase: AppSnapshotPhase, status: Status) -> Iterator[EventNote]:
    if former == phase:
        return
    app = (snapshot.get("spec") or {}).get("appName", "")
    if phase is AppSnapshotPhase.FAILED:
        yield EventNote(EventType.WARNING, "SnapshotFailed", str(status.get("message")))
    elif phase is AppSnapshotPhase.ROLLING_BACK:
        yield EventNote(EventType.NORMAL, "RollingBack", f"App {app} goes back to this snapshot")
    elif phase is AppSnapshotPhase.READY:
        is_back = former == AppSnapshotPhase.ROLLING_BACK
        text = f"App {app} is back at this snapshot" if is_back else f"snapshot of App {app} was taken"
        yield EventNote(EventType.NORMAL, "RolledBack" if is_back else "SnapshotTaken", text)
