"""AppSnapshot: the disks of a virtual machine at one moment, and its memory if asked for, or a container's own volumes, kept on the node.

``spec.rollback`` of the App goes back to one. What the device API calls a snapshot is the same thing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Struct

from eaves.kinds import rules
from eaves.kinds.columns import age_at, at
from eaves.kinds.fields import Conditions, Quantity, Time, about
from eaves.kinds.metadata import ObjectMeta
from eaves.kinds.serving import eaves_resource, text_at
from eaves.kube.errors import CauseType, FieldError
from eaves.kube.resource import Column, Object


class SnapshotContent(StrEnum):
    DISK = "Disk"
    DISK_AND_MEMORY = "DiskAndMemory"


class SnapshotTrigger(StrEnum):
    IMMEDIATE = "Immediate"
    APP_UPDATE = "AppUpdate"


class AppSnapshotSpec(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """What to save, and when."""

    app_name: Annotated[
        str,
        about(
            "Virtual machine, or container with volumes of its own, in the same namespace; cannot change.",
            min_length=1,
            max_length=253,
        ),
    ]
    type: Annotated[
        SnapshotContent,
        about(
            "Disk, from which the machine boots after going back, or the volumes of a container; or DiskAndMemory, from which a"
            " machine goes on, and which stops it for a moment. Cannot change."
        ),
    ] = SnapshotContent.DISK
    trigger: Annotated[
        SnapshotTrigger,
        about(
            "Immediate, a container's as soon as it has stopped; or AppUpdate: before the app starts again after the next restart"
            " or change of it. Cannot change."
        ),
    ] = SnapshotTrigger.IMMEDIATE
    retain: Annotated[bool, about("The object cannot be deleted while this is true.")] = False


class AppSnapshotPhase(StrEnum):
    PENDING = "Pending"
    CREATING = "Creating"
    READY = "Ready"
    ROLLING_BACK = "RollingBack"
    DELETING = "Deleting"
    FAILED = "Failed"


class AppSnapshotStatus(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """What is there."""

    phase: Annotated[AppSnapshotPhase | None, about("Summary.")] = None
    reason: Annotated[str, about("Why it is in this phase, as one word.")] = ""
    message: Annotated[str, about("What is going on, for people.")] = ""
    conditions: Conditions = []
    node_name: Annotated[str, about("Node that holds it.")] = ""
    taken_at: Annotated[Time | None, about("The moment that it shows.")] = None
    size: Annotated[Quantity | None, about("What it takes on the node's disk, in bytes.")] = None
    app_generation: Annotated[int, about("Generation of the App that it was taken of.")] = 0


class AppSnapshot(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """A snapshot of an app."""

    api_version: Annotated[str, about("Version of the schema of this object.")] = ""
    kind: Annotated[str, about("Kind of this object.")] = ""
    metadata: ObjectMeta = ObjectMeta()
    spec: AppSnapshotSpec
    status: AppSnapshotStatus = AppSnapshotStatus()


def decode(obj: Object) -> AppSnapshot:
    """Typed view of a stored object. Raises ``msgspec.ValidationError`` when it does not fit the schema."""
    return msgspec.convert(obj, AppSnapshot)


def check_snapshot(new: Object, old: Object | None) -> Sequence[FieldError]:
    """Every fault of an AppSnapshot, and of a change of one."""
    spec = msgspec.convert(new["spec"], AppSnapshotSpec)
    faults = list(_check_spec(spec))
    if old is not None:
        before = msgspec.convert(old["spec"], AppSnapshotSpec)
        faults.extend(rules.check_immutable("spec.appName", spec.app_name, before.app_name))
        faults.extend(rules.check_immutable("spec.type", str(spec.type), str(before.type)))
        faults.extend(rules.check_immutable("spec.trigger", str(spec.trigger), str(before.trigger)))
    return faults


def _check_spec(spec: AppSnapshotSpec) -> Iterator[FieldError]:
    yield from rules.check_dns_label("spec.appName", spec.app_name)
    if spec.type is SnapshotContent.DISK_AND_MEMORY and spec.trigger is SnapshotTrigger.APP_UPDATE:
        detail = f"at an update the machine has stopped and has no memory to save: use type {SnapshotContent.DISK}"
        yield FieldError("spec.type", CauseType.INVALID, detail, str(spec.type))


RESOURCE = eaves_resource(
    AppSnapshot,
    "appsnapshots",
    namespaced=True,
    short_names=("asnap",),
    columns=(
        Column("App", "string", at("spec.appName"), "App that it is of."),
        Column("Type", "string", at("spec.type"), "Disk or DiskAndMemory."),
        Column("Phase", "string", at("status.phase"), "Summary."),
        Column("Size", "string", at("status.size"), "Bytes on the node's disk."),
        Column("Taken", "string", age_at("status.takenAt"), "How long ago."),
        Column("Node", "string", at("status.nodeName"), "Node that holds it.", priority=1),
        Column("Message", "string", at("status.message"), "What is going on.", priority=1),
    ),
    selectable_fields={"spec.appName": text_at("spec", "appName"), "status.phase": text_at("status", "phase")},
    validate=check_snapshot,
)
