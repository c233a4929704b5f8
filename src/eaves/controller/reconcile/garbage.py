"""Garbage collection: objects go with their owners, owners wait for or let go of what they own.

An :class:`OwnerGraph` of all stored objects is kept by watches; :class:`GarbageCollector` acts on it, one object at a time:

* an object whose owners are all gone is deleted; references to some that are gone are taken out;
* an object that is deleted in the foreground goes after those dependents that block its deletion;
* one that is deleted with orphaning goes after its dependents forgot it.

What the graph says is checked against the store before anything is deleted, since the graph may be behind.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct

from eaves.controller.deletion import FOREGROUND, ORPHAN, mark_deleted, save_update
from eaves.controller.documents import decode_object
from eaves.controller.objects import Objects
from eaves.controller.watching import Snapshot, follow
from eaves.controller.workqueue import WorkQueue
from eaves.kinds import edgenode
from eaves.kinds.registry import BY_KIND, PROJECTED, RESOURCES
from eaves.kinds.times import render_time
from eaves.kube.resource import Object, Resource
from eaves.store.abc import ChangeType, Key, StoredObject
from eaves.store.errors import ConflictError

_STORED: tuple[Resource, ...] = tuple(r for r in RESOURCES if r.gvr not in PROJECTED)
_BY_STORE_NAME = {resource.store_name: resource for resource in _STORED}
_MARKS = (b'"ownerReferences"', b'"foregroundDeletion"', b'"orphan"')
"""An object without any of these words in its bytes has nothing to do with garbage collection, and need not be decoded."""


class Entry(Struct, frozen=True):
    """What the graph knows of an object."""

    key: Key
    owners: tuple[str, ...] = ()
    is_waiting: bool = False
    """Its deletion waits for the collector: it is deleted in the foreground or with orphaning."""


class OwnerGraph:
    """Objects by UID, and who depends on whom."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._dependents: dict[str, set[str]] = {}

    def __contains__(self, uid: str) -> bool:
        return uid in self._entries

    def get(self, uid: str) -> Entry | None:
        return self._entries.get(uid)

    def uids_of(self, resource: str) -> list[str]:
        return [uid for uid, entry in self._entries.items() if entry.key.resource == resource]

    def dependents(self, uid: str) -> Sequence[str]:
        return sorted(self._dependents.get(uid, ()))

    def put(self, stored: StoredObject) -> list[str]:
        """Take note of an object; answers the UIDs that must be looked at."""
        entry = _read_entry(stored)
        self._forget_owners(stored.uid)
        self._entries[stored.uid] = entry
        for owner in entry.owners:
            self._dependents.setdefault(owner, set()).add(stored.uid)
        return [stored.uid] if entry.owners or entry.is_waiting else []

    def remove(self, uid: str) -> list[str]:
        """Forget an object; answers what depended on it, and owners that may wait for it."""
        entry = self._entries.get(uid)
        self._forget_owners(uid)
        self._entries.pop(uid, None)
        waiting = [owner for owner in (entry.owners if entry else ()) if self._is_waiting(owner)]
        return [*self.dependents(uid), *waiting]

    def _is_waiting(self, uid: str) -> bool:
        entry = self._entries.get(uid)
        return entry is not None and entry.is_waiting

    def _forget_owners(self, uid: str) -> None:
        entry = self._entries.get(uid)
        for owner in entry.owners if entry else ():
            dependents = self._dependents.get(owner)
            if dependents is not None:
                dependents.discard(uid)
                if not dependents:
                    del self._dependents[owner]


