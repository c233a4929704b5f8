"""Keeps namespaces in order: each has what every one has, and one that is being deleted goes once its contents are gone.

Level-based: a namespace is looked at when it changes, when one of the objects that each has (:mod:`.namespacecontents`) goes or is
changed, when the authorities of the API change, and again while it waits for finalizers of its contents. What it waits for is said in
its conditions. One worker, and one commit for all that a namespace lacks: thousands of namespaces that lack something at a start are
filled one after the other, those that change meanwhile first.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from eaves.controller.deletion import mark_deleted, save_update
from eaves.controller.documents import decode_object
from eaves.controller.objects import Objects, key_of, revision_of, want_put
from eaves.controller.reconcile.namespacecontents import (
    ACCOUNT,
    AUTHORITIES,
    WATCHED,
    WITHOUT_NETWORK,
    make_account,
    make_network,
    make_object,
    plan_authorities,
)
from eaves.controller.watching import Snapshot, follow
from eaves.controller.workqueue import WorkQueue
from eaves.kinds import namespace
from eaves.kinds.app_spec import DEFAULT_NETWORK
from eaves.kinds.deletion import deletion_fault
from eaves.kinds.registry import PROJECTED, RESOURCES
from eaves.kinds.times import render_time
from eaves.kube.resource import Object, Resource
from eaves.store.abc import Change, ChangeType, Check, StoredObject, Write
from eaves.store.errors import CompactedError, ConflictError

log = logging.getLogger(__name__)

FIRST_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
"""Made at the start of the controller. The last one holds views of the nodes' leases."""
LOOK_AGAIN_S = 1.0
"""While a namespace waits for somebody's finalizers; its contents are few by then."""
_YIELD_EVERY = 50

_CONTENTS: tuple[Resource, ...] = tuple(r for r in RESOURCES if r.namespaced and r.gvr not in PROJECTED)


async def want_namespaces(objects: Objects, clock: Callable[[], float] = time.time) -> None:
    """Make the first namespaces where they are missing."""
    for name in FIRST_NAMESPACES:
        if await objects.get("Namespace", "", name) is None:
            await objects.create(make_object(namespace.RESOURCE, name, "", clock()))


