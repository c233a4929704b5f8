"""Container images: manifests and layers by the download helper, then into podman's storage from a folder of links to them."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

from msgspec import Struct

from eaves.node.containers.cli import PodmanCli
from eaves.node.desired.model import DesiredImage
from eaves.node.errors import StorageFullError
from eaves.node.images import reference
from eaves.node.images.errors import ImageTooLargeError
from eaves.node.images.fetching import Fetcher
from eaves.node.images.manifest import Manifest, parse_manifest
from eaves.node.images.retrieval import Origin, Retrieval, Wanted
from eaves.node.images.store import DiskStore
from eaves.node.observed import ImageBlob

_DIR_VERSION = "Directory Transport Version: 1.1\n"
CONTENT_LIMIT = 128
"""The most blobs of an image that are told; engines take no more layers than that."""
_SPARE_BYTES = 64 << 20
_LOAD_LIMIT_S = 3600.0


class Resolved(Struct, frozen=True):
    """What a reference stands for: ``top``, the manifest or index that it names, and the manifest for this machine."""

    top: Manifest
    manifest: Manifest

    @property
    def digest(self) -> str:
        return self.top.digest

    @property
    def content(self) -> tuple[ImageBlob, ...]:
        """Every blob once, in the order of EVE's component list: the root, then what it leads to."""
        sizes = {manifest.digest: len(manifest.raw) for manifest in (self.top, self.manifest)}
        sizes |= {blob.digest: blob.size for blob in self.manifest.blobs}
        return tuple(ImageBlob(digest, size) for digest, size in sizes.items())[:CONTENT_LIMIT]


async def resolve(image: DesiredImage, pinned: str, retrieval: Retrieval) -> Resolved:
    """Ask what ``image`` is. ``pinned``: digest that its tag had before. Raises ImageError."""

    async def ask(fetcher: Fetcher, origin: Origin, digest: str) -> Manifest:
        source = reference.want_source(image, origin.datastore, pinned)
        known = digest or source.digest
        raw = await fetcher.manifest(source.path, known or source.tag)
        return parse_manifest(raw, known, f"image {source.name}")

    is_verified = bool(reference.want_digest(image, pinned))
    top = await retrieval.ask(lambda fetcher, origin: ask(fetcher, origin, ""), is_verified=is_verified)
    manifest = top
    if top.child:
        manifest = await retrieval.ask(lambda fetcher, origin: ask(fetcher, origin, top.child), is_verified=True)
    return Resolved(top, manifest)


def want_layers(image: DesiredImage, manifest: Manifest) -> list[Wanted]:
    """Config and layers, as blobs to bring. Raises ImageTooLargeError."""
    size_bytes = manifest.size_bytes
    if image.max_size_bytes and size_bytes > image.max_size_bytes:
        message = f"the image has {size_bytes} bytes, at most {image.max_size_bytes} are allowed"
        raise ImageTooLargeError(message, element=f"image {image.name}", resolution="raise the allowed size")
    return [
        Wanted(blob.digest, blob.size, blob.size, lambda origin: want_repository(image, origin))
        for blob in manifest.blobs
    ]


def want_repository(image: DesiredImage, origin: Origin) -> str:
    return reference.want_source(image, origin.datastore, "").path


class ContainerLoader:
    def __init__(self, cli: PodmanCli, store: DiskStore) -> None:
        self._cli = cli
        self._store = store

    async def check_space(self, size_bytes: int) -> None:
        """Compressed layers on disk, and about twice that unpacked. Raises StorageFullError."""
        free = (await asyncio.to_thread(shutil.disk_usage, self._store.folder)).free
        needed = 3 * size_bytes + _SPARE_BYTES
        if free < needed:
            raise StorageFullError(f"the image needs {needed >> 20} MiB, {free >> 20} MiB are free")

    async def load(self, manifest: Manifest, folder: Path) -> str:
        """Bring an image whose blobs are in the store into podman's storage; answers podman's id. ``folder`` is for us alone."""
        source = folder / "image"
        await asyncio.to_thread(self._make_source, manifest, source)
        # podman makes a name of the path that it is given, and not every path of a disk makes a name that it takes.
        target = f"dir:{source.relative_to(folder.parent)}"
        options = ("--quiet", f"--signature-policy={self._cli.policy}")
        loaded = await self._cli.run("pull", *options, target, timeout_s=_LOAD_LIMIT_S, cwd=str(folder.parent))
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        return loaded.text.strip().splitlines()[-1].removeprefix("sha256:")

    def _make_source(self, manifest: Manifest, source: Path) -> None:
        """A folder as podman's ``dir:`` transport reads it: unlike an OCI layout it takes manifests of Docker's own kind too."""
        shutil.rmtree(source, ignore_errors=True)
        source.mkdir(mode=0o700, parents=True)
        for blob in manifest.blobs:
            os.link(self._store.blob(blob.digest), source / blob.digest.removeprefix("sha256:"))
        (source / "manifest.json").write_bytes(manifest.raw)
        (source / "version").write_text(_DIR_VERSION, encoding="ascii")
