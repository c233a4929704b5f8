"""One attempt to bring one image here: wait for a place, fetch, then load it into podman or make its disks."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import Protocol

from eaves.node.desired.model import DesiredImage, ImageFormat
from eaves.node.images import containers, reference
from eaves.node.images.access import FetchOptions
from eaves.node.images.blobs import Blobs
from eaves.node.images.containers import ContainerLoader, Resolved
from eaves.node.images.disks import DiskImages, FetchedDisk
from eaves.node.images.meter import Meter
from eaves.node.images.model import Priority
from eaves.node.images.plan import Pin
from eaves.node.images.policy import DownloadPolicy
from eaves.node.images.retrieval import Retrieval, plan_origins
from eaves.node.images.slots import Slots
from eaves.node.images.uplinks import FindWays
from eaves.node.observed import ImageBlob, ImageState

log = logging.getLogger(__name__)

PARALLEL_FETCHES = 6
PARALLEL_PER_HOST = 3
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Book(Protocol):
    """Where is written down what images stand for and how they get on: :class:`.service.Images`."""

    @property
    def policy(self) -> DownloadPolicy: ...

    def find_pin(self, image: DesiredImage) -> Pin | None: ...

    def find_twin(self, digest: str) -> Pin | None: ...

    async def remember(
        self,
        image: DesiredImage,
        digest: str,
        size_bytes: int,
        *,
        stored_as: str = "",
        blobs: Collection[str] = (),
        content: tuple[ImageBlob, ...] = (),
    ) -> None: ...

    def publish(
        self, image: DesiredImage, state: ImageState, digest: str = "", size_bytes: int = 0, done_bytes: int = 0
    ) -> None: ...


class Bringer:
    def __init__(
        self,
        book: Book,
        downloads: Path,
        blobs: Blobs,
        disks: DiskImages,
        loader: ContainerLoader,
        meter: Meter,
        find_ways: FindWays,
    ) -> None:
        self._book = book
        self._downloads = downloads
        self._blobs = blobs
        self._disks = disks
        self._loader = loader
        self._meter = meter
        self._find_ways = find_ways
        self._slots = Slots(PARALLEL_FETCHES, PARALLEL_PER_HOST)
        self._active: list[Retrieval] = []
        self._loading = 0
        self._boot_id = ""

    async def open(self) -> None:
        self._boot_id = (await asyncio.to_thread(_BOOT_ID.read_text, encoding="ascii")).strip()

    @property
    def is_loading(self) -> bool:
        """Whether something is on its way into podman's storage."""
        return self._loading > 0

    def folder(self, image: DesiredImage) -> Path:
        """Scratch of its own; names of images, which podman makes of it, have no capitals."""
        return self._downloads / image.id.lower()

    async def bring(self, image: DesiredImage, priority: Priority) -> None:
        """Raises EngineError, OSError; PreemptedError when something more urgent took its place."""
        reference.check_image(image)
        self._book.publish(image, ImageState.WAITING)
        self._meter.check(f"image {image.name}")
        policy = self._book.policy
        options = FetchOptions(
            proxy=policy.proxy,
            stalled_after_s=policy.stalled_after_s,
            max_cuts=policy.max_cuts,
            rate_bytes_per_s=policy.rate_bytes_per_s,
            allow_insecure_auth=policy.allow_insecure_auth,
            boot_id=self._boot_id,
        )
        origins = plan_origins(image, await self._find_ways(policy))
        shown = _Shown(self._book, self._meter, image)
        async with Retrieval(image, origins, self._blobs, options, shown) as retrieval:
            if image.format is ImageFormat.CONTAINER:
                await self._bring_container(image, priority, retrieval, shown)
            else:
                await self._bring_disk(image, priority, retrieval, shown)

    async def _bring_container(
        self, image: DesiredImage, priority: Priority, retrieval: Retrieval, shown: _Shown
    ) -> None:
        async with self._place(image, priority, retrieval):
            resolved = await self._resolve_container(image, retrieval, shown)
            if resolved is None:
                return
            manifest = resolved.manifest
            layers = containers.want_layers(image, manifest)
            await self._loader.check_space(manifest.size_bytes)
            blobs = [blob.digest for blob in manifest.blobs]
            await self._book.remember(
                image, resolved.digest, manifest.size_bytes, blobs=blobs, content=resolved.content
            )
            shown.downloading(manifest.size_bytes, 0, 0)
            await retrieval.fetch(layers)
        self._book.publish(image, ImageState.VERIFYING, resolved.digest, manifest.size_bytes, manifest.size_bytes)
        self._loading += 1
        try:
            stored_as = await self._loader.load(manifest, self.folder(image))
            await self._book.remember(image, resolved.digest, manifest.size_bytes, stored_as=stored_as)
        finally:
            self._loading -= 1
        self._finish(image, resolved.digest, manifest.size_bytes)

    async def _resolve_container(self, image: DesiredImage, retrieval: Retrieval, shown: _Shown) -> Resolved | None:
        """None when the same is loaded under another name, and so this one is here now too."""
        self._book.publish(image, ImageState.RESOLVING)
        pin = self._book.find_pin(image)
        resolved = await containers.resolve(image, pin.digest if pin else "", retrieval)
        shown.digest = resolved.digest
        twin = self._book.find_twin(resolved.digest)
        if twin is None:
            return resolved
        await self._book.remember(
            image, resolved.digest, twin.size_bytes, stored_as=twin.image, content=resolved.content
        )
        self._finish(image, resolved.digest, twin.size_bytes)
        return None

    async def _bring_disk(self, image: DesiredImage, priority: Priority, retrieval: Retrieval, shown: _Shown) -> None:
        async with self._place(image, priority, retrieval):
            self._book.publish(image, ImageState.RESOLVING)
            pin = self._book.find_pin(image)
            fetched = await self._disks.fetch(image, pin.digest if pin else "", retrieval, shown.note_disk)
            size_bytes = fetched.size_bytes or (pin.size_bytes if pin else 0)
        self._book.publish(image, ImageState.VERIFYING, fetched.digest, size_bytes, size_bytes)

        def tell(percent: int) -> None:
            done_bytes = size_bytes * percent // 100
            self._book.publish(image, ImageState.CONVERTING, fetched.digest, size_bytes, done_bytes)

        await self._disks.make(image, fetched, retrieval, tell)
        await self._book.remember(image, fetched.digest, size_bytes, content=fetched.content)
        self._finish(image, fetched.digest, size_bytes)

    def _finish(self, image: DesiredImage, digest: str, size_bytes: int) -> None:
        self._book.publish(image, ImageState.LOADED, digest, size_bytes, size_bytes)

    @contextlib.asynccontextmanager
    async def _place(self, image: DesiredImage, priority: Priority, retrieval: Retrieval) -> AsyncIterator[None]:
        """While this image may use the network."""
        async with self._slots.want(image.datastores[0].server, priority):
            self._active.append(retrieval)
            await self._share_rate()
            try:
                yield
            finally:
                self._active.remove(retrieval)
                await retrieval.disconnect()
                await self._share_rate()
                await self._meter.save()

    async def _share_rate(self) -> None:
        rate = self._book.policy.rate_bytes_per_s
        for retrieval in self._active:
            await retrieval.set_rate(rate // len(self._active) if rate else 0)


class _Shown:
    """One image's progress, published and counted."""

    def __init__(self, book: Book, meter: Meter, image: DesiredImage) -> None:
        self._book = book
        self._meter = meter
        self._image = image
        self.digest = image.digest

    def downloading(self, size_bytes: int, have_bytes: int, received_bytes: int) -> None:
        self._book.publish(self._image, ImageState.DOWNLOADING, self.digest, size_bytes, have_bytes)
        self._meter.count(received_bytes, f"image {self._image.name}")

    async def note_disk(self, fetched: FetchedDisk) -> None:
        """What it stands for is known; its blobs are kept from now on, over restarts too."""
        self.digest = fetched.digest
        blobs = {layer.digest for part in fetched.parts for layer in part.layers}
        await self._book.remember(
            self._image, fetched.digest, fetched.size_bytes, blobs=sorted(blobs), content=fetched.content
        )
