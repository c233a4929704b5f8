"""Brings disk images here: blobs by the download helper, then made ready for volumes. Owned by :class:`.service.Images`."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Collection, Iterable
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from eaves.node.desired.model import DatastoreKind, DesiredDatastore, DesiredImage
from eaves.node.images import access, convert
from eaves.node.images.access import FetchOptions
from eaves.node.images.download.protocol import Answer
from eaves.node.images.errors import ImageUnsupportedError
from eaves.node.images.fetching import Fetcher
from eaves.node.images.model import DiskImage, PartRole
from eaves.node.images.plan import Pin
from eaves.node.images.store import DiskStore, want_key


class Show(Protocol):
    """Told how an image gets on."""

    def downloading(self, digest: str, size_bytes: int, have_bytes: int, received_bytes: int) -> None:
        """``received_bytes`` came over the network since the last call. May raise DownloadError to end the download."""

    def converting(self, digest: str, size_bytes: int, percent: int) -> None: ...


class Brought(Struct, frozen=True):
    digest: str
    size_bytes: int
    image: DiskImage


class DiskImages:
    def __init__(self, folder: Path) -> None:
        self.store = DiskStore(folder)
        self._ready: dict[str, DiskImage] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._blobs: Counter[str] = Counter()
        """Digests that a download needs now."""
        self._making: Counter[str] = Counter()
        self._cleaning = asyncio.Lock()
        """Held while files are removed: what begins to be fetched meanwhile must not be among them."""

    async def open(self) -> None:
        self._ready = await asyncio.to_thread(self.store.load)

    def find(self, image: DesiredImage, pin: Pin | None) -> DiskImage | None:
        return self._ready.get(want_key(pin.digest, image)) if pin is not None else None

    async def bring(
        self, image: DesiredImage, datastore: DesiredDatastore, options: FetchOptions, show: Show
    ) -> Brought:
        """Fetch ``image`` from ``datastore`` and make it ready. Raises EngineError, OSError."""
        element = f"image {image.name}"
        if datastore.kind is DatastoreKind.REGISTRY:
            raise ImageUnsupportedError("disk images in registries are not known", element=element)
        if not image.digest:
            raise ImageUnsupportedError(
                "a disk image needs its digest", code="DigestMissing", element=element, resolution="add its SHA-256"
            )
        async with self._alone(image, image.digest) as key:
            if (ready := self._ready.get(key)) is not None:
                return Brought(image.digest, 0, ready)
            setup = access.want_setup(datastore, self.store.folder, options, element)
            tell = _Teller(show, image.digest)
            async with Fetcher(setup, element) as fetcher:
                answer = await fetcher.blob(
                    access.want_path(image, datastore), image.digest, max_bytes=image.max_size_bytes, tell=tell
                )
            work = await asyncio.to_thread(self.store.want_work_folder, key)
            part = await convert.want_disk(
                self.store.blob(image.digest),
                image.format,
                work,
                PartRole.ROOT,
                "root",
                element,
                lambda percent: show.converting(image.digest, answer.size, percent),
            )
            self._ready[key] = await asyncio.to_thread(self.store.accept, key, [part])
            return Brought(image.digest, answer.size, self._ready[key])

    async def clean(self, wanted: Iterable[str], in_use: Collection[str]) -> None:
        """Remove images whose key is not ``wanted``, and blobs that no download needs."""
        async with self._cleaning:
            gone = await asyncio.to_thread(
                self.store.remove_unused,
                keys=frozenset(wanted),
                blobs=frozenset(self._blobs),
                making=frozenset(self._making),
                in_use=in_use,
            )
            for key in gone:
                self._ready.pop(key, None)

    @contextlib.asynccontextmanager
    async def _alone(self, image: DesiredImage, digest: str) -> AsyncIterator[str]:
        """While nobody else brings the same; nothing of it is removed meanwhile."""
        key = want_key(digest, image)
        async with self._cleaning:
            self._blobs[digest] += 1
            self._making[key] += 1
        try:
            async with self._locks[digest]:
                yield key
        finally:
            _forget(self._blobs, digest)
            _forget(self._making, key)
            if digest not in self._blobs:
                self._locks.pop(digest, None)


class _Teller:
    """From the helper's answers to what is shown: bytes received are told as they grow."""

    def __init__(self, show: Show, digest: str) -> None:
        self._show = show
        self._digest = digest
        self._received = 0

    def __call__(self, answer: Answer) -> None:
        grown, self._received = answer.received - self._received, answer.received
        self._show.downloading(self._digest, answer.size, answer.have, grown)


def _forget(counter: Counter[str], name: str) -> None:
    counter[name] -= 1
    if not counter[name]:
        del counter[name]
