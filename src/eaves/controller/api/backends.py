"""Where the objects of a resource are: in the store, or computed from another resource's objects.

Readers (get, list, watch) see stored objects through a :class:`Backend` and don't know the difference. Writers go to the store
themselves; what a write to a view means is decided by the view's own handlers.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from eaves.kube.resource import Resource
from eaves.store.abc import Change, ChangeType, Key, ObjectStore, Page, Progress, StoredObject

YIELD_EVERY = 100


class Backend(Protocol):
    """Read access to one resource. Errors are the store's."""

    @property
    def resource(self) -> Resource: ...

    async def get(self, namespace: str, name: str) -> StoredObject | None: ...

    async def list(
        self,
        namespace: str | None,
        *,
        limit: int = 0,
        after: tuple[str, str] | None = None,
        revision: int | None = None,
        labels: Mapping[str, str] | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> Page:
        """``labels`` and ``fields`` are hints: the answer may hold objects that don't fit them."""
        ...

    def watch(
        self, namespace: str | None, *, after: int, progress: bool = False
    ) -> AsyncIterator[Change | Progress]: ...


class StoreBackend:
    """Objects as the store has them."""

    def __init__(self, resource: Resource, store: ObjectStore) -> None:
        self.resource = resource
        self._store = store

    async def get(self, namespace: str, name: str) -> StoredObject | None:
        return await self._store.get(Key(self.resource.store_name, namespace, name))

    async def list(
        self,
        namespace: str | None,
        *,
        limit: int = 0,
        after: tuple[str, str] | None = None,
        revision: int | None = None,
        labels: Mapping[str, str] | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> Page:
        return await self._store.list(
            self.resource.store_name,
            namespace,
            limit=limit,
            after=after,
            revision=revision,
            labels=labels,
            fields=fields,
        )

    def watch(self, namespace: str | None, *, after: int, progress: bool = False) -> AsyncIterator[Change | Progress]:
        return self._store.watch(self.resource.store_name, namespace, after=after, progress=progress)


class View:
    """Objects computed one by one from another resource's, with the same names and revisions.

    ``project`` gives the view of one source object. ``namespace`` is the fixed one that a view of cluster-scoped objects is in, None
    when both have the same scope. ``fields`` maps a selectable field of the view to the equal one of the source, so that the
    store can answer by index.
    """

    def __init__(
        self,
        resource: Resource,
        source: Resource,
        store: ObjectStore,
        project: Callable[[StoredObject], Awaitable[StoredObject]],
        *,
        namespace: str | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> None:
        self.resource = resource
        self._source = source.store_name
        self._store = store
        self._project = project
        self._namespace = namespace
        self._fields = fields or {}

    async def get(self, namespace: str, name: str) -> StoredObject | None:
        if self._namespace is not None:
            if namespace != self._namespace:
                return None
            namespace = ""
        stored = await self._store.get(Key(self._source, namespace, name))
        return None if stored is None else await self._project(stored)

    async def list(
        self,
        namespace: str | None,
        *,
        limit: int = 0,
        after: tuple[str, str] | None = None,
        revision: int | None = None,
        labels: Mapping[str, str] | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> Page:
        # The view may add labels of its own, so those of the selector say nothing about the source.
        known = {self._fields[name]: value for name, value in (fields or {}).items() if name in self._fields}
        source_namespace, is_elsewhere = self._source_scope(namespace)
        if after is not None and self._namespace is not None:
            after = ("", after[1])
        page = await self._store.list(
            self._source,
            source_namespace,
            limit=1 if is_elsewhere else limit,
            after=after,
            revision=revision,
            fields=known or None,
        )
        if is_elsewhere:
            return Page((), page.revision, None)
        items = await self._project_all(page.items)
        return Page(items, page.revision, page.next_key, page.remaining)

    async def watch(
        self, namespace: str | None, *, after: int, progress: bool = False
    ) -> AsyncIterator[Change | Progress]:
        source_namespace, is_elsewhere = self._source_scope(namespace)
        async for event in self._store.watch(self._source, source_namespace, after=after, progress=progress):
            if isinstance(event, Progress):
                yield event
            elif not is_elsewhere:
                for change in await self._project_change(event):
                    yield change

    async def _project_change(self, change: Change) -> Sequence[Change]:
        """The view's change. One that makes another object of it (a pod after a restart) is a deletion and an addition."""
        new = await self._project(change.object)
        if change.previous is None:
            return [Change(change.type, new, None)]
        old = await self._project(change.previous)
        if old.uid == new.uid:
            return [Change(change.type, new, old)]
        gone = at_revision(old, new.revision)
        return [Change(ChangeType.DELETED, gone, old), Change(ChangeType.ADDED, new, None)]

    def _source_scope(self, namespace: str | None) -> tuple[str | None, bool]:
        """Namespace to ask the source for, and whether the asked one cannot hold objects of this view."""
        if self._namespace is None:
            return namespace, False
        return None, namespace not in (None, self._namespace)

    async def _project_all(self, items: Sequence[StoredObject]) -> Sequence[StoredObject]:
        projected = []
        for index, item in enumerate(items):
            projected.append(await self._project(item))
            if index % YIELD_EVERY == YIELD_EVERY - 1:
                # Thousands of views take hundreds of milliseconds: others get their turn in between.
                await asyncio.sleep(0)
        return projected


def at_revision(stored: StoredObject, revision: int) -> StoredObject:
    """The same object under another revision, as the event of its leaving must carry. Metadata comes before any free text."""
    value = stored.value.replace(b'"resourceVersion":"%d"' % stored.revision, b'"resourceVersion":"%d"' % revision, 1)
    return StoredObject(stored.key, stored.uid, revision, value, stored.labels, stored.fields)
