"""What deleting an object means: marks, finalizers, and when it is really gone. Used by the API's deletes and by garbage collection.

An object without finalizers goes at once. One with finalizers is marked with a deletion time and goes with its last finalizer. The two
finalizers here stand for propagation policies and are the garbage collector's to remove.
"""

from __future__ import annotations

from typing import Any

from eaves.controller.documents import decode_object, encode_document
from eaves.kinds import namespace
from eaves.kube.resource import Object, Resource
from eaves.store.abc import ObjectStore, Put, Remove, StoredObject, Write

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"
POLICIES = {"Foreground": FOREGROUND, "Orphan": ORPHAN, "Background": ""}
"""Propagation policy → its finalizer."""


def mark_deleted(resource: Resource, obj: Object, now: str, policy: str | None = None) -> Object:
    """The object with the marks of its deletion; ``policy`` None leaves finalizers as they are. ``now`` is RFC 3339."""
    meta: dict[str, Any] = dict(obj["metadata"])
    marked = {**obj, "metadata": meta}
    if policy is not None:
        _put_policy(meta, policy)
    if meta.get("deletionTimestamp"):
        return marked
    meta["deletionTimestamp"] = now
    if "generation" in meta:
        meta["generation"] += 1
    if resource is namespace.RESOURCE:
        marked["status"] = {**(obj.get("status") or {}), "phase": "Terminating"}
    else:
        meta["deletionGracePeriodSeconds"] = 0
    return marked


def _put_policy(meta: dict[str, Any], policy: str) -> None:
    kept = [name for name in meta.get("finalizers") or () if name not in (FOREGROUND, ORPHAN)]
    finalizers = [*kept, POLICIES[policy]] if POLICIES[policy] else kept
    if finalizers:
        meta["finalizers"] = finalizers
    else:
        meta.pop("finalizers", None)


def is_released(resource: Resource, obj: Object) -> bool:
    """Whether the object is being deleted and nobody holds it any more."""
    meta = obj["metadata"]
    if not meta.get("deletionTimestamp") or meta.get("finalizers"):
        return False
    return not (resource is namespace.RESOURCE and (obj.get("spec") or {}).get("finalizers"))


def want_write(resource: Resource, current: StoredObject, new: Object) -> Write:
    """The write that brings ``new`` about: it goes when it is released, else it is replaced.

    What watchers are told of an object that goes is its last stored state, as a kube-apiserver does it.
    """
    if is_released(resource, new):
        return Remove(current.key, encode_document(resource, decode_object(current)), current.revision)
    return Put(current.key, encode_document(resource, new), current.revision)


async def save_update(store: ObjectStore, resource: Resource, current: StoredObject, new: Object) -> StoredObject:
    """Commit :func:`want_write` and answer ``new`` as of that commit, also when it went. Raises ConflictError."""
    write = want_write(resource, current, new)
    (stored,) = await store.commit([write])
    if isinstance(write, Put):
        return stored
    if "deletionTimestamp" not in decode_object(current)["metadata"]:
        # It went at once, so that nobody ever saw it marked.
        new = decode_object(current)
    document = encode_document(resource, new)
    return StoredObject(stored.key, stored.uid, stored.revision, document.join(stored.revision), document.labels)
