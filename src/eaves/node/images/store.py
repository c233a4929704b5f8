"""Disk images on this node's disk, by digest: what is being downloaded, and what is ready for volumes to be made from.

::

    blobs/partial/<hex>            a download under way, with <hex>.json beside it
    blobs/sha256/<hex>             a whole blob, its digest checked
    blobs/disks/<hex>-<format>/    the files of one image: parts.json and what it names
    blobs/disks/.making-…          the same, not ready; a power cut leaves it and the next attempt starts it anew

An image's folder is made from its blobs and then stands alone (its files are hard links, or conversions), so blobs go as soon as no
download needs them. Two content trees with the same digest and format share a folder. Blocking; run in a thread.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterable
from pathlib import Path

import msgspec

from eaves.kit import files
from eaves.node.desired.model import ImageFormat
from eaves.node.images.model import DiskImage, Part

_MAKING = ".making-"
_RECORD = "parts.json"


def want_key(digest: str, kind: ImageFormat) -> str:
    """Name of the folder of the image ``digest`` that was asked for as a disk of ``kind``."""
    return f"{digest.removeprefix('sha256:')}-{kind}"


class DiskStore:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.blobs = folder / "sha256"
        self.partials = folder / "partial"
        self._disks = folder / "disks"

    def load(self) -> dict[str, DiskImage]:
        """Every image that is ready, by key. What is half made or damaged is not among them."""
        found: dict[str, DiskImage] = {}
        for path in self._disks.iterdir():
            image = None if path.name.startswith(_MAKING) else self._load(path)
            if image is not None:
                found[path.name] = image
        return found

    def blob(self, digest: str) -> Path:
        return self.blobs / digest.removeprefix("sha256:")

    def want_work_folder(self, key: str) -> Path:
        """An empty folder to make the image ``key`` in."""
        path = self._disks / f"{_MAKING}{key}"
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(mode=0o700)
        return path

    def accept(self, key: str, parts: Iterable[Part]) -> DiskImage:
        """Make the work folder of ``key`` the image; durable when this returns."""
        work, final = self._disks / f"{_MAKING}{key}", self._disks / key
        parts = tuple(parts)
        for part in parts:
            _sync_file(work / part.path)
        files.save_file(work / _RECORD, msgspec.json.encode(parts))
        shutil.rmtree(final, ignore_errors=True)
        work.rename(final)
        files.sync_folder(self._disks)
        return _with_paths(final, parts)

    def remove_unused(self, *, keys: Collection[str], needed: Collection[str], in_use: Collection[str]) -> list[str]:
        """Remove images that are not in ``keys`` and blobs, unless ``needed`` names their key or digest.

        ``in_use``: paths that volumes are backed by. Answers the keys of images that are gone.
        """
        gone = []
        for path in self._disks.iterdir():
            is_wanted = path.name in keys or path.name.removeprefix(_MAKING) in needed
            if not is_wanted and not any(used.startswith(f"{path}/") for used in in_use):
                shutil.rmtree(path, ignore_errors=True)
                gone.append(path.name)
        names = {digest.removeprefix("sha256:") for digest in needed}
        for folder in (self.blobs, self.partials):
            for path in folder.iterdir():
                if _digest_of(path.name) not in names:
                    path.unlink(missing_ok=True)
        return gone

    def _load(self, path: Path) -> DiskImage | None:
        try:
            parts = msgspec.json.decode((path / _RECORD).read_bytes(), type=tuple[Part, ...])
        except (OSError, msgspec.DecodeError):
            return None
        image = _with_paths(path, parts)
        return image if all(Path(part.path).is_file() for part in image.parts) else None


def _digest_of(name: str) -> str:
    """Of a blob's file: ``HEX``, ``HEX.json``, or ``.HEX.json.…`` while that is being written."""
    return name.removeprefix(".").partition(".")[0]


def _with_paths(folder: Path, parts: tuple[Part, ...]) -> DiskImage:
    return DiskImage(tuple(msgspec.structs.replace(part, path=str(folder / part.path)) for part in parts))


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
