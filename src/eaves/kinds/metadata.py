"""The part of ObjectMeta that Eaves itself reads, for typed objects.

Typed objects are for reading: compile, observe and the projections decode what they were given, fields that they do
not know stay in the raw object. Writers change the raw object. The metadata of the schemas are those of
:mod:`eaves.kube.metadata`.
"""

from __future__ import annotations

from msgspec import Struct


class OwnerReference(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Names the owner of an object: when the owner goes, the object goes too."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool | None = None
    block_owner_deletion: bool | None = None


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
