"""Patch envelope info → the node's entry in PatchEnvelope.status."""

from __future__ import annotations

from collections.abc import Sequence

from eaves.controller.compile.model import Problem
from eaves.controller.observe.conditions import compact, plan_update, status_of
from eaves.controller.observe.model import DeviceObjects, EventNote, EventType, StatusUpdate
from eaves.kube.resource import Object
from eaves.wire.pb.info import patch_envelope_pb2
from eaves.wire.pb.info.patch_envelope_pb2 import ZInfoPatchEnvelope

_STATES = {
    patch_envelope_pb2.PATCH_ERROR: "Error",
    patch_envelope_pb2.PATCH_RECEIVED: "Received",
    patch_envelope_pb2.PATCH_DOWNLOADING: "Downloading",
    patch_envelope_pb2.PATCH_DOWNLOADED: "Downloaded",
    patch_envelope_pb2.PATCH_READY: "Ready",
    patch_envelope_pb2.PATCH_ACTIVE: "Active",
}


def observe_patch(objects: DeviceObjects, info: ZInfoPatchEnvelope) -> list[StatusUpdate]:
    """What the device says of one envelope; the last word about one that is gone there takes its entry away."""
    envelope = next((obj for obj in objects.patches if obj["metadata"]["uid"] == info.id), None)
    if envelope is None:
        return []
    if not info.name and not info.version:
        return _write(envelope, objects, None)
    entry = compact(state=_STATES.get(info.state, "Pending"), version=info.version, message="; ".join(info.errors))
    return _write(envelope, objects, entry)


def observe_wanted_patches(objects: DeviceObjects, problems: Sequence[Problem]) -> list[StatusUpdate]:
    """A config was made: envelopes for apps of this node are on their way, or say why not."""
    updates: list[StatusUpdate] = []
    for envelope in objects.patches:
        problem = next((problem for problem in problems if problem.uid == envelope["metadata"]["uid"]), None)
        old = _entry_of(envelope, objects)
        if not _concerns(envelope, objects):
            updates += _write(envelope, objects, None)
        elif problem is not None:
            note = EventNote(EventType.WARNING, problem.reason, problem.message)
            is_told = old is not None and old.get("message") == problem.message
            updates += _write(
                envelope, objects, {"state": "Error", "message": problem.message}, [] if is_told else [note]
            )
        else:
            is_over = old is None or (old.get("state") == "Error" and "version" not in old)
            updates += _write(envelope, objects, {"state": "Pending"} if is_over else old)
    return updates


def _concerns(envelope: Object, objects: DeviceObjects) -> bool:
    namespace, names = envelope["metadata"].get("namespace"), (envelope.get("spec") or {}).get("apps") or ()
    return not envelope["metadata"].get("deletionTimestamp") and any(
        app["metadata"].get("namespace") == namespace and app["metadata"]["name"] in names for app in objects.apps
    )


def _entry_of(envelope: Object, objects: DeviceObjects) -> Object | None:
    node_name = objects.edgenode["metadata"]["name"]
    nodes = (envelope.get("status") or {}).get("nodes") or ()
    return next((entry for entry in nodes if entry.get("nodeName") == node_name), None)


def _write(
    envelope: Object, objects: DeviceObjects, entry: Object | None, events: Sequence[EventNote] = ()
) -> list[StatusUpdate]:
    node_name = objects.edgenode["metadata"]["name"]
    status = status_of(envelope)
    others = [found for found in status.get("nodes") or () if found.get("nodeName") != node_name]
    if entry is not None:
        others.append({**entry, "nodeName": node_name})
    status["nodes"] = sorted(others, key=lambda found: str(found["nodeName"]))
    status["observedGeneration"] = envelope["metadata"].get("generation", 0)
    update = plan_update(envelope, status, list(events))
    return [] if update is None else [update]
