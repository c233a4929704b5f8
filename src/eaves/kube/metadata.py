"""ObjectMeta: its schema, the rules for its fields, and what create and update do to it. Pure: time and uid are given.

Follows the behaviour of a kube-apiserver for custom kinds: ``generation`` rises when anything but metadata and status changes,
writes to the main path leave ``status`` alone and the reverse, finalizers cannot be added to an object that is being deleted.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from eaves.kube import names
from eaves.kube.errors import CauseType, FieldError
from eaves.kube.resource import Object, Resource
from eaves.kube.schema import ListType, MapType, Schema

ANNOTATIONS_LIMIT_BYTES = 256 * 1024
_SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
"""Kubernetes' alphabet for generated names: no vowels, so that no words appear, no 0, 1, 3."""

_TEXT = Schema(type="string")
_TIME = Schema(type="string", format="date-time")

OWNER_REFERENCE = Schema(
    type="object",
    description="OwnerReference names an object whose deletion deletes this one too.",
    properties={
        "apiVersion": Schema(type="string", description="API version of the owner."),
        "blockOwnerDeletion": Schema(
            type="boolean", description="Hold the owner's foreground deletion until this object is gone."
        ),
        "controller": Schema(type="boolean", description="The owner manages this object; at most one owner does."),
        "kind": Schema(type="string", description="Kind of the owner."),
        "name": Schema(type="string", description="Name of the owner."),
        "uid": Schema(type="string", description="UID of the owner."),
    },
    required=("apiVersion", "kind", "name", "uid"),
    map_type=MapType.ATOMIC,
    reference="io.k8s.apimachinery.pkg.apis.meta.v1.OwnerReference",
)

MANAGED_FIELDS_ENTRY = Schema(
    type="object",
    description="ManagedFieldsEntry says which fields a manager owns.",
    properties={
        "apiVersion": _TEXT,
        "fieldsType": _TEXT,
        "fieldsV1": Schema(type="object", preserve_unknown=True, map_type=MapType.ATOMIC),
        "manager": _TEXT,
        "operation": _TEXT,
        "subresource": _TEXT,
        "time": _TIME,
    },
    reference="io.k8s.apimachinery.pkg.apis.meta.v1.ManagedFieldsEntry",
)

OBJECT_META = Schema(
    type="object",
    description="Standard object's metadata.",
    properties={
        "annotations": Schema(
            type="object", additional=_TEXT, description="Free text by key, for tools; not for selection."
        ),
        "creationTimestamp": Schema(
            type="string",
            format="date-time",
            nullable=True,
            description="When the object was created, set by the server.",
        ),
        "deletionGracePeriodSeconds": Schema(type="integer", format="int64", description="Time it is given to end."),
        "deletionTimestamp": Schema(
            type="string",
            format="date-time",
            description="When its deletion was asked for; it goes when no finalizer is left.",
        ),
        "finalizers": Schema(
            type="array",
            items=_TEXT,
            list_type=ListType.SET,
            patch_strategy="merge",
            description="Names of those who must agree before the object goes.",
        ),
        "generateName": Schema(
            type="string", description="Prefix of a name that the server completes, when no name is given."
        ),
        "generation": Schema(type="integer", format="int64", description="Counts changes of what is desired."),
        "labels": Schema(type="object", additional=_TEXT, description="Keys and values by which objects are selected."),
        "managedFields": Schema(
            type="array", items=MANAGED_FIELDS_ENTRY, description="Who owns which field, for server-side apply."
        ),
        "name": Schema(type="string", description="Name, unique among objects of the kind (in its namespace)."),
        "namespace": Schema(type="string", description="Namespace of the object."),
        "ownerReferences": Schema(
            type="array",
            items=OWNER_REFERENCE,
            list_type=ListType.MAP,
            list_map_keys=("uid",),
            patch_strategy="merge",
            patch_merge_key="uid",
            description="Objects that this one goes with.",
        ),
        "resourceVersion": Schema(
            type="string", description="Version of the object, for optimistic locking and watches."
        ),
        "selfLink": Schema(type="string", description="Not used."),
        "uid": Schema(type="string", description="Identity of the object over all time, set by the server."),
    },
    reference="io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta",
)

