"""Which blobs are needed now and who fetches which: shared by all images, so that equal content is fetched once and kept while needed."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Collection, Iterable

from eaves.node.images.store import DiskStore


class Blobs:
    def __init__(self, store: DiskStore) -> None:
        self.store = store
        self._needed: Counter[str] = Counter()
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._cleaning = asyncio.Lock()
        """Held while files are removed: what begins to be needed meanwhile must not be among them."""

    async def need(self, names: Iterable[str]) -> None:
        """From now on nothing removes these: digests of blobs and keys of images. Give each back by :meth:`release`."""
        async with self._cleaning:
            self._needed.update(names)

    def release(self, names: Iterable[str]) -> None:
        for name in names:
            self._needed[name] -= 1
            if self._needed[name] <= 0:
                del self._needed[name]
                self._locks.pop(name, None)

    @contextlib.asynccontextmanager
    async def alone(self, name: str) -> AsyncIterator[None]:
        """While nobody else works on the same blob or image. The name must be needed."""
        async with self._locks[name]:
            yield

    async def clean(self, keys: Collection[str], digests: Collection[str], in_use: Collection[str]) -> list[str]:
        """Remove all that is needed by nobody now and is not in ``keys`` (disk images) or ``digests`` (blobs).

        Answers the keys of disk images that are gone.
        """
        async with self._cleaning:
            needed = frozenset((*self._needed, *digests))
            return await asyncio.to_thread(self.store.remove_unused, keys=frozenset(keys), needed=needed, in_use=in_use)
