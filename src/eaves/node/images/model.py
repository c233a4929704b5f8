"""What images are to others: the files of a disk image that is here, and how urgent one is. Pure data."""

from __future__ import annotations

from enum import IntEnum, StrEnum

from msgspec import Struct


class PartRole(StrEnum):
    ROOT = "root"
    DISK = "disk"
    KERNEL = "kernel"
    INITRD = "initrd"


class PartFormat(StrEnum):
    """``FILE``: no disk (a kernel, an initrd)."""

    RAW = "raw"
    QCOW2 = "qcow2"
    FILE = "file"


class Part(Struct, frozen=True):
    """One file of an image; ``path`` is relative to the image's folder where it is stored, absolute where it is handed out.

    ``virtual_size_bytes``: what a guest sees of a disk, the file's size of anything else.
    """

    role: PartRole
    path: str
    format: PartFormat
    virtual_size_bytes: int


class DiskImage(Struct, frozen=True):
    """All files of an image that is ready."""

    parts: tuple[Part, ...]

    @property
    def root(self) -> Part | None:
        return next((part for part in self.parts if part.role is PartRole.ROOT), None)


class Priority(IntEnum):
    """The lower, the more urgent."""

    RUNNING_APP = 0
    """An app that is to run needs it."""
    VOLUME = 1
    """A volume is made from it, or an app that is stopped needs it."""
    AHEAD = 2
    """Nothing uses it yet."""
