"""Content tree info → the App or Volume that waits for the image; volume info → Volume.status."""

from __future__ import annotations

import msgspec

from eaves.controller.compile.identifiers import content_tree_id, root_volume_id, source_tree_id
from eaves.controller.observe.conditions import (
    FALSE,
    TRUE,
    Fact,
    Status,
    assign,
    find_condition,
    forget_conditions,
    plan_update,
    set_conditions,
    status_of,
)
from eaves.controller.observe.contact import app_ready
from eaves.controller.observe.model import DeviceObjects, EventNote, EventType, StatusUpdate
from eaves.controller.observe.pieces import digest_of, hindrances_of
from eaves.controller.observe.vms import is_machine, root_disk_facts
from eaves.controller.observe.volume_snapshots import held_snapshots, observe_volume_snapshots
from eaves.kinds import app as app_kind
from eaves.kinds import volume as volume_kind
from eaves.kinds.app_status import AppPhase
from eaves.kinds.volume import DiskFormat, VolumeMode, VolumePhase
from eaves.kube.quantity import parse_bytes
from eaves.kube.resource import Object
from eaves.wire.pb.info import info_pb2
from eaves.wire.pb.info.info_pb2 import ZInfoContentTree, ZInfoVolume

_PROGRESS_STEP = 10
"""Progress is written in steps of so many percent: a status is no progress bar for every packet."""

_USED_STEP = 20
"""Use of a volume is written when it moved by one part in so many of its size."""

_FAILED = "ErrImagePull"
_MODES, _FORMATS = frozenset(VolumeMode), frozenset(DiskFormat)
_BEFORE_CONTAINER = frozenset({"", AppPhase.PENDING, AppPhase.DOWNLOADING, AppPhase.FAILED})


def observe_content_tree(objects: DeviceObjects, info: ZInfoContentTree, now: float) -> list[StatusUpdate]:
    """How far an image is, told where people look: at the app or volume that waits for it."""
    node_name = objects.edgenode["metadata"]["name"]
    apps = [
        app
        for app in objects.apps
        if (app.get("spec") or {}).get("nodeName") == node_name and _is_image_of(app, info.uuid)
    ]
    volumes = [volume for volume in objects.volumes if _is_source_of(volume, info.uuid)]
    updates = [_observe_app_image(app, info, objects.edgenode, now) for app in apps] + [
        _observe_source(volume, info, now) for volume in volumes
    ]
    return [update for update in updates if update is not None]


def _is_image_of(app: Object, tree_id: str) -> bool:
    try:
        return content_tree_id(app_kind.decode(app)) == tree_id
    except msgspec.ValidationError:
        return False


def _is_source_of(volume: Object, tree_id: str) -> bool:
    try:
        return source_tree_id(volume_kind.decode(volume)) == tree_id
    except msgspec.ValidationError:
        return False


def _image_fact(info: ZInfoContentTree) -> Fact | None:
    """None for the last word about an image that is gone."""
    fault = hindrances_of([info.err]) if info.HasField("err") else ""
    if info.state == info_pb2.INVALID and not info.displayName:
        return None
    if info.state == info_pb2.LOADED:
        return Fact("ImageReady", TRUE, "Loaded", "the image is on the node")
    if info.state == info_pb2.ERROR or fault:
        return Fact("ImageReady", FALSE, _FAILED, fault or "the image cannot be had")
    if info.state == info_pb2.DOWNLOAD_STARTED:
        percent = info.progressPercentage // _PROGRESS_STEP * _PROGRESS_STEP
        return Fact("ImageReady", FALSE, "Downloading", f"the image is being downloaded: {percent} %")
    if info.state in (info_pb2.RESOLVING_TAG, info_pb2.RESOLVED_TAG):
        return Fact("ImageReady", FALSE, "Resolving", "the registry is asked what the tag means")
    if info.state == info_pb2.LOADING and info.progressPercentage:
        percent = info.progressPercentage // _PROGRESS_STEP * _PROGRESS_STEP
        return Fact("ImageReady", FALSE, "Converting", f"the image is being made ready for volumes: {percent} %")
    if info.state in (info_pb2.VERIFYING, info_pb2.VERIFIED, info_pb2.LOADING, info_pb2.DOWNLOADED, info_pb2.DELIVERED):
        return Fact("ImageReady", FALSE, "Verifying", "the image is being verified and unpacked")
    return Fact("ImageReady", FALSE, "Waiting", "the download has not started")


