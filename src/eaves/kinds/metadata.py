"""ObjectMeta twice: in full for the schemas, and the part that Eaves itself reads for typed objects.

Typed objects are for reading: compile, observe and the projections decode what they were given, fields that they do not know stay in
the raw object. Writers change the raw object.
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from eaves.kinds.fields import Time, about

_ANY_FIELDS = Meta(extra_json_schema={"x-kubernetes-preserve-unknown-fields": True})


class OwnerReference(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Names the owner of an object: when the owner goes, the object goes too."""

    api_version: Annotated[str, about("API version of the owner.")]
    kind: Annotated[str, about("Kind of the owner.")]
    name: Annotated[str, about("Name of the owner.")]
    uid: Annotated[str, about("UID of the owner.")]
    controller: Annotated[bool | None, about("Whether the owner manages the object.")] = None
    block_owner_deletion: Annotated[bool | None, about("Foreground deletion of the owner waits for the object.")] = None


class ManagedFieldsEntry(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Which fields one manager set."""

    manager: Annotated[str, about("Name of the manager.")] = ""
    operation: Annotated[str, about("Apply or Update.")] = ""
    api_version: Annotated[str, about("API version by which it wrote.")] = ""
    time: Annotated[Time | None, about("When it last changed a field.")] = None
    fields_type: Annotated[str, about("FieldsV1.")] = ""
    fields_v1: Annotated[Any, about("The fields."), _ANY_FIELDS] = None
    subresource: Annotated[str, about("Subresource by which it wrote.")] = ""


class FullObjectMeta(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Identity, labels and housekeeping of an object."""

    name: Annotated[
        str, about("Name, unique among the objects of its kind (in its namespace). It cannot be changed.")
    ] = ""
    generate_name: Annotated[str, about("Start of a name whose end the server chooses, when name is empty.")] = ""
    namespace: Annotated[str, about("Namespace, a space for names. It cannot be changed.")] = ""
    self_link: Annotated[str, about("Not used any more.")] = ""
    uid: Annotated[str, about("Unique among all objects of all times. Set by the server.")] = ""
    resource_version: Annotated[str, about("Changes with every write; for optimistic locking and watches.")] = ""
    generation: Annotated[int, about("Grows with every change of what is wanted. Set by the server.")] = 0
    creation_timestamp: Annotated[
        Time | None, Meta(extra_json_schema={"nullable": True}), about("When it was created.")
    ] = None
    deletion_timestamp: Annotated[Time | None, about("When its deletion was asked for. Set by the server.")] = None
    deletion_grace_period_seconds: Annotated[int | None, about("Seconds given for its end. Set by the server.")] = None
    labels: Annotated[dict[str, str], about("Labels, by which selectors find it.")] = {}
    annotations: Annotated[dict[str, str], about("Text for tools and people.")] = {}
    owner_references: Annotated[
        list[OwnerReference],
        Meta(
            description="Objects it depends on.",
            extra_json_schema={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["uid"],
                "x-kubernetes-patch-merge-key": "uid",
                "x-kubernetes-patch-strategy": "merge",
            },
        ),
    ] = []
    finalizers: Annotated[
        list[str],
        Meta(
            description="Each must be removed by its owner before the object goes.",
            extra_json_schema={"x-kubernetes-list-type": "set", "x-kubernetes-patch-strategy": "merge"},
        ),
    ] = []
    managed_fields: Annotated[
        list[ManagedFieldsEntry], about("Which manager set which fields. Kept by the server.")
    ] = []


class ObjectMeta(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """The part of the metadata that Eaves reads."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    owner_references: list[OwnerReference] = []
    finalizers: list[str] = []
