"""Fills volumes from what the images hold: disk images by their file, container images by their root folder."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from eaves.node.containers.cli import PodmanCli
from eaves.node.images.service import Images
from eaves.node.volumes.abc import DiskSource
from eaves.node.volumes.errors import VolumeError


class ImageSources:
    """``cli``: podman on the engine's storage."""

    def __init__(self, images: Images, cli: PodmanCli) -> None:
        self._images = images
        self._cli = cli

    def is_here(self, image_id: str) -> bool:
        return self._images.loaded(image_id) is not None

    def disk(self, image_id: str) -> DiskSource | None:
        pin = self._images.loaded(image_id)
        return DiskSource(Path(pin.path), pin.format) if pin is not None and pin.path else None

    @contextlib.asynccontextmanager
    async def open_tree(self, image_id: str) -> AsyncIterator[Path]:
        pin = self._images.loaded(image_id)
        if pin is None or not pin.image:
            raise VolumeError("the image is not here any more", resolution="wait until it has been fetched again")
        done = await self._cli.run("image", "mount", pin.image)
        try:
            yield Path(done.text.strip())
        finally:
            await self._cli.run("image", "unmount", pin.image, check=False)
