"""Leases: stored ones, by which clients elect their leaders, and beside them a view of each EdgeNode's last contact.

The namespace ``kube-node-lease`` holds the views alone; readers of all namespaces see both as one list.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

from eaves.controller.api.app import Answer
from eaves.controller.api.backends import Backend
from eaves.controller.api.http import Request
from eaves.controller.api.routing import Target
from eaves.controller.api.stored import StoredKind
from eaves.kinds.lease import NAMESPACE
from eaves.kube import status
from eaves.kube.resource import Verb
from eaves.store.abc import Change, Page, Progress, StoredObject

_READS = (Verb.GET, Verb.LIST, Verb.WATCH)
_QUEUED = 256
"""Changes that wait for a slow reader of two watches; then their sources wait too."""


class LeaseBackend:
    """Reads of both."""

    def __init__(self, nodes: Backend, stored: Backend) -> None:
        self.resource = stored.resource
        self._nodes = nodes
        self._stored = stored

    async def get(self, namespace: str, name: str) -> StoredObject | None:
        return await self._of(namespace).get(namespace, name)

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
        if namespace is not None:
            return await self._of(namespace).list(
                namespace, limit=limit, after=after, revision=revision, labels=labels, fields=fields
            )
        stored = await self._stored.list(
            None, limit=limit, after=after, revision=revision, labels=labels, fields=fields
        )
        # All nodes come before a cursor behind their namespace, and after one before it.
        nodes_after = after if after is not None and after[0] == NAMESPACE else None
        if after is not None and after[0] > NAMESPACE:
            return stored
        nodes = await self._nodes.list(
            NAMESPACE, limit=limit, after=nodes_after, revision=stored.revision, labels=labels, fields=fields
        )
        return merge_pages(stored, nodes, limit)

    async def watch(
        self, namespace: str | None, *, after: int, progress: bool = False
    ) -> AsyncIterator[Change | Progress]:
        if namespace is not None:
            async for event in self._of(namespace).watch(namespace, after=after, progress=progress):
                yield event
            return
        sources = (
            self._stored.watch(None, after=after, progress=progress),
            self._nodes.watch(NAMESPACE, after=after, progress=progress),
        )
        async for event in merge_watches(*sources):
            yield event

    def _of(self, namespace: str) -> Backend:
        return self._nodes if namespace == NAMESPACE else self._stored


class LeaseKind:
    """The handler."""

    def __init__(self, stored: StoredKind) -> None:
        self.resource = stored.resource
        self._stored = stored

    async def serve(self, request: Request, target: Target) -> Answer:
        """Raises ApiError 403 for writes to leases of nodes: they are what nodes say, not what is asked of them."""
        if request.verb not in _READS and target.namespace == NAMESPACE:
            raise status.forbidden(
                self.resource.gvr.group, "leases", target.name, f"leases of {NAMESPACE} are views of EdgeNodes"
            )
        return await self._stored.serve(request, target)


def merge_pages(first: Page, second: Page, limit: int) -> Page:
    """One page in the order of namespaces and names, of at most ``limit`` items (0 = all)."""
    items = sorted((*first.items, *second.items), key=lambda item: (item.key.namespace, item.key.name))
    shown = items[:limit] if limit else items
    is_whole = len(shown) == len(items) and first.next_key is None and second.next_key is None
    if is_whole or not shown:
        return Page(tuple(shown), first.revision, None)
    known = (
        first.remaining is not None or first.next_key is None,
        second.remaining is not None or second.next_key is None,
    )
    remaining = len(items) - len(shown) + (first.remaining or 0) + (second.remaining or 0) if all(known) else None
    return Page(tuple(shown), first.revision, (shown[-1].key.namespace, shown[-1].key.name), remaining)


async def merge_watches(*sources: AsyncIterator[Change | Progress]) -> AsyncIterator[Change | Progress]:
    """Changes of all sources as they come; progress only as far as every source has come. Raises what a source raises."""
    queue: asyncio.Queue[tuple[int, Change | Progress | None]] = asyncio.Queue(_QUEUED)
    reached = [0] * len(sources)
    told = 0

    async def pump(number: int, source: AsyncIterator[Change | Progress]) -> None:
        async for event in source:
            await queue.put((number, event))
        await queue.put((number, None))

    tasks = [asyncio.create_task(pump(number, source)) for number, source in enumerate(sources)]
    try:
        while True:
            getting = asyncio.create_task(queue.get())
            await asyncio.wait((getting, *tasks), return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done() and task.exception() is not None:
                    getting.cancel()
                    task.result()
            number, event = await getting
            if event is None:
                return
            reached[number] = event.revision
            if isinstance(event, Change):
                yield event
            elif min(reached) > told:
                told = min(reached)
                yield Progress(told)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
