"""Follows all objects of a resource: what is there, then every change, for as long as the caller listens.

The pattern under every level-based part of the controller (node index, config compiler, garbage collection): a watch that falls out
of the kept history starts again with what is there, so a follower that handles a fresh :class:`Snapshot` at any time misses nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from msgspec import Struct

from eaves.store.abc import Change, ObjectStore, Progress, StoredObject
from eaves.store.errors import CompactedError


class Snapshot(Struct, frozen=True):
    """Everything there is now; what the follower knows besides is gone."""

    resource: str
    objects: Sequence[StoredObject]
    revision: int


async def follow(store: ObjectStore, resource: str) -> AsyncIterator[Snapshot | Change]:
    """A snapshot, then changes; another snapshot whenever changes were lost."""
    while True:
        page = await store.list(resource)
        yield Snapshot(resource, page.items, page.revision)
        try:
            async for change in store.watch(resource, after=page.revision):
                if not isinstance(change, Progress):
                    yield change
        except CompactedError:
            continue
