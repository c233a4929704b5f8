"""Volumes on a machine without a vault: all in one folder, in the clear."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from eaves.node.desired.model import DesiredVolume


class PlainVault:
    """Keeps every volume in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def folders(self) -> Sequence[Path]:
        return (self._folder,)

    def folder_for(self, volume: DesiredVolume) -> Path | None:
        del volume
        return self._folder

    def is_encrypted(self, folder: Path) -> bool:
        del folder
        return False