LIST_META = Schema(
    type="object",
    description="Metadata of a list.",
    properties={
        "continue": Schema(type="string", description="Token that gets the next part of the list."),
        "remainingItemCount": Schema(type="integer", format="int64", description="Items after this part."),
        "resourceVersion": Schema(type="string", description="Version of the list, where a watch goes on."),
        "selfLink": Schema(type="string", description="Not used."),
    },
    reference="io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta",
)


def with_object_fields(schema: Schema) -> Schema:
    """A kind's schema with the standard ``apiVersion``, ``kind`` and ``metadata`` in place of whatever it declares."""
    version = Schema(
        type="string", description="APIVersion defines the versioned schema of this representation of an object."
    )
    kind = Schema(type="string", description="Kind is the type of this object, in CamelCase.")
    rest = {key: value for key, value in schema.properties.items() if key not in ("apiVersion", "kind", "metadata")}
    properties = {"apiVersion": version, "kind": kind, "metadata": OBJECT_META, **rest}
    return msgspec.structs.replace(schema, properties=properties)


def make_name(prefix: str) -> str:
    """``generateName`` completed by five random letters; the prefix is cut so that the whole is a valid name."""
    return prefix[:58] + "".join(secrets.choice(_SUFFIX_LETTERS) for _ in range(5))


def start_object(resource: Resource, obj: Object, *, namespace: str, uid: str, now: str) -> None:
    """Fill the metadata that the server owns in an object that is being created, in place. ``now`` is RFC 3339 with seconds."""
    meta = obj.setdefault("metadata", {})
    if not meta.get("name") and meta.get("generateName"):
        meta["name"] = make_name(meta["generateName"])
    for key in ("selfLink", "deletionTimestamp", "deletionGracePeriodSeconds", "resourceVersion"):
        meta.pop(key, None)
    if resource.namespaced:
        meta["namespace"] = namespace
    else:
        meta.pop("namespace", None)
    meta["uid"] = uid
    meta["creationTimestamp"] = now
    if resource.is_custom or ("spec" in obj and resource.has_generation):
        meta["generation"] = 1
    else:
        meta.pop("generation", None)
    if resource.has_status and resource.is_custom:
        obj.pop("status", None)


def keep_server_fields(resource: Resource, new: Object, old: Object) -> Object:
    """An update of the main path as it will be stored: server-owned metadata from ``old``, ``status`` kept, generation counted.

    The answer is ``new`` itself, filled in place.
    """
    _carry_metadata(new, old)
    if resource.has_status:
        if "status" in old:
            new["status"] = old["status"]
        else:
            new.pop("status", None)
    _count_generation(resource, new, old)
    return new


def keep_main_fields(resource: Resource, new: Object, old: Object) -> Object:
    """An update of ``status``: everything else from ``old``, besides managedFields, which say who wrote the status, and besides the
    metadata of kinds that let it be written so.
    """
    merged = dict(old)
    if resource.status_has_metadata:
        _carry_metadata(new, old)
        merged["metadata"] = new["metadata"]
    else:
        merged["metadata"] = dict(old.get("metadata", {}))
        given = new.get("metadata", {})
        for key in ("managedFields", "resourceVersion"):
            if key in given:
                merged["metadata"][key] = given[key]
    if "status" in new:
        merged["status"] = new["status"]
    else:
        merged.pop("status", None)
    return merged


def _carry_metadata(new: Object, old: Object) -> None:
    mine, theirs = new.setdefault("metadata", {}), old.get("metadata", {})
    for key in ("name", "namespace", "uid", "creationTimestamp", "generation", "selfLink"):
        if key in theirs:
            if key not in mine or key != "uid":
                mine[key] = theirs[key]
        else:
            mine.pop(key, None)
    for key in ("deletionTimestamp", "deletionGracePeriodSeconds"):
        if key in theirs:
            mine[key] = theirs[key]
        else:
            mine.pop(key, None)


