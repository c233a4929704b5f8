"""VolumeSnapshot: what a Volume held at one moment, kept on its node.

``spec.rollback`` of the Volume goes back to one, ``spec.source.snapshotName`` of another Volume makes a copy of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Struct

from eaves.kinds import rules
from eaves.kinds.columns import age_at, at
from eaves.kinds.fields import Conditions, Quantity, Time, about
from eaves.kinds.metadata import ObjectMeta
from eaves.kinds.serving import eaves_resource, text_at
from eaves.kube.errors import FieldError
from eaves.kube.resource import Column, Object


class VolumeSnapshotSpec(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Of which volume."""

    volume_name: Annotated[str, about("Volume in the same namespace; cannot change.", min_length=1, max_length=253)]
    retain: Annotated[bool, about("The object cannot be deleted while this is true.")] = False


class VolumeSnapshotPhase(StrEnum):
    PENDING = "Pending"
    READY = "Ready"
    FAILED = "Failed"


class VolumeSnapshotStatus(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """What is there."""

    phase: Annotated[VolumeSnapshotPhase | None, about("Summary.")] = None
    message: Annotated[str, about("What is going on, for people.")] = ""
    conditions: Conditions = []
    node_name: Annotated[str, about("Node that holds it.")] = ""
    taken_at: Annotated[Time | None, about("The moment that it shows.")] = None
    size: Annotated[
        Quantity | None,
        about("Bytes on the node's disk besides those of the volume; absent when it is inside of the volume's file."),
    ] = None


class VolumeSnapshot(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """A snapshot of a volume."""

    api_version: Annotated[str, about("Version of the schema of this object.")] = ""
    kind: Annotated[str, about("Kind of this object.")] = ""
    metadata: ObjectMeta = ObjectMeta()
    spec: VolumeSnapshotSpec
    status: VolumeSnapshotStatus = VolumeSnapshotStatus()


def decode(obj: Object) -> VolumeSnapshot:
    """Typed view of a stored object. Raises ``msgspec.ValidationError`` when it does not fit the schema."""
    return msgspec.convert(obj, VolumeSnapshot)


def check_snapshot(new: Object, old: Object | None) -> Sequence[FieldError]:
    """Every fault of a VolumeSnapshot, and of a change of one."""
    spec = msgspec.convert(new["spec"], VolumeSnapshotSpec)
    faults = list(rules.check_dns_subdomain("spec.volumeName", spec.volume_name))
    if old is not None:
        faults.extend(rules.check_immutable("spec.volumeName", spec.volume_name, old["spec"].get("volumeName")))
    return faults


RESOURCE = eaves_resource(
    VolumeSnapshot,
    "volumesnapshots",
    namespaced=True,
    short_names=("vsnap",),
    columns=(
        Column("Volume", "string", at("spec.volumeName"), "Volume that it is of."),
        Column("Phase", "string", at("status.phase"), "Summary."),
        Column("Size", "string", at("status.size"), "Bytes on the node's disk besides the volume's."),
        Column("Taken", "string", age_at("status.takenAt"), "How long ago."),
        Column("Node", "string", at("status.nodeName"), "Node that holds it.", priority=1),
        Column("Message", "string", at("status.message"), "What is going on.", priority=1),
    ),
    selectable_fields={"spec.volumeName": text_at("spec", "volumeName"), "status.phase": text_at("status", "phase")},
    validate=check_snapshot,
)
