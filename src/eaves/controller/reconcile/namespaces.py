"""Keeps namespaces in order: each has its default Network, and one that is being deleted goes once its contents are gone.

Level-based: a namespace is looked at when it changes, when its default Network goes, and again while it waits for finalizers of its
contents. What it waits for is said in its conditions.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable

from eaves.controller.deletion import mark_deleted, save_update
from eaves.controller.documents import decode_object
from eaves.controller.objects import Objects, key_of
from eaves.controller.watching import Snapshot, follow
from eaves.controller.workqueue import WorkQueue
from eaves.kinds import namespace, network, subnets
from eaves.kinds.app_spec import DEFAULT_NETWORK
from eaves.kinds.deletion import deletion_fault
from eaves.kinds.registry import PROJECTED, RESOURCES
from eaves.kinds.times import render_time
from eaves.kube.resource import Object, Resource
from eaves.store.abc import ChangeType, StoredObject
from eaves.store.errors import ConflictError

log = logging.getLogger(__name__)

FIRST_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
"""Made at the start of the controller. The last one holds views of the nodes' leases."""
WITHOUT_NETWORK = frozenset({"kube-node-lease", "kube-public"})
LOOK_AGAIN_S = 1.0
"""While a namespace waits for somebody's finalizers; its contents are few by then."""
_YIELD_EVERY = 50

_CONTENTS: tuple[Resource, ...] = tuple(r for r in RESOURCES if r.namespaced and r.gvr not in PROJECTED)


async def want_namespaces(objects: Objects, clock: Callable[[], float] = time.time) -> None:
    """Make the first namespaces where they are missing."""
    for name in FIRST_NAMESPACES:
        if await objects.get("Namespace", "", name) is None:
            await objects.create(_make_object(namespace.RESOURCE, name, "", clock()))


class NamespaceReconciler:
    """Run :meth:`run` under the supervisor."""

    def __init__(self, objects: Objects, clock: Callable[[], float] = time.time) -> None:
        self._objects = objects
        self._clock = clock
        self.queue: WorkQueue[str] = WorkQueue("namespaces", self._reconcile, workers=1)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow_namespaces(), name="namespaces: follow")
            group.create_task(self._follow_networks(), name="namespaces: follow networks")
            group.create_task(self.queue.run(), name="namespaces: work")

    async def _follow_namespaces(self) -> None:
        async for news in follow(self._objects.store, namespace.RESOURCE.store_name):
            for stored in news.objects if isinstance(news, Snapshot) else (news.object,):
                self.queue.add(stored.key.name)

    async def _follow_networks(self) -> None:
        async for news in follow(self._objects.store, network.RESOURCE.store_name):
            is_gone = not isinstance(news, Snapshot) and news.type is ChangeType.DELETED
            if is_gone and not isinstance(news, Snapshot) and news.object.key.name == DEFAULT_NETWORK:
                self.queue.add(news.object.key.namespace)

    async def _reconcile(self, name: str) -> None:
        stored = await self._objects.store.get(key_of("Namespace", "", name))
        if stored is None:
            return
        obj = decode_object(stored)
        if obj["metadata"].get("deletionTimestamp"):
            await self._empty(stored, obj)
        elif name not in WITHOUT_NETWORK:
            await self._want_network(name)

    async def _want_network(self, name: str) -> None:
        if await self._objects.get("Network", name, DEFAULT_NETWORK) is not None:
            return
        obj = _make_object(network.RESOURCE, DEFAULT_NETWORK, name, self._clock())
        networks = await self._objects.list("Network")
        taken = [text for other in networks if (text := (other.get("spec") or {}).get("subnet"))]
        obj["spec"] = {"type": "Local", "subnet": subnets.allocate_subnet(taken, obj["metadata"]["uid"])}
        await self._objects.create(obj)

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


def _make_object(resource: Resource, name: str, space: str, now: float) -> Object:
    meta: Object = {"name": name, "uid": str(uuid.uuid4()), "creationTimestamp": render_time(now)}
    if resource.namespaced:
        meta["namespace"] = space
    if resource.is_custom:
        meta["generation"] = 1
    obj: Object = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": meta}
    resource.default(obj)
    return obj