class GarbageCollector:
    """Run :meth:`run` under the supervisor."""

    def __init__(self, objects: Objects, clock: Callable[[], float] = time.time) -> None:
        self._objects = objects
        self._store = objects.store
        self._clock = clock
        self._graph = OwnerGraph()
        self._unseen = {resource.store_name for resource in _STORED}
        self.queue: WorkQueue[str] = WorkQueue("garbage", self._collect, workers=1)
        self._seen_all = asyncio.Event()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for resource in _STORED:
                group.create_task(self._follow(resource), name=f"garbage: follow {resource.store_name}")
            await self._seen_all.wait()
            group.create_task(self.queue.run(), name="garbage: work")

    async def _follow(self, resource: Resource) -> None:
        async for news in follow(self._store, resource.store_name):
            if isinstance(news, Snapshot):
                self._replace(resource.store_name, news.objects)
            elif news.type is ChangeType.DELETED:
                self._add(self._graph.remove(news.object.uid))
            else:
                self._add(self._graph.put(news.object))

    def _replace(self, resource: str, objects: Sequence[StoredObject]) -> None:
        present = {stored.uid for stored in objects}
        for uid in self._graph.uids_of(resource):
            if uid not in present:
                self._add(self._graph.remove(uid))
        for stored in objects:
            self._add(self._graph.put(stored))
        self._unseen.discard(resource)
        if not self._unseen:
            self._seen_all.set()

    def _add(self, uids: Sequence[str]) -> None:
        for uid in uids:
            self.queue.add(uid)

    async def _collect(self, uid: str) -> None:
        entry = self._graph.get(uid)
        if entry is None:
            return
        stored = await self._store.get(entry.key)
        if stored is None or stored.uid != uid:
            return
        resource, obj = _BY_STORE_NAME[entry.key.resource], decode_object(stored)
        try:
            await self._settle(resource, stored, obj)
        except ConflictError:
            self.queue.add(uid)

    async def _settle(self, resource: Resource, stored: StoredObject, obj: Object) -> None:
        meta = obj["metadata"]
        finalizers = meta.get("finalizers") or []
        if meta.get("deletionTimestamp") and ORPHAN in finalizers:
            await self._orphan_dependents(stored.uid)
            await self._let_go(resource, stored, obj, ORPHAN)
        elif meta.get("deletionTimestamp") and FOREGROUND in finalizers:
            if not await self._delete_blocking(stored.uid):
                await self._let_go(resource, stored, obj, FOREGROUND)
        elif meta.get("ownerReferences"):
            await self._check_owners(resource, stored, obj)

    async def _check_owners(self, resource: Resource, stored: StoredObject, obj: Object) -> None:
        references = obj["metadata"]["ownerReferences"]
        solid, gone, waiting = [], [], []
        for reference in references:
            owner = await self._find_owner(reference, stored.key.namespace)
            if owner is None:
                gone.append(reference)
            elif reference.get("blockOwnerDeletion") and _is_deleted_in_foreground(owner):
                waiting.append(reference)
            else:
                solid.append(reference)
        if solid:
            if gone or waiting:
                kept = [reference for reference in references if reference in solid]
                await save_update(self._store, resource, stored, _with_owners(obj, kept))
        elif not obj["metadata"].get("deletionTimestamp"):
            # Dependents of an owner that waits in the foreground let their own dependents go first too.
            policy = "Foreground" if waiting and self._graph.dependents(stored.uid) else None
            await save_update(self._store, resource, stored, self._mark(resource, obj, policy))

    async def _find_owner(self, reference: Object, space: str) -> Object | None:
        """The owner as it is; an unknown kind counts as there, since nobody can say that it is not. None = gone."""
        resource = BY_KIND.get(reference.get("kind", ""))
        if resource is None or resource.gvr.group != _group_of(reference.get("apiVersion", "")):
            return {"metadata": {}}
        if resource.gvr in PROJECTED:
            # Nodes are views with the UID of their EdgeNode; the other views own nothing.
            resource = edgenode.RESOURCE
        key = Key(resource.store_name, space if resource.namespaced else "", reference.get("name", ""))
        stored = await self._store.get(key)
        return decode_object(stored) if stored is not None and stored.uid == reference.get("uid") else None

    async def _delete_blocking(self, uid: str) -> int:
        """Delete all dependents; answers how many that block are still there."""
        blocking = 0
        for dependent in self._graph.dependents(uid):
            loaded = await self._load(dependent)
            if loaded is None:
                continue
            _, stored, obj = loaded
            if any(_blocks(reference, uid) for reference in obj["metadata"].get("ownerReferences") or ()):
                blocking += 1
            self.queue.add(stored.uid)
        return blocking

    async def _orphan_dependents(self, uid: str) -> None:
        for dependent in self._graph.dependents(uid):
            loaded = await self._load(dependent)
            if loaded is None:
                continue
            resource, stored, obj = loaded
            kept = [each for each in obj["metadata"].get("ownerReferences") or () if each.get("uid") != uid]
            await save_update(self._store, resource, stored, _with_owners(obj, kept))

    async def _load(self, uid: str) -> tuple[Resource, StoredObject, Object] | None:
        entry = self._graph.get(uid)
        stored = await self._store.get(entry.key) if entry is not None else None
        if entry is None or stored is None or stored.uid != uid:
            return None
        return _BY_STORE_NAME[entry.key.resource], stored, decode_object(stored)

    async def _let_go(self, resource: Resource, stored: StoredObject, obj: Object, finalizer: str) -> None:
        meta = dict(obj["metadata"])
        meta["finalizers"] = [each for each in meta["finalizers"] if each != finalizer]
        await save_update(self._store, resource, stored, {**obj, "metadata": meta})

    def _mark(self, resource: Resource, obj: Object, policy: str | None) -> Object:
        return mark_deleted(resource, obj, render_time(self._clock()), policy)


def _read_entry(stored: StoredObject) -> Entry:
    if not any(mark in stored.value for mark in _MARKS):
        return Entry(stored.key)
    meta: dict[str, Any] = decode_object(stored)["metadata"]
    finalizers = meta.get("finalizers") or ()
    return Entry(
        stored.key,
        tuple(reference.get("uid", "") for reference in meta.get("ownerReferences") or ()),
        bool(meta.get("deletionTimestamp")) and (FOREGROUND in finalizers or ORPHAN in finalizers),
    )


def _with_owners(obj: Object, owners: Sequence[Object]) -> Object:
    meta = dict(obj["metadata"])
    if owners:
        meta["ownerReferences"] = list(owners)
    else:
        meta.pop("ownerReferences", None)
    return {**obj, "metadata": meta}


def _is_deleted_in_foreground(owner: Object) -> bool:
    meta = owner["metadata"]
    return bool(meta.get("deletionTimestamp")) and FOREGROUND in (meta.get("finalizers") or ())


def _blocks(reference: Object, uid: str) -> bool:
    return reference.get("uid") == uid and bool(reference.get("blockOwnerDeletion"))


def _group_of(api_version: str) -> str:
    return api_version.rpartition("/")[0]