def _count_generation(resource: Resource, new: Object, old: Object) -> None:
    if "generation" not in new["metadata"] and not resource.is_custom:
        return
    ignored = {"metadata", "apiVersion", "kind"} | ({"status"} if resource.has_status else set())
    before = {key: value for key, value in old.items() if key not in ignored}
    after = {key: value for key, value in new.items() if key not in ignored}
    generation = old.get("metadata", {}).get("generation", 1)
    new["metadata"]["generation"] = generation + 1 if before != after else generation


def drop_repeated_owners(meta: Object) -> list[str]:
    """Owner references that stand twice are kept once, in place; the answer is the UIDs of the others."""
    owners = meta.get("ownerReferences") or ()
    if len(owners) < 2:
        return []
    kept: list[Any] = []
    repeated = []
    for owner in owners:
        if owner in kept:
            repeated.append(str(owner.get("uid", "")))
        else:
            kept.append(owner)
    if repeated:
        meta["ownerReferences"] = kept
    return repeated


def check_metadata(resource: Resource, obj: Object) -> Iterator[FieldError]:
    """Rules for a new or changed object's metadata."""
    meta = obj.get("metadata") or {}
    check_prefix = names.check_path_prefix if resource.has_free_names else names.check_name_prefix
    for fault in check_prefix(meta["generateName"]) if meta.get("generateName") else ():
        yield FieldError("metadata.generateName", CauseType.INVALID, fault, meta["generateName"])
    name = meta.get("name", "")
    if not name:
        yield FieldError("metadata.name", CauseType.REQUIRED, "name or generateName is required")
    else:
        for fault in _name_check(resource)(name):
            yield FieldError("metadata.name", CauseType.INVALID, fault, name)
    yield from check_labels(meta.get("labels") or {}, "metadata.labels")
    yield from _check_annotations(meta.get("annotations") or {})
    yield from _check_finalizers(meta.get("finalizers") or [], is_free=resource.is_custom)
    yield from _check_owners(meta.get("ownerReferences") or ())


def _name_check(resource: Resource) -> Callable[[str], Sequence[str]]:
    if resource.has_free_names:
        return names.check_path_segment
    return names.check_label_name if resource.gvr.resource == "namespaces" else names.check_subdomain


def check_labels(labels: Mapping[str, str], path: str) -> Iterator[FieldError]:
    """Keys and values of a label map; faults carry the map's path, as Kubernetes gives them."""
    for key, value in labels.items():
        for fault in names.check_qualified_name(key):
            yield FieldError(path, CauseType.INVALID, fault, key)
        for fault in names.check_label_value(value):
            yield FieldError(path, CauseType.INVALID, fault, value)


def check_metadata_update(new: Object, old: Object) -> Iterator[FieldError]:
    """Fields that must not change, and finalizers that must not come back."""
    mine, theirs = new.get("metadata", {}), old.get("metadata", {})
    for key in ("name", "namespace", "uid", "creationTimestamp"):
        if mine.get(key) != theirs.get(key):
            shown = mine.get(key) if key == "creationTimestamp" else mine.get(key, "")
            yield FieldError(f"metadata.{key}", CauseType.INVALID, "field is immutable", shown)
    for key in ("deletionTimestamp", "deletionGracePeriodSeconds"):
        marked = mine.get(key)
        if marked is not None and marked != theirs.get(key):
            # Only a delete sets them; leaving them out of an update is no attempt to take them back.
            yield FieldError(f"metadata.{key}", CauseType.INVALID, "field is immutable", marked)
    if theirs.get("deletionTimestamp"):
        added = sorted(set(mine.get("finalizers") or ()) - set(theirs.get("finalizers") or ()))
        if added:
            listed = ", ".join(f'"{finalizer}"' for finalizer in added)
            detail = f"no new finalizers can be added if the object is being deleted, found new finalizers []string{{{listed}}}"
            yield FieldError("metadata.finalizers", CauseType.FORBIDDEN, detail)


