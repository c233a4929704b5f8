"""Snapshots of an app, and the order to go back to one.

An EVE device knows no more than ``max_snapshots`` and throws the oldest away, hence the number is that of the objects.

A snapshot goes with the root disk that it was taken of: another image, or a purge, makes the disk anew, and what was asked of the former
must never be taken of the new one. Which disk that was is noted on the object when it is made. The volumes of a container are none of
its root, so that its snapshots outlast another image.
"""

from __future__ import annotations

from collections.abc import Mapping

from eaves.controller.compile.errors import HeldBackError
from eaves.controller.compile.identifiers import root_volume_id
from eaves.controller.compile.lookup import Lookup
from eaves.kinds.app import App
from eaves.kinds.app_spec import AppType
from eaves.kinds.appsnapshot import AppSnapshot, SnapshotContent, SnapshotTrigger
from eaves.wire.pb.config.appconfig_pb2 import (
    SNAPSHOT_TYPE_APP_UPDATE,
    SNAPSHOT_TYPE_IMMEDIATE,
    InstanceOpsCmd,
    SnapshotConfig,
    SnapshotDesc,
)
from eaves.wire.pb.eaves.extension_pb2 import SnapshotDescExtension

ROOT_ANNOTATION = "eaves.dev/root-disk"
"""On an AppSnapshot: the root disk of its App at the time, see :func:`name_root`. Set by the server."""

_TYPES = {
    SnapshotTrigger.IMMEDIATE: SNAPSHOT_TYPE_IMMEDIATE,
    SnapshotTrigger.APP_UPDATE: SNAPSHOT_TYPE_APP_UPDATE,
}


def name_root(app: App) -> str:
    """Tells one root disk of a machine from another: its volume and generation. Empty for a container."""
    if app.spec.type is not AppType.VIRTUAL_MACHINE:
        return ""
    return f"{root_volume_id(app)}.{app.spec.purge_counter}"


def is_of_root(annotations: Mapping[str, str], app: App) -> bool:
    """Whether a snapshot is of the app's present root disk; one that says nothing counts as such."""
    return annotations.get(ROOT_ANNOTATION, "") in ("", name_root(app))


def want_snapshots(app: App, lookup: Lookup) -> SnapshotConfig | None:
    """None for an app without any. Raises :class:`HeldBackError` when the one to go back to is not there."""
    wanted = sorted(
        (
            snapshot
            for snapshot in lookup.snapshots(app.metadata.namespace, app.metadata.name)
            if not snapshot.metadata.deletion_timestamp and is_of_root(snapshot.metadata.annotations, app)
        ),
        key=lambda snapshot: (snapshot.metadata.creation_timestamp or "", snapshot.metadata.uid),
    )
    rollback = app.spec.rollback
    if not wanted and rollback is None:
        return None
    config = SnapshotConfig(max_snapshots=len(wanted), snapshots=[_describe(snapshot) for snapshot in wanted])
    if rollback is not None:
        found = next((snapshot for snapshot in wanted if snapshot.metadata.name == rollback.snapshot_name), None)
        if found is None:
            raise HeldBackError(
                "SnapshotNotFound",
                f"spec.rollback names AppSnapshot {rollback.snapshot_name}, and App {app.metadata.name} has no such snapshot;"
                " kubectl get appsnapshots shows those that it has",
            )
        config.active_snapshot = found.metadata.uid
        config.rollback_cmd.CopyFrom(InstanceOpsCmd(counter=rollback.counter))
    return config


def _describe(snapshot: AppSnapshot) -> SnapshotDesc:
    return SnapshotDesc(
        id=snapshot.metadata.uid,
        type=_TYPES[snapshot.spec.trigger],
        eaves=SnapshotDescExtension(
            name=snapshot.metadata.name, with_memory=snapshot.spec.type is SnapshotContent.DISK_AND_MEMORY
        ),
    )