class NamespaceReconciler:
    """Run :meth:`run` under the supervisor. ``authority_pem`` tells what clients of the API trust, None when systems do so already."""

    def __init__(
        self, objects: Objects, authority_pem: Callable[[], bytes | None], clock: Callable[[], float] = time.time
    ) -> None:
        self._objects = objects
        self._authority_pem = authority_pem
        self._clock = clock
        self._names: set[str] = set()
        self.queue: WorkQueue[str] = WorkQueue("namespaces", self._reconcile, workers=1)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow_namespaces(), name="namespaces: follow")
            for resource, name in WATCHED:
                group.create_task(self._follow_contents(resource, name), name=f"namespaces: {resource.store_name}")
            group.create_task(self.queue.run(), name="namespaces: work")

    def want_all(self) -> None:
        """Look at every namespace again, since what each is to have changed."""
        for name in sorted(self._names):
            self.queue.add(name)

    async def _follow_namespaces(self) -> None:
        async for news in follow(self._objects.store, namespace.RESOURCE.store_name):
            if isinstance(news, Snapshot):
                self._names = {stored.key.name for stored in news.objects}
                self.want_all()
            elif news.type is ChangeType.DELETED:
                self._names.discard(news.object.key.name)
            else:
                self._names.add(news.object.key.name)
                self.queue.add(news.object.key.name, is_urgent=True)

    async def _follow_contents(self, resource: Resource, name: str) -> None:
        """Notice what others do to an object that each namespace has, without reading all objects of its kind."""
        store = self._objects.store
        while True:
            after = await store.revision()
            # What happened up to here shows when the namespaces are looked at.
            self.want_all()
            try:
                async for change in store.watch(resource.store_name, after=after):
                    if isinstance(change, Change) and change.object.key.name == name and change.previous is not None:
                        self.queue.add(change.object.key.namespace, is_urgent=True)
            except CompactedError:
                log.info("changes were lost, looking at all namespaces: resource=%s", resource.store_name)

    async def _reconcile(self, name: str) -> None:
        stored = await self._objects.store.get(key_of("Namespace", "", name))
        if stored is None:
            return
        obj = decode_object(stored)
        if obj["metadata"].get("deletionTimestamp"):
            await self._empty(stored, obj)
        else:
            await self._want_contents(stored)

    async def _want_contents(self, space: StoredObject) -> None:
        writes = await self._plan_contents(space.key.name)
        if not writes:
            return
        try:
            # The guard keeps anything from slipping in behind the namespace's deletion.
            await self._objects.store.commit([Check(space.key, space.revision), *writes])
        except ConflictError:
            # The namespace began to terminate, or somebody else made an object first.
            self.queue.add(space.key.name)

    async def _plan_contents(self, name: str) -> list[Write]:
        """The writes that bring about what the namespace lacks."""
        objects, now = self._objects, self._clock()
        writes: list[Write] = []
        if await objects.get("ServiceAccount", name, ACCOUNT) is None:
            writes.append(want_put(make_account(name, now), 0))
        known = await objects.get("ConfigMap", name, AUTHORITIES)
        if (bundle := plan_authorities(known, self._authority_pem(), name, now)) is not None:
            writes.append(want_put(bundle, 0 if known is None else revision_of(known)))
        if name not in WITHOUT_NETWORK and await objects.get("Network", name, DEFAULT_NETWORK) is None:
            writes.append(want_put(make_network(name, await objects.list("Network"), now), 0))
        return writes

    async def _empty(self, stored: StoredObject, obj: Object) -> None:
        """Delete what is in the namespace; let the namespace go when nothing is."""
        name = stored.key.name
        left: dict[str, int] = {}
        finalizers: dict[str, int] = {}
        for resource in _CONTENTS:
            held = await self._delete_all(resource, name)
            if held:
                left[resource.store_name] = len(held)
            for each in held:
                for finalizer in each["metadata"].get("finalizers") or ():
                    finalizers[finalizer] = finalizers.get(finalizer, 0) + 1
        if left:
            await self._say_waiting(stored, obj, left, finalizers)
            asyncio.get_running_loop().call_later(LOOK_AGAIN_S, self.queue.add, name)
            return
        spec = dict(obj.get("spec") or {})
        spec["finalizers"] = [each for each in spec.get("finalizers") or () if each != namespace.FINALIZER]
        if spec["finalizers"] == (obj.get("spec") or {}).get("finalizers"):
            # Others hold it. Their change brings it back; writing it as it is would do so at once, for ever.
            return
        try:
            await save_update(self._objects.store, namespace.RESOURCE, stored, {**obj, "spec": spec})
        except ConflictError:
            # Its own change brings it back into the queue.
            log.debug("namespace changed while it was emptied: name=%s", name)

    async def _delete_all(self, resource: Resource, name: str) -> list[Object]:
        """Delete every object of a kind in the namespace; answers those that stay: held by finalizers, or to be retained."""
        page = await self._objects.store.list(resource.store_name, name)
        held = []
        for index, stored in enumerate(page.items):
            obj = decode_object(stored)
            if deletion_fault(resource, obj):
                held.append(obj)
                continue
            marked = mark_deleted(resource, obj, render_time(self._clock()))
            if obj["metadata"].get("finalizers"):
                held.append(obj)
            if marked != obj:
                try:
                    await save_update(self._objects.store, resource, stored, marked)
                except ConflictError:
                    held.append(obj)
            if index % _YIELD_EVERY == _YIELD_EVERY - 1:
                await asyncio.sleep(0)
        return held

    async def _say_waiting(
        self, stored: StoredObject, obj: Object, left: dict[str, int], finalizers: dict[str, int]
    ) -> None:
        contents = ", ".join(f"{kind} has {count} resource instances" for kind, count in sorted(left.items()))
        wanted = {"NamespaceContentRemaining": ("SomeResourcesRemain", f"Some resources are remaining: {contents}")}
        if finalizers:
            holders = ", ".join(f"{each} in {count} resource instances" for each, count in sorted(finalizers.items()))
            message = f"Some content in the namespace has finalizers remaining: {holders}"
            wanted["NamespaceFinalizersRemaining"] = ("SomeFinalizersRemain", message)
        else:
            message = (
                "Volumes with spec.reclaimPolicy Retain and snapshots with spec.retain guard their data:"
                " set Delete and false to let the namespace go"
            )
            wanted["NamespaceDeletionContentFailure"] = ("ContentDeletionFailed", message)
        status = dict(obj.get("status") or {})
        status["conditions"] = _merge_conditions(status.get("conditions") or (), wanted, render_time(self._clock()))
        if status != obj.get("status"):
            try:
                await save_update(self._objects.store, namespace.RESOURCE, stored, {**obj, "status": status})
            except ConflictError:
                log.debug("namespace changed while it waits: name=%s", stored.key.name)


def _merge_conditions(given: object, wanted: dict[str, tuple[str, str]], now: str) -> list[Object]:
    """True conditions with these reasons and messages; times stay with conditions that were true before."""
    before = {each["type"]: each for each in given} if isinstance(given, list) else {}
    merged = []
    for kind, (reason, message) in wanted.items():
        since = before[kind]["lastTransitionTime"] if kind in before else now
        merged.append(
            {"type": kind, "status": "True", "lastTransitionTime": since, "reason": reason, "message": message}
        )
    return merged
