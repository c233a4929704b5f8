"""Disk images: blobs of web servers, S3 and registries, made into files that volumes start from."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path

from msgspec import Struct

from eaves.kit import process
from eaves.node.desired.model import DatastoreKind, DesiredImage
from eaves.node.errors import StorageFullError, is_storage_full
from eaves.node.images import access, containers, convert, untar
from eaves.node.images.blobs import Blobs
from eaves.node.images.errors import ImageRefusedError, ImageUnsupportedError
from eaves.node.images.manifest import Descriptor, Manifest, WantedPart, parse_labels, want_parts
from eaves.node.images.model import DiskImage, Part, PartFormat, PartRole
from eaves.node.images.plan import Pin
from eaves.node.images.retrieval import Retrieval, Wanted
from eaves.node.images.store import want_key
from eaves.node.observed import ImageBlob

PARALLEL_CONVERSIONS = 1
_LARGEST_MEMBER_BYTES = 1 << 42
_CONFIGS = ("application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json")
_CONFIG_LIMIT_BYTES = 4 << 20

Percent = Callable[[int], None]
Note = Callable[["FetchedDisk"], Awaitable[None]]


class FetchedDisk(Struct, frozen=True):
    """A disk image whose blobs are in the store. ``content``: manifests and what its parts are made of, the root first."""

    digest: str
    size_bytes: int
    parts: tuple[WantedPart, ...]
    content: tuple[ImageBlob, ...]


class DiskImages:
    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._store = blobs.store
        self._ready: dict[str, DiskImage] = {}
        self._slots = asyncio.Semaphore(PARALLEL_CONVERSIONS)

    async def open(self) -> None:
        self._ready = await asyncio.to_thread(self._store.load)

    def find(self, pin: Pin) -> DiskImage | None:
        return self._ready.get(want_key(pin.digest, pin.kind))

    async def fetch(self, image: DesiredImage, pinned: str, retrieval: Retrieval, note: Note) -> FetchedDisk:
        """Bring the image's blobs into the store; ``note`` is told what they are before. Raises EngineError, OSError."""
        if image.datastores[0].kind is DatastoreKind.REGISTRY:
            return await self._fetch_artifact(image, pinned, retrieval, note)
        if not image.digest:
            raise ImageUnsupportedError(
                "a disk image needs its digest",
                code="DigestMissing",
                element=retrieval.element,
                resolution="add its SHA-256",
            )
        if want_key(image.digest, image.format) not in self._ready:
            blob = Wanted(
                image.digest, 0, image.max_size_bytes, lambda origin: access.want_path(image, origin.datastore)
            )
            await retrieval.fetch([blob])
        size_bytes = await asyncio.to_thread(self._observe_size, image.digest)
        layer = Descriptor(image.digest, size_bytes)
        part = WantedPart(PartRole.ROOT, (layer,), "", image.format)
        return FetchedDisk(image.digest, size_bytes, (part,), (ImageBlob(image.digest, size_bytes),))

    async def _fetch_artifact(self, image: DesiredImage, pinned: str, retrieval: Retrieval, note: Note) -> FetchedDisk:
        resolved = await containers.resolve(image, pinned, retrieval)
        manifest = resolved.manifest
        wanted = {blob.digest: blob for blob in containers.want_layers(image, manifest)}
        parts = want_parts(manifest, await self._fetch_labels(manifest, wanted, retrieval), retrieval.element)
        layers = {layer.digest: layer for part in parts for layer in part.layers}
        told = {resolved.digest, manifest.digest, *layers}
        content = tuple(blob for blob in resolved.content if blob.digest in told)
        fetched = FetchedDisk(resolved.digest, sum(layer.size for layer in layers.values()), parts, content)
        if want_key(resolved.digest, image.format) not in self._ready:
            await note(fetched)
            await retrieval.fetch([wanted[digest] for digest in layers])
        return fetched

    async def _fetch_labels(
        self, manifest: Manifest, wanted: dict[str, Wanted], retrieval: Retrieval
    ) -> dict[str, str]:
        config = manifest.config
        if config is None or config.media_type not in _CONFIGS or config.size > _CONFIG_LIMIT_BYTES:
            return {}
        await retrieval.fetch([wanted[config.digest]])
        return dict(parse_labels(await asyncio.to_thread(self._store.blob(config.digest).read_bytes)))

    async def make(
        self, image: DesiredImage, fetched: FetchedDisk, retrieval: Retrieval, percent: Percent
    ) -> DiskImage:
        """The image's files, made of what was fetched; once for all images of the same digest. Raises EngineError, OSError."""
        key = want_key(fetched.digest, image.format)
        await retrieval.need([key])
        async with self._blobs.alone(key):
            if (ready := self._ready.get(key)) is not None:
                return ready
            async with self._slots:
                work = await asyncio.to_thread(self._store.want_work_folder, key)
                parts = [
                    await self._make_part(image, part, number, work, retrieval.element, percent)
                    for number, part in enumerate(fetched.parts)
                ]
                self._ready[key] = await asyncio.to_thread(self._store.accept, key, parts)
            return self._ready[key]

    async def _make_part(
        self, image: DesiredImage, part: WantedPart, number: int, work: Path, element: str, percent: Percent
    ) -> Part:
        name = part.role if part.role is not PartRole.DISK else f"disk-{number}"
        source = self._store.blob(part.layers[-1].digest)
        taken: Path | None = None
        if part.member:
            source = taken = work / f".{name}"
            await self._untar(part, taken, element)
        if part.role in (PartRole.KERNEL, PartRole.INITRD):
            made = await asyncio.to_thread(_make_file, part.role, source, work / name)
        else:
            fmt = part.format
            if fmt is None:
                fmt = await asyncio.to_thread(convert.observe_format, source)
            made = await convert.want_disk(source, fmt, work, part.role, name, element, percent)
        if taken is not None:
            await asyncio.to_thread(taken.unlink)
        return made

    async def _untar(self, part: WantedPart, target: Path, element: str) -> None:
        """From the last layer that has the file: later layers cover earlier ones."""
        for layer in reversed(part.layers):
            argv = [*untar.COMMAND, str(self._store.blob(layer.digest)), part.member, str(target)]
            done = await process.run([*argv, str(_LARGEST_MEMBER_BYTES)], timeout_s=3600, check=False)
            if done.returncode == 0:
                return
            if done.returncode == untar.MISSING:
                continue
            if is_storage_full(process.ProcessError(argv, done.returncode, b"", done.stderr, "")):
                raise StorageFullError("no space left while the image was unpacked")
            reason = untar.REASONS.get(done.returncode, "a layer cannot be unpacked")
            raise ImageRefusedError(f"{part.member}: {reason}", element=element)
        where = f"no file {part.member}" if not part.member.endswith("/") else f"nothing in its folder /{part.member}"
        raise ImageUnsupportedError(
            f"its layers hold {where}, so it is no disk image",
            element=element,
            resolution="push a disk as one file, or as a container disk with the file in /disk",
        )

    def _observe_size(self, digest: str) -> int:
        path = self._store.blob(digest)
        return path.stat().st_size if path.exists() else 0

    async def clean(self, keys: Collection[str], digests: Collection[str], in_use: Collection[str]) -> None:
        """Remove images that are not in ``keys``, and blobs that are not in ``digests`` and that no download needs now."""
        for key in await self._blobs.clean(keys, digests, in_use):
            self._ready.pop(key, None)


def _make_file(role: PartRole, source: Path, target: Path) -> Part:
    target.hardlink_to(source)
    return Part(role, target.name, PartFormat.FILE, target.stat().st_size)
