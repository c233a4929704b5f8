"""Volume: storage on one node that outlives apps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Struct

from eaves.kinds import rules
from eaves.kinds.app_rules import (
    LEAST_VOLUME,
    MOST_VOLUME,
    check_counter,
    check_growth,
    check_image,
    check_path_or_image,
)
from eaves.kinds.columns import at
from eaves.kinds.fields import Conditions, LocalReference, Quantity, about
from eaves.kinds.image_format import ImageFormat
from eaves.kinds.image_reference import ImageReferenceError, parse_image_reference
from eaves.kinds.metadata import ObjectMeta
from eaves.kinds.rules import forbidden, invalid
from eaves.kinds.serving import eaves_resource, text_at
from eaves.kube.errors import FieldError
from eaves.kube.resource import Column, Object, Subresource


class ReclaimPolicy(StrEnum):
    RETAIN = "Retain"
    DELETE = "Delete"


class VolumeEncryption(StrEnum):
    WHEN_AVAILABLE = "WhenAvailable"
    NONE = "None"


class VolumeMode(StrEnum):
    FILESYSTEM = "Filesystem"
    BLOCK = "Block"
    FILE = "File"


class DiskFormat(StrEnum):
    QCOW2 = "Qcow2"
    RAW = "Raw"


class VolumeAccess(StrEnum):
    READ_WRITE_ONCE = "ReadWriteOnce"
    READ_WRITE_MANY = "ReadWriteMany"


class VolumeSource(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """What the volume holds at first: exactly one of image, volumeName and snapshotName."""

    image: Annotated[str, about("Image reference.", max_length=512)] = ""
    datastore_ref: Annotated[LocalReference | None, about("Datastore to pull the image from.")] = None
    format: Annotated[ImageFormat, about("Kind of image.")] = ImageFormat.CONTAINER
    volume_name: Annotated[
        str,
        about("Volume on the same node and in the same namespace to copy while no app runs with it.", max_length=253),
    ] = ""
    snapshot_name: Annotated[
        str, about("VolumeSnapshot of a Volume on the same node to copy, whatever runs.", max_length=253)
    ] = ""


class VolumeRollback(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Goes back to a snapshot whenever the counter is raised, as soon as no app runs with the volume."""

    snapshot_name: Annotated[
        str, about("Name of the VolumeSnapshot in the same namespace.", min_length=1, max_length=253)
    ]
    counter: Annotated[int, about("Raise it by one to go back to the snapshot.", ge=1, le=0xFFFFFFFF)]


