"""Volume: storage on one node that outlives apps."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Struct, field

from eaves.kinds.fields import Conditions, LocalReference, Quantity, about
from eaves.kinds.metadata import ObjectMeta
from eaves.kube.resource import Object


class ReclaimPolicy(StrEnum):
    RETAIN = "Retain"
    DELETE = "Delete"


class VolumeEncryption(StrEnum):
    WHEN_AVAILABLE = "WhenAvailable"
    NONE = "None"


class VolumeFormat(StrEnum):
    CONTAINER = "Container"
    RAW = "Raw"
    QCOW2 = "Qcow2"


class VolumeSource(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """What the volume holds at first."""

    image: Annotated[str, about("Image reference.", min_length=1, max_length=512)]
    datastore_ref: Annotated[LocalReference | None, about("Datastore to pull from.")] = None
    format: Annotated[VolumeFormat, about("Kind of image.")] = VolumeFormat.CONTAINER


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

    api_version: str = field(name="apiVersion", default="eaves.dev/v1alpha1")
    kind: str = "Volume"
    metadata: ObjectMeta = ObjectMeta()
    spec: VolumeSpec
    status: VolumeStatus = VolumeStatus()


def decode(obj: Object) -> Volume:
    """Typed view of a stored object. Raises ``msgspec.ValidationError`` when it does not fit the schema."""
    return msgspec.convert(obj, Volume)
