"""Formats of images, and what the name of one tells."""

from __future__ import annotations

from enum import StrEnum


class ImageFormat(StrEnum):
    CONTAINER = "Container"
    RAW = "Raw"
    QCOW2 = "Qcow2"
    VMDK = "Vmdk"
    VHD = "Vhd"
    VHDX = "Vhdx"
    OVA = "Ova"
    ISO = "Iso"


DISK_FORMATS = tuple(kind for kind in ImageFormat if kind is not ImageFormat.CONTAINER)
"""What a virtual machine can have as a disk."""

_BY_SUFFIX = {
    ".qcow2": ImageFormat.QCOW2,
    ".raw": ImageFormat.RAW,
    ".vmdk": ImageFormat.VMDK,
    ".vhd": ImageFormat.VHD,
    ".vhdx": ImageFormat.VHDX,
    ".ova": ImageFormat.OVA,
    ".iso": ImageFormat.ISO,
}
_AMBIGUOUS = (".img", ".bin", ".disk")
"""Suffixes that are in use for several formats."""


def guess_disk_format(image: str) -> ImageFormat | None:
    """Format of a disk image by its name, qcow2 for a name that says nothing; None when the name may mean several."""
    name = image.partition("@")[0].rpartition("/")[2].lower()
    if name.endswith(_AMBIGUOUS):
        return None
    return next((kind for suffix, kind in _BY_SUFFIX.items() if name.endswith(suffix)), ImageFormat.QCOW2)
