"""What volumes are on disk: identity, form, names of files. Pure; shared by plan, observe and apply.

Below the volumes' folder:

=============================  =====================================================================================
``ID#GENERATION``              the folder of a filesystem volume, or the mount point of its image
``ID#GENERATION.ext4``         the image of a filesystem volume
``ID#GENERATION.qcow2, .raw``  the disk of a block volume
``ID#GENERATION.snapshots``    copies, one entry a snapshot; snapshots of a qcow2 disk are inside of it instead, and the entry is a
                               folder with what a machine needs to go on from there, its memory above all
``.making-…``, ``.deleting-…`` what is not a volume yet, or no longer; removed when the node starts
=============================  =====================================================================================
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from msgspec import Struct

from eaves.node.desired.model import DesiredVolume

MAKING = ".making-"
DELETING = ".deleting-"
SNAPSHOTS = ".snapshots"

_NAME = re.compile(r"([A-Za-z0-9-]{1,64})#(\d{1,10})(\.ext4|\.qcow2|\.raw)?")


class VolumeKey(Struct, frozen=True, order=True):
    id: str
    generation: int

    @property
    def folder(self) -> str:
        return f"{self.id}#{self.generation}"


class Form(StrEnum):
    """How a volume is kept. The value of a form with a file is the file's suffix."""

    FOLDER = "folder"
    EXT4 = "ext4"
    QCOW2 = "qcow2"
    RAW = "raw"

    @property
    def is_block(self) -> bool:
        return self in (Form.QCOW2, Form.RAW)


class Enforcement(StrEnum):
    """What stops a volume that outgrows its size."""

    QUOTA = "Quota"
    """A project quota of the node's file system."""
    IMAGE = "Image"
    """A file system of its own in a file of that size."""
    DISK = "Disk"
    """The size of the virtual disk."""
    WATCHED = "Watched"
    """Nothing: its use is measured and told."""


class StorageFacts(Struct, frozen=True):
    """What the file system below the volumes and this machine can do."""

    has_quota: bool = False
    has_loop: bool = False
    has_reflink: bool = False
    grows_mounted: bool = True
    """Whether a file system can grow while it is mounted, which the kernel lets only processes do that may exceed limits."""
    total_bytes: int = 0
    """Of the file system; 0 = not known."""


class SeenSnapshot(Struct, frozen=True):
    """``taken_at``: Unix seconds."""

    id: str
    taken_at: float
    allocated_bytes: int = 0
    has_memory: bool = False
    """Of a machine's first disk: what the machine needs to go on is kept with it."""


class Seen(Struct, frozen=True):
    """One volume as it is on disk. ``size_bytes``: what it can hold at most, 0 = no limit."""

    key: VolumeKey
    form: Form
    base: Path
    """The folder that it is in."""
    enforcement: Enforcement = Enforcement.WATCHED
    size_bytes: int = 0
    allocated_bytes: int = 0
    """What its file takes on the node's disk, when it was looked at."""
    is_mounted: bool = False
    """Of the form EXT4."""
    is_read_only: bool = False
    """The mounted file system takes no writes any more: some failed, as they do when the node's disk is full."""
    snapshots: Mapping[str, SeenSnapshot] = {}

    @property
    def path(self) -> Path:
        """What apps get: the folder, or the disk's file."""
        return self.file if self.form.is_block else self.base / self.key.folder

    @property
    def file(self) -> Path:
        """Where the data are: a file, or the folder itself."""
        return want_file(self.base, self.key, self.form)

    @property
    def snapshots_folder(self) -> Path:
        return self.base / f"{self.key.folder}{SNAPSHOTS}"

    def snapshot_path(self, snapshot_id: str) -> Path:
        """The copy of a snapshot; of a qcow2 disk the machine's memory."""
        return self.snapshots_folder / snapshot_id


class Use(Struct, frozen=True):
    """``used_bytes``: by what the apps keep in it; ``allocated_bytes``: what it takes on the node's disk; ``free_bytes``:
    what is left of an enforced size, None where nothing enforces it."""

    used_bytes: int = 0
    allocated_bytes: int = 0
    free_bytes: int | None = None
    is_read_only: bool = False


class Disk(Struct, frozen=True):
    """A block volume as a virtual machine attaches it. ``format``: of qemu, ``qcow2`` or ``raw``."""

    path: Path
    format: str
    size_bytes: int


def key_of(volume: DesiredVolume) -> VolumeKey:
    return VolumeKey(volume.id, volume.generation)


def want_file(base: Path, key: VolumeKey, form: Form) -> Path:
    return base / (key.folder if form is Form.FOLDER else f"{key.folder}.{form}")


def parse_name(name: str) -> tuple[VolumeKey, Form] | None:
    """The volume that a file or folder of this name belongs to; None for whatever is none of ours."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    form = Form(match.group(3)[1:]) if match.group(3) else Form.FOLDER
    return VolumeKey(match.group(1), int(match.group(2))), form


def parse_key(name: str) -> VolumeKey | None:
    """The volume whose path, as apps mount it, ends in ``name``."""
    found = parse_name(name)
    return found[0] if found else None
