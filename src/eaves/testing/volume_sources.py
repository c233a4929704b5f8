"""Images that volumes are filled from, without any registry: files and folders that a test made."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from eaves.node.volumes.abc import DiskSource


class FolderSources:
    """``disks`` and ``trees``: image id → what it holds."""

    def __init__(self) -> None:
        self.disks: dict[str, DiskSource] = {}
        self.trees: dict[str, Path] = {}

    def is_here(self, image_id: str) -> bool:
        return image_id in self.disks or image_id in self.trees

    def disk(self, image_id: str) -> DiskSource | None:
        return self.disks.get(image_id)

    @contextlib.asynccontextmanager
    async def open_tree(self, image_id: str) -> AsyncIterator[Path]:
        yield self.trees[image_id]