def _observe_app_image(app: Object, info: ZInfoContentTree, edgenode: Object, now: float) -> StatusUpdate | None:
    fact = _image_fact(info)
    if fact is None:
        return None
    status = status_of(app)
    events: list[EventNote] = []
    image = str((app.get("spec") or {}).get("image", ""))
    if info.sha256:
        status["image"] = {"reference": image, "digest": digest_of(info.sha256)}
    phase = str(status.get("phase") or "")
    set_conditions(status, [fact], now)
    is_told = fact.status is FALSE and fact.reason != "Waiting"
    if phase in _BEFORE_CONTAINER and is_told and not (fact.reason != _FAILED and _has_fault(status, edgenode)):
        waiting = "Pulling" if fact.reason != _FAILED else _FAILED
        if phase != AppPhase.FAILED:
            status["phase"] = str(AppPhase.DOWNLOADING)
        assign(status, message=fact.message, state={"waiting": {"reason": waiting, "message": fact.message}})
        set_conditions(status, [app_ready(status, is_connected=True)], now)
    old: Status = next(
        (c for c in (app.get("status") or {}).get("conditions") or () if c.get("type") == "ImageReady"), {}
    )
    if fact.reason == _FAILED and old.get("message") != fact.message:
        events.append(EventNote(EventType.WARNING, "Failed", f'failed to pull image "{image}": {fact.message}'))
    return plan_update(app, status, events)


def _has_fault(status: Status, edgenode: Object) -> bool:
    """Whether an EVE device has said what hinders the app, which it takes back itself: the image may go on all the same (too small a
    disk is found while it is unpacked)."""
    runs_eve = ((edgenode.get("status") or {}).get("versions") or {}).get("eve")
    reason = ((status.get("state") or {}).get("waiting") or {}).get("reason")
    return bool(runs_eve) and (reason == _FAILED or status.get("phase") == AppPhase.FAILED)


def _observe_source(volume: Object, info: ZInfoContentTree, now: float) -> StatusUpdate | None:
    fact = _image_fact(info)
    if fact is None:
        return None
    status = status_of(volume)
    if status.get("phase") not in (VolumePhase.READY, VolumePhase.FAILED):
        ready = find_condition(status.get("conditions") or (), "Ready") or {}
        # What hinders the volume itself goes before how far its image is.
        fault = ready.get("message") if ready.get("status") == FALSE else ""
        assign(status, phase=str(VolumePhase.CREATING), message=fault or fact.message)
    set_conditions(status, [fact], now)
    return plan_update(volume, status)


def observe_volume(objects: DeviceObjects, info: ZInfoVolume, now: float) -> list[StatusUpdate]:
    """The state of a Volume object, or the size of a machine's root disk; other volumes of an app's own show in the app."""
    volume = next((volume for volume in objects.volumes if volume["metadata"]["uid"] == info.uuid), None)
    if volume is None:
        update = _observe_root_disk(objects, info, now)
        return [] if update is None else [update]
    status = status_of(volume)
    old_phase = status.get("phase")
    fault = hindrances_of([info.volumeErr]) if info.HasField("volumeErr") else ""
    phase = _volume_phase(info, fault)
    assign(
        status,
        phase=str(phase),
        message=fault or ("" if phase is VolumePhase.READY else _image_message(status)),
        capacity=str(info.resources.maxSizeBytes) if info.resources.maxSizeBytes else status.get("capacity"),
        used=_steady(status, "used", info.resources.curSizeBytes, info)
        if phase is VolumePhase.READY
        else status.get("used"),
        snapshots=held_snapshots(objects, volume, info),
        observedGeneration=volume["metadata"].get("generation", 0),
    )
    ready = Fact("Ready", TRUE, "Ready", "") if phase is VolumePhase.READY else Fact("Ready", FALSE, str(phase), fault)
    set_conditions(status, [ready], now)
    events = []
    if phase is VolumePhase.FAILED and old_phase != phase:
        events.append(EventNote(EventType.WARNING, "VolumeFailed", fault or "the node cannot make the volume"))
    if phase is VolumePhase.READY and old_phase != phase:
        events.append(
            EventNote(EventType.NORMAL, "VolumeReady", f"the volume is on node {objects.edgenode['metadata']['name']}")
        )
    if info.HasField("eaves"):
        _assign_details(status, info, is_file=(volume.get("spec") or {}).get("mode") == VolumeMode.FILE)
    counter = info.eaves.rollback_counter
    if counter and status.get("rollbackCounter") != counter:
        status["rollbackCounter"] = counter
        name = ((volume.get("spec") or {}).get("rollback") or {}).get("snapshotName", "its snapshot")
        events.append(EventNote(EventType.NORMAL, "RolledBack", f"the volume is back at {name}"))
    updates = [plan_update(volume, status, events), *observe_volume_snapshots(objects, volume, info, now)]
    return [update for update in updates if update is not None]


