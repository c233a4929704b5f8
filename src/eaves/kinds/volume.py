"""Volume: storage on one node that outlives apps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Struct

from eaves.kinds import rules
from eaves.kinds.app_rules import LEAST_VOLUME, MOST_VOLUME, check_growth, check_image
from eaves.kinds.columns import at
from eaves.kinds.fields import Conditions, LocalReference, Quantity, about
from eaves.kinds.image_format import ImageFormat
from eaves.kinds.metadata import ObjectMeta
from eaves.kinds.rules import invalid
from eaves.kinds.serving import eaves_resource, text_at
from eaves.kube.errors import FieldError
from eaves.kube.resource import Column, Object


class ReclaimPolicy(StrEnum):
    RETAIN = "Retain"
    DELETE = "Delete"


class VolumeEncryption(StrEnum):
    WHEN_AVAILABLE = "WhenAvailable"
    NONE = "None"


class VolumeSource(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """What the volume holds at first."""

    image: Annotated[str, about("Image reference.", min_length=1, max_length=512)]
    datastore_ref: Annotated[LocalReference | None, about("Datastore to pull from.")] = None
    format: Annotated[ImageFormat, about("Kind of image.")] = ImageFormat.CONTAINER


class VolumeSpec(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """What storage is wanted, and where."""

    node_name: Annotated[str, about("EdgeNode that holds it; cannot change.", min_length=1, max_length=253)]
    size: Annotated[Quantity, about("Size; it may grow, never shrink.")] = "1Gi"
    source: Annotated[VolumeSource | None, about("What it holds at first; blank when absent.")] = None
    encryption: Annotated[
        VolumeEncryption, about("WhenAvailable: encrypted on nodes with a vault. None: in the clear.")
    ] = VolumeEncryption.WHEN_AVAILABLE
    reclaim_policy: Annotated[
        ReclaimPolicy,
        about("Delete: the data go with the object. Retain: the object cannot be deleted until this says Delete."),
    ] = ReclaimPolicy.DELETE
    read_only: Annotated[bool, about("Nobody writes to it.")] = False


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


def check_volume(new: Object, old: Object | None) -> Sequence[FieldError]:
    """Every fault of a Volume, and of a change of one."""
    spec = msgspec.convert(new["spec"], VolumeSpec)
    faults = list(_check_spec(spec))
    if old is not None:
        before = msgspec.convert(old["spec"], VolumeSpec)
        faults.extend(rules.check_immutable("spec.nodeName", spec.node_name, before.node_name))
        faults.extend(rules.check_immutable("spec.source", new["spec"].get("source"), old["spec"].get("source")))
        faults.extend(rules.check_immutable("spec.encryption", str(spec.encryption), str(before.encryption)))
        faults.extend(check_growth("spec.size", spec.size, before.size))
    return faults


def _check_spec(spec: VolumeSpec) -> Iterator[FieldError]:
    yield from rules.check_dns_subdomain("spec.nodeName", spec.node_name)
    yield from rules.check_quantity("spec.size", spec.size, minimum=LEAST_VOLUME, maximum=MOST_VOLUME)
    if spec.source is None:
        return
    if spec.source.format is ImageFormat.CONTAINER:
        yield from check_image("spec.source.image", spec.source.image)
    elif "@sha256:" not in spec.source.image:
        yield invalid("spec.source.image", spec.source.image, "a disk image needs its digest: add @sha256:…")
    elif spec.source.datastore_ref is None:
        yield rules.required("spec.source.datastoreRef", "a disk image comes from a Datastore")


def deletion_fault(volume: Object) -> str:
    """Why the object may not be deleted; empty when it may. Checked where deletes are admitted."""
    if volume["spec"].get("reclaimPolicy") != ReclaimPolicy.RETAIN:
        return ""
    return "spec.reclaimPolicy is Retain, which guards its data; set it to Delete first"


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
        Column("Reclaim", "string", at("spec.reclaimPolicy"), "What becomes of the data.", priority=1),
        Column("Message", "string", at("status.message"), "What is going on.", priority=1),
    ),
    selectable_fields={"spec.nodeName": text_at("spec", "nodeName"), "status.phase": text_at("status", "phase")},
    validate=check_volume,
)
