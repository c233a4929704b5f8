"""Container images: manifests and layers by the download helper, then into podman's storage from an OCI layout on disk."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import msgspec
from msgspec import Struct

from eaves.kit import files
from eaves.node.containers.cli import PodmanCli
from eaves.node.desired.model import DesiredImage
from eaves.node.errors import StorageFullError
from eaves.node.images import reference
from eaves.node.images.errors import ImageTooLargeError
from eaves.node.images.fetching import Fetcher
from eaves.node.images.manifest import Manifest, parse_manifest
from eaves.node.images.retrieval import Origin, Retrieval, Wanted
from eaves.node.images.store import DiskStore

TAG = "image"
_OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_SPARE_BYTES = 64 << 20
_LOAD_LIMIT_S = 3600.0


class Resolved(Struct, frozen=True):
    """What a reference stands for: ``digest`` of the manifest or index that it names, and the manifest for this machine."""

    digest: str
    manifest: Manifest


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
    return Resolved(top.digest, manifest)


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
        layout = folder / "layout"
        await asyncio.to_thread(self._make_layout, manifest, layout)
        # podman makes a name of the path that it is given, and not every path of a disk makes a name that it takes.
        target = f"oci:{layout.relative_to(folder.parent)}:{TAG}"
        options = ("--quiet", f"--signature-policy={self._cli.policy}")
        loaded = await self._cli.run("pull", *options, target, timeout_s=_LOAD_LIMIT_S, cwd=str(folder.parent))
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        return loaded.text.strip().splitlines()[-1].removeprefix("sha256:")

    def _make_layout(self, manifest: Manifest, layout: Path) -> None:
        shutil.rmtree(layout, ignore_errors=True)
        blobs = layout / "blobs" / "sha256"
        blobs.mkdir(mode=0o700, parents=True)
        for blob in manifest.blobs:
            os.link(self._store.blob(blob.digest), blobs / blob.digest.removeprefix("sha256:"))
        files.save_file(blobs / manifest.digest.removeprefix("sha256:"), manifest.raw)
        entry = {
            "mediaType": manifest.media_type or _OCI_MANIFEST,
            "digest": manifest.digest,
            "size": len(manifest.raw),
            "annotations": {"org.opencontainers.image.ref.name": TAG},
        }
        files.save_file(layout / "index.json", msgspec.json.encode({"schemaVersion": 2, "manifests": [entry]}))
        files.save_file(layout / "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