_STANDARD_FINALIZERS = frozenset({"orphan", "foregroundDeletion", "kubernetes"})


def find_finalizer_warnings(obj: Object, known: Sequence[str] = ()) -> Iterator[str]:
    """Finalizers that are new, beside those ``known``, and should have a domain; accepted with a warning."""
    for finalizer in (obj.get("metadata") or {}).get("finalizers") or ():
        if "/" not in finalizer and finalizer not in _STANDARD_FINALIZERS and finalizer not in known:
            yield (
                f'metadata.finalizers: "{finalizer}": prefer a domain-qualified finalizer name to avoid '
                "accidental conflicts with other finalizer writers"
            )


def _check_annotations(annotations: Mapping[str, str]) -> Iterator[FieldError]:
    size = 0
    for key, value in annotations.items():
        for fault in names.check_qualified_name(key.lower()):
            yield FieldError("metadata.annotations", CauseType.INVALID, fault, key)
        size += len(key.encode()) + len(value.encode())
    if size > ANNOTATIONS_LIMIT_BYTES:
        detail = f"may not be more than {ANNOTATIONS_LIMIT_BYTES} bytes"
        yield FieldError("metadata.annotations", CauseType.TOO_LONG, detail)


def _check_finalizers(finalizers: list[str], *, is_free: bool) -> Iterator[FieldError]:
    """``is_free``: names without a domain may stand."""
    for index, finalizer in enumerate(finalizers):
        if not is_free:
            yield from _check_domain(f"metadata.finalizers[{index}]", finalizer)
        for fault in names.check_qualified_name(finalizer):
            yield FieldError("metadata.finalizers", CauseType.INVALID, fault, finalizer)
    if {"orphan", "foregroundDeletion"} <= set(finalizers):
        detail = "finalizer orphan and foregroundDeletion cannot be both set"
        yield FieldError("metadata.finalizers", CauseType.INVALID, detail, finalizers)


def check_finalizer(path: str, finalizer: str) -> Iterator[FieldError]:
    """One finalizer of a namespace's own list."""
    for fault in names.check_qualified_name(finalizer):
        yield FieldError(path, CauseType.INVALID, fault, finalizer)
    yield from _check_domain(path, finalizer)


def _check_domain(path: str, finalizer: str) -> Iterator[FieldError]:
    if "/" not in finalizer and finalizer not in _STANDARD_FINALIZERS:
        detail = "name is neither a standard finalizer name nor is it fully qualified"
        yield FieldError(path, CauseType.INVALID, detail, finalizer)


def _check_owners(owners: Sequence[Mapping[str, Any]]) -> Iterator[FieldError]:
    first = ""
    for index, owner in enumerate(owners):
        yield from _check_owner(f"metadata.ownerReferences[{index}]", owner)
        if owner.get("controller"):
            name = f"{owner.get('kind')}/{owner.get('name')}"
            if first:
                detail = f'Only one reference can have Controller set to true. Found "true" in references for {first} and {name}'
                yield FieldError("metadata.ownerReferences", CauseType.INVALID, detail, owners)
            else:
                first = name


def _check_owner(path: str, owner: Mapping[str, Any]) -> Iterator[FieldError]:
    version = owner.get("apiVersion") or ""
    if version.count("/") > 1:
        detail = "must be <group>/<version> or <version>"
        yield FieldError(f"{path}.apiVersion", CauseType.INVALID, detail, version)
    for key in ("apiVersion", "kind", "name", "uid"):
        if not owner.get(key):
            yield FieldError(f"{path}.{key}", CauseType.REQUIRED, "must not be empty")
    if (version, owner.get("kind")) == ("v1", "Event"):
        yield FieldError(path, CauseType.INVALID, "/v1, Kind=Event is disallowed from being an owner", owner)
