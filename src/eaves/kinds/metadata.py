"""The part of ObjectMeta that Eaves itself reads, and the Struct base of a typed object.

Typed objects are for reading: compile, observe and the projections decode what they were given, fields they do not
know stay in the raw object. Writers change the raw object.
"""

from __future__ import annotations

from msgspec import Struct


class OwnerReference(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool | None = None
    block_owner_deletion: bool | None = None


class ObjectMeta(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Identity and labels of an object."""

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
