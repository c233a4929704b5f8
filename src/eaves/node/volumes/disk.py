"""Disk files, by qemu-img. Each function does one thing to files that nobody else has open, unless it says otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from eaves.kit import process
from eaves.node.volumes import tools, tree
from eaves.node.volumes.abc import DiskSource
from eaves.node.volumes.errors import VolumeDamagedError, VolumeImageUnsuitableError
from eaves.node.volumes.model import Form, SeenSnapshot

SNAPSHOT_PREFIX = "eaves-volume-"
"""Tells snapshots of volumes from those that the engine of virtual machines makes of whole apps in the same files."""

_INFO_LIMITS = ("prlimit", "--as=2147483648", "--cpu=30")
"""A hostile image may make qemu-img eat memory and time while it looks for a size."""


class DiskInfo(Struct, frozen=True):
    """``size_bytes``: as a guest sees it. ``outside``: other files that the image refers to."""

    format: str
    size_bytes: int
    allocated_bytes: int = 0
    snapshots: Mapping[str, SeenSnapshot] = {}
    outside: tuple[str, ...] = ()


async def observe_disk(path: Path, disk_format: str) -> DiskInfo:
    """What the file is; also of a disk that a virtual machine has open. Raises ProcessError for a file that cannot be read."""
    done = await tools.run(
        [*_INFO_LIMITS, "qemu-img", "info", "--force-share", "--output=json", "-f", disk_format, str(path)]
    )
    return parse_info(msgspec.json.decode(done.stdout), path)


def parse_info(raw: Mapping[str, Any], path: Path) -> DiskInfo:
    """The answer of ``qemu-img info --output=json``."""
    special = (raw.get("format-specific") or {}).get("data") or {}
    extents = special.get("extents") or ()
    outside = [str(raw[field]) for field in ("backing-filename", "full-backing-filename") if raw.get(field)]
    outside += [str(special["data-file"])] if special.get("data-file") else []
    outside += [str(extent["filename"]) for extent in extents if extent.get("filename") not in (None, str(path))]
    snapshots = {
        snapshot_id: SeenSnapshot(snapshot_id, float(found.get("date-sec", 0)))
        for found in raw.get("snapshots") or ()
        if (snapshot_id := str(found["name"]).removeprefix(SNAPSHOT_PREFIX)) != found["name"]
    }
    return DiskInfo(raw["format"], raw["virtual-size"], raw.get("actual-size", 0), snapshots, tuple(outside))


async def make_blank(path: Path, form: Form, size_bytes: int) -> None:
    """A disk of zeros that takes no room yet."""
    await tools.run(["qemu-img", "create", "-q", "-f", str(form), str(path), str(_whole_sectors(size_bytes))])


async def fill_from_image(path: Path, form: Form, source: DiskSource, size_bytes: int) -> None:
    """The content of an image, sparse and with no tie to it; at least ``size_bytes`` large.

    Raises VolumeImageUnsuitableError for an image that cannot be read, or that refers to other files: those would be files of
    this machine.
    """
    try:
        info = await observe_disk(source.path, source.format)
        if info.outside:
            raise VolumeImageUnsuitableError(
                "the disk image refers to other files",
                details=info.outside[0],
                resolution="flatten it by qemu-img convert",
            )
        if source.format == form:
            # Byte for byte, and sharing blocks where the disk can.
            await tree.copy_file(source.path, path)
        else:
            await _copy(path, form, source.path, source.format)
    except process.ProcessTimeoutError:
        raise
    except process.ProcessError as error:
        if b"No space left" in error.stderr:
            raise
        message = f"the disk image cannot be read as {source.format}"
        raise VolumeImageUnsuitableError(
            message, details=error.details, resolution="check the image's format"
        ) from error
    if size_bytes > info.size_bytes:
        await resize(path, form, size_bytes)


async def copy_disk(path: Path, form: Form, source: Path, *, snapshot: str = "", size_bytes: int = 0) -> None:
    """A copy of another disk of the same form, or of a snapshot in it (also while a virtual machine runs with the disk)."""
    options = ["-l", f"snapshot.name={name_snapshot(snapshot)}", "--force-share"] if snapshot else []
    await _copy(path, form, source, str(form), options)
    info = await observe_disk(path, str(form))
    if size_bytes > info.size_bytes:
        await resize(path, form, size_bytes)


async def _copy(path: Path, form: Form, source: Path, source_format: str, options: list[str] | None = None) -> None:
    await tools.run(
        ["qemu-img", "convert", "-q", *(options or []), "-f", source_format, "-O", str(form), str(source), str(path)],
        timeout_s=tools.LONG_S,
    )


async def resize(path: Path, form: Form, size_bytes: int) -> None:
    await tools.run(["qemu-img", "resize", "-q", "-f", str(form), str(path), str(_whole_sectors(size_bytes))])


def name_snapshot(snapshot_id: str) -> str:
    """As it is called inside of the file."""
    return f"{SNAPSHOT_PREFIX}{snapshot_id}"


async def take_snapshot(path: Path, snapshot_id: str) -> None:
    """Inside of a qcow2 file."""
    await tools.run(["qemu-img", "snapshot", "-q", "-c", name_snapshot(snapshot_id), str(path)])


async def drop_snapshot(path: Path, snapshot_id: str) -> None:
    await tools.run(["qemu-img", "snapshot", "-q", "-d", name_snapshot(snapshot_id), str(path)])


async def roll_back(path: Path, snapshot_id: str) -> None:
    """Make the disk what it was. Doing it again after a crash ends it."""
    await tools.run(["qemu-img", "snapshot", "-q", "-a", name_snapshot(snapshot_id), str(path)])


async def repair(path: Path) -> None:
    """Correct the counts of a qcow2 file that was changed when the power went. Raises VolumeDamagedError."""
    done = await tools.run(
        ["qemu-img", "check", "-q", "-f", "qcow2", "-r", "all", str(path)], timeout_s=3600, check=False
    )
    # 0 = nothing is wrong any more; 3 = clusters are lost for use but all data are there.
    if done.returncode not in (0, 3):
        raise VolumeDamagedError(
            "the disk's file is damaged",
            details=done.stderr.decode(errors="replace"),
            resolution="roll back to a snapshot",
        )


def _whole_sectors(size_bytes: int) -> int:
    """Sizes of disks are whole sectors."""
    return -(-size_bytes // 512) * 512