def _observe_root_disk(objects: DeviceObjects, info: ZInfoVolume, now: float) -> StatusUpdate | None:
    """How large the disk became that was made from an App's image: no less than the image is, whatever was asked for.

    Of an EVE device it is not known: its disk takes the size of a larger image too, and it goes on to tell the size that was asked for
    (checkResizeDisk and handleDeferredVolumeCreate of its volumemgr).
    """
    if info.state != info_pb2.CREATED_VOLUME or info.eaves.mode != VolumeMode.BLOCK:
        return None
    app = next((app for app in objects.apps if is_machine(app) and _is_root_of(app, objects, info.uuid)), None)
    if app is None:
        return None
    status = status_of(app)
    status["rootDisk"] = {"image": app["spec"]["image"], "size": str(info.resources.maxSizeBytes)}
    facts = list(root_disk_facts(app, status))
    set_conditions(status, facts, now)
    if not facts:
        forget_conditions(status, {"RootDiskSized"})
    return plan_update(app, status)


def _is_root_of(app: Object, objects: DeviceObjects, volume_id: str) -> bool:
    if (app.get("spec") or {}).get("nodeName") != objects.edgenode["metadata"]["name"]:
        return False
    try:
        return root_volume_id(app_kind.decode(app)) == volume_id
    except msgspec.ValidationError:
        return False


def _assign_details(status: Status, info: ZInfoVolume, *, is_file: bool) -> None:
    """What an Eaves node adds, to which a file is a raw disk. While the volume is not there it tells nothing."""
    told = info.eaves
    if told.mode not in _MODES:
        return
    assign(
        status,
        mode=VolumeMode.FILE if is_file else told.mode,
        format=told.format if told.format in _FORMATS and not is_file else None,
        enforcement=told.enforcement,
        encrypted=told.encrypted,
        allocated=_steady(status, "allocated", told.allocated_bytes, info),
        usedBy=sorted(told.users),
    )


def _image_message(status: Status) -> str:
    """What the image of a volume waits for. The image is told by itself, before or after its volume."""
    found = (condition for condition in status.get("conditions") or () if condition.get("type") == "ImageReady")
    return next((str(condition["message"]) for condition in found if condition["status"] == FALSE), "")


def _volume_phase(info: ZInfoVolume, fault: str) -> VolumePhase:
    if info.state == info_pb2.CREATED_VOLUME:
        return VolumePhase.READY
    if info.state == info_pb2.ERROR or (fault and info.state == info_pb2.INITIAL):
        return VolumePhase.FAILED
    return VolumePhase.PENDING if info.state in (info_pb2.INVALID, info_pb2.INITIAL) else VolumePhase.CREATING


def _steady(status: Status, field: str, new: int, info: ZInfoVolume) -> str:
    size = info.resources.maxSizeBytes
    old = status.get(field)
    if old is not None and size and abs(new - parse_bytes(old)) < size // _USED_STEP:
        return str(old)
    return str(new)
