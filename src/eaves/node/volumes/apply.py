"""Makes and deletes volume folders. Blocking; run in a thread."""

from __future__ import annotations

import shutil
from pathlib import Path

from eaves.kit import files
from eaves.node.volumes.plan import VolumeKey

_DELETING = ".deleting-"


def make_volume(folder: Path, key: VolumeKey) -> Path:
    """An empty folder that any user inside of a container may enter; the folders above it are closed to others."""
    path = folder / key.folder
    path.mkdir(mode=0o777, exist_ok=True)
    path.chmod(0o777)
    files.sync_folder(folder)
    return path


def delete_volume(folder: Path, key: VolumeKey) -> None:
    """First renamed, so that a half-deleted folder can never be taken for the volume."""
    path = folder / key.folder
    doomed = folder / f"{_DELETING}{key.folder}"
    if path.exists():
        shutil.rmtree(doomed, ignore_errors=True)
        path.rename(doomed)
        files.sync_folder(folder)
    shutil.rmtree(doomed)


def delete_leftovers(folder: Path) -> None:
    """What a crash in the middle of deleting left."""
    for path in folder.glob(f"{_DELETING}*"):
        shutil.rmtree(path, ignore_errors=True)