class VolumeSpec(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """What storage is wanted, and where."""

    node_name: Annotated[str, about("EdgeNode that holds it; cannot change.", min_length=1, max_length=253)]
    size: Annotated[Quantity, about("Size; it may grow, never shrink.")] = "1Gi"
    source: Annotated[VolumeSource | None, about("What it holds at first; blank when absent.")] = None
    mode: Annotated[
        VolumeMode | None,
        about(
            "Filesystem: containers mount it. Block: a disk of virtual machines. File: one file as it is, which apps get by a"
            " PatchEnvelope. When absent Block for a disk image, the mode of what is copied for a copy, and Filesystem else;"
            " cannot change."
        ),
    ] = None
    format: Annotated[DiskFormat | None, about("File of a Block volume, Qcow2 when absent; cannot change.")] = None
    access: Annotated[
        VolumeAccess,
        about("ReadWriteOnce: one app at a time writes to it, others wait. ReadWriteMany: several apps may."),
    ] = VolumeAccess.READ_WRITE_ONCE
    encryption: Annotated[
        VolumeEncryption, about("WhenAvailable: encrypted on nodes with a vault. None: in the clear.")
    ] = VolumeEncryption.WHEN_AVAILABLE
    reclaim_policy: Annotated[
        ReclaimPolicy,
        about("Delete: the data go with the object. Retain: the object cannot be deleted until this says Delete."),
    ] = ReclaimPolicy.DELETE
    read_only: Annotated[bool, about("Nobody writes to it.")] = False
    rollback: Annotated[VolumeRollback | None, about("Go back to a snapshot.")] = None


class VolumePhase(StrEnum):
    PENDING = "Pending"
    CREATING = "Creating"
    READY = "Ready"
    FAILED = "Failed"


class VolumeStatus(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """What is there."""

    phase: Annotated[VolumePhase | None, about("Summary.")] = None
    message: Annotated[str, about("What is going on, for people.")] = ""
    conditions: Conditions = []
    capacity: Annotated[Quantity | None, about("Size in bytes.")] = None
    used: Annotated[Quantity | None, about("Bytes in use, as of the last notable change.")] = None
    allocated: Annotated[
        Quantity | None, about("Bytes that it takes on the node's disk, as of the last notable change.")
    ] = None
    mode: Annotated[VolumeMode | None, about("What it is.")] = None
    format: Annotated[DiskFormat | None, about("File of a Block volume.")] = None
    enforcement: Annotated[
        str,
        about(
            "What keeps it to its size: Quota of the node's file system, Image (a file system of that size), Disk, or Watched:"
            " nothing, its use is measured."
        ),
    ] = ""
    encrypted: Annotated[bool, about("Whether it is encrypted at rest.")] = False
    used_by: Annotated[list[str], about("Apps that run with it.")] = []
    snapshots: Annotated[list[str], about("VolumeSnapshots that the node holds of it.")] = []
    rollback_counter: Annotated[int, about("The rollback that was done last.")] = 0
    observed_generation: Annotated[int, about("Generation of the spec that was seen.")] = 0


class Volume(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Storage on one edge node."""

    api_version: Annotated[str, about("Version of the schema of this object.")] = ""
    kind: Annotated[str, about("Kind of this object.")] = ""
    metadata: ObjectMeta = ObjectMeta()
    spec: VolumeSpec
    status: VolumeStatus = VolumeStatus()


def decode(obj: Object) -> Volume:
    """Typed view of a stored object. Raises ``msgspec.ValidationError`` when it does not fit the schema."""
    return msgspec.convert(obj, Volume)


def mode_of(spec: VolumeSpec) -> VolumeMode | None:
    """What the volume is to be; None for a copy that does not say: then what its source is."""
    if spec.mode is not None:
        return spec.mode
    if spec.source is None:
        return VolumeMode.FILESYSTEM
    if not spec.source.image:
        return None
    return VolumeMode.FILESYSTEM if spec.source.format is ImageFormat.CONTAINER else VolumeMode.BLOCK


def check_volume(new: Object, old: Object | None) -> Sequence[FieldError]:
    """Every fault of a Volume, and of a change of one."""
    spec = msgspec.convert(new["spec"], VolumeSpec)
    faults = list(_check_spec(spec))
    if spec.source is not None:
        faults.extend(_check_source(spec, spec.source, new["metadata"].get("name", "")))
    if old is not None:
        faults.extend(_check_change(new, old, spec, msgspec.convert(old["spec"], VolumeSpec)))
    return faults


def _check_change(new: Object, old: Object, spec: VolumeSpec, before: VolumeSpec) -> Iterator[FieldError]:
    yield from rules.check_immutable("spec.nodeName", spec.node_name, before.node_name)
    yield from rules.check_immutable("spec.source", new["spec"].get("source"), old["spec"].get("source"))
    yield from rules.check_immutable("spec.encryption", str(spec.encryption), str(before.encryption))
    yield from rules.check_immutable("spec.mode", mode_of(spec), mode_of(before))
    yield from rules.check_immutable("spec.format", spec.format or DiskFormat.QCOW2, before.format or DiskFormat.QCOW2)
    yield from check_growth("spec.size", spec.size, before.size)
    if spec.rollback is not None and before.rollback is not None:
        yield from check_counter("spec.rollback.counter", spec.rollback.counter, before.rollback.counter)


def _check_spec(spec: VolumeSpec) -> Iterator[FieldError]:
    yield from rules.check_dns_subdomain("spec.nodeName", spec.node_name)
    yield from rules.check_quantity("spec.size", spec.size, minimum=LEAST_VOLUME, maximum=MOST_VOLUME)
    if spec.format is not None and mode_of(spec) in (VolumeMode.FILESYSTEM, VolumeMode.FILE):
        yield forbidden("spec.format", f"a {mode_of(spec)} volume has none; it is for mode: Block")
    if spec.mode is VolumeMode.FILE:
        yield from _check_file(spec)
    if spec.read_only and spec.access is VolumeAccess.READ_WRITE_MANY:
        yield forbidden("spec.access", "nobody writes to a volume with readOnly: true")
    if spec.rollback is not None:
        yield from rules.check_dns_subdomain("spec.rollback.snapshotName", spec.rollback.snapshot_name)


def _check_file(spec: VolumeSpec) -> Iterator[FieldError]:
    """A file is what was fetched, byte for byte, and stays that."""
    if spec.source is None or not spec.source.image:
        yield rules.required("spec.source.image", "a volume of mode File is one file; name where it comes from")
    elif spec.source.format is not ImageFormat.RAW:
        yield invalid("spec.source.format", str(spec.source.format), "a file is fetched as it is; use Raw")
    if spec.access is VolumeAccess.READ_WRITE_MANY:
        yield forbidden("spec.access", "nobody writes to a volume of mode File")
    if spec.rollback is not None:
        yield forbidden("spec.rollback", "a volume of mode File never changes")


def _check_source(spec: VolumeSpec, source: VolumeSource, name: str) -> Iterator[FieldError]:
    given = [field for field in ("image", "volume_name", "snapshot_name") if getattr(source, field)]
    if len(given) != 1:
        text = "name one of image, volumeName and snapshotName"
        yield rules.required("spec.source", text) if not given else forbidden("spec.source", text)
        return
    if source.image:
        yield from _check_source_image(spec, source)
        return
    if source.datastore_ref is not None:
        yield forbidden("spec.source.datastoreRef", "it is for an image")
    if source.format is not ImageFormat.CONTAINER:
        yield forbidden("spec.source.format", "it is for an image")
    yield from (
        rules.check_dns_subdomain("spec.source.volumeName", source.volume_name)
        if source.volume_name
        else rules.check_dns_subdomain("spec.source.snapshotName", source.snapshot_name)
    )
    if source.volume_name == name:
        yield invalid("spec.source.volumeName", name, "a volume cannot be a copy of itself")


def _check_source_image(spec: VolumeSpec, source: VolumeSource) -> Iterator[FieldError]:
    if source.format is ImageFormat.CONTAINER:
        yield from check_image("spec.source.image", source.image)
        # What is wrong with a file is said by _check_file.
        if spec.mode is VolumeMode.BLOCK:
            yield invalid(
                "spec.mode", "Block", "files of a container image are no disk; use Filesystem or a disk image"
            )
        return
    if spec.mode is VolumeMode.FILESYSTEM:
        yield invalid("spec.mode", "Filesystem", "a disk image is a disk; use Block or a container image")
    if source.datastore_ref is not None:
        # Files of web servers and S3 need their digest too; which type the datastore has only its object tells.
        yield from check_path_or_image("spec.source.image", source.image)
    elif not _names_registry(source.image):
        yield rules.required(
            "spec.source.datastoreRef",
            "a disk image comes from a Datastore, or from the registry that its name begins with",
        )


def _names_registry(image: str) -> bool:
    try:
        return bool(parse_image_reference(image).host)
    except ImageReferenceError:
        return False


def _users(obj: Object, _: float) -> str:
    return ",".join((obj.get("status") or {}).get("usedBy") or ())


RESOURCE = eaves_resource(
    Volume,
    "volumes",
    namespaced=True,
    short_names=("vol",),
    columns=(
        Column("Node", "string", at("spec.nodeName"), "EdgeNode that holds it."),
        Column("Phase", "string", at("status.phase"), "Summary."),
        Column("Size", "string", at("spec.size"), "Size asked for."),
        Column("Used", "string", at("status.used"), "Bytes in use."),
        Column("Mode", "string", at("status.mode"), "Filesystem, Block or File.", priority=1),
        Column("Enforcement", "string", at("status.enforcement"), "What keeps it to its size.", priority=1),
        Column("Used-By", "string", _users, "Apps that run with it.", priority=1),
        Column("Reclaim", "string", at("spec.reclaimPolicy"), "What becomes of the data.", priority=1),
        Column("Message", "string", at("status.message"), "What is going on.", priority=1),
    ),
    selectable_fields={"spec.nodeName": text_at("spec", "nodeName"), "status.phase": text_at("status", "phase")},
    subresources=(Subresource("export", frozenset({"get"})),),
    validate=check_volume,
)
