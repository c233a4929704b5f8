"""What a disk image file is by its own bytes, and whether it is safe to open. Pure.

Some formats can name other files: a backing file, an external data file, an extent, a parent. The tools that read images follow
those names, so a hostile image could make the node hand out its own files. Such an image is refused here, before any tool sees it.
Sources: QEMU's ``docs/interop/qcow2.txt``, VMware's Virtual Disk Format 5.0, Microsoft's VHD 1.0 and VHDX 1.0.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

from eaves.node.desired.model import ImageFormat
from eaves.node.images.errors import ImageRefusedError

Read = Callable[[int, int], bytes]
"""``read(offset, length)``: bytes of the file, fewer at its end."""

_SECTOR = 512
_DESCRIPTOR_BYTES = 20 * _SECTOR
_EXTERNAL_DATA_BIT = 1 << 2
_VHD_DIFFERENCING = 4
_VMDK_KINDS = ("monolithicsparse", "streamoptimized")


def detect_format(read: Read, size: int) -> ImageFormat:
    """By magic numbers; RAW for what has none, and for an ISO image ISO."""
    head = read(0, _SECTOR)
    if head.startswith(b"QFI\xfb"):
        return ImageFormat.QCOW if head[4:8] == b"\0\0\0\1" else ImageFormat.QCOW2
    if head.startswith((b"KDMV", b"COWD", b"# Disk DescriptorFile")):
        return ImageFormat.VMDK
    if head.startswith(b"vhdxfile"):
        return ImageFormat.VHDX
    if head.startswith(b"conectix") or (size >= _SECTOR and read(size - _SECTOR, 8) == b"conectix"):
        return ImageFormat.VHD
    if head[257:262] == b"ustar":
        return ImageFormat.OVA
    if read(0x8001, 5) == b"CD001":
        return ImageFormat.ISO
    return ImageFormat.RAW


def check_format(read: Read, size: int, wanted: ImageFormat, element: str) -> None:
    """Raises ImageRefusedError for a file that is not of the format ``wanted``, or that names other files."""
    found = detect_format(read, size)
    # Whatever is no disk of a known kind may be raw: a disk that starts with a tar archive or a CD's file system is one.
    fits = found is wanted or (wanted in (ImageFormat.RAW, ImageFormat.ISO) and found in _PLAIN)
    if not fits:
        raise ImageRefusedError(
            f"it is of format {found}, not {wanted}",
            code="ImageFormatMismatch",
            element=element,
            resolution=f"give the image the format {found}",
        )
    check = _CHECKS.get(found)
    if check is not None and wanted not in (ImageFormat.RAW, ImageFormat.ISO):
        check(read, size, element)


_PLAIN = (ImageFormat.RAW, ImageFormat.ISO, ImageFormat.OVA)


def _check_qcow(read: Read, size: int, element: str) -> None:
    """Header of versions 1 to 3: backing file offset at 8; encryption method at 32 (36 in version 1); features at 72."""
    head = read(0, 104)
    version = int.from_bytes(head[4:8], "big")
    if len(head) < 48 or version not in (1, 2, 3):
        raise _refuse(f"its version {version} of qcow is not known", element)
    if head[8:16] != bytes(8):
        raise _refuse("it has a backing file", element, "flatten it with qemu-img convert")
    method = head[36:40] if version == 1 else head[32:36]
    if method != bytes(4):
        raise _refuse("it is encrypted", element, "convert it to one that is not with qemu-img convert")
    if version == 3 and int.from_bytes(head[72:80], "big") & _EXTERNAL_DATA_BIT:
        raise _refuse("its data are in another file", element, "convert it with qemu-img convert")


def _check_vmdk(read: Read, size: int, element: str) -> None:
    """One file with header, descriptor and data. Header: capacity at 12, descriptor's sector at 28."""
    head = read(0, _SECTOR)
    if len(head) < _SECTOR or not head.startswith(b"KDMV"):
        raise _refuse(
            "it is a description of other files, or of a kind of VMDK that is not known", element, _VMDK_REMEDY
        )
    capacity, descriptor_sector = struct.unpack_from("<Q8xQ", head, 12)
    if not capacity:
        raise _refuse("it is a description of other files", element, _VMDK_REMEDY)
    # QEMU looks for a parent behind the header, whatever the header says of where the description is.
    for offset in {_SECTOR, descriptor_sector * _SECTOR}:
        text = read(offset, _DESCRIPTOR_BYTES) if offset < size else b""
        if b"parentFileNameHint" in text:
            raise _refuse("it has a parent file", element, _VMDK_REMEDY)
        kind = re.search(rb'createType\s*=\s*"([^"\n]{0,64})"', text)
        if kind is not None and kind[1].decode("ascii", "replace").lower() not in _VMDK_KINDS:
            raise _refuse(f"it is a VMDK of type {kind[1].decode('ascii', 'replace')}", element, _VMDK_REMEDY)


def _check_vhd(read: Read, size: int, element: str) -> None:
    """Footer in the last sector; kind of disk at 60."""
    footer = read(size - _SECTOR, _SECTOR)
    if len(footer) < _SECTOR or not footer.startswith(b"conectix"):
        footer = read(0, _SECTOR)
    if int.from_bytes(footer[60:64], "big") == _VHD_DIFFERENCING:
        raise _refuse("it has a parent file", element, "merge it with its parent first")


_VMDK_REMEDY = "convert it to a monolithicSparse or streamOptimized VMDK, or to qcow2, with qemu-img convert"
_CHECKS = {
    ImageFormat.QCOW: _check_qcow,
    ImageFormat.QCOW2: _check_qcow,
    ImageFormat.VMDK: _check_vmdk,
    ImageFormat.VHD: _check_vhd,
}


def _refuse(message: str, element: str, resolution: str = "") -> ImageRefusedError:
    return ImageRefusedError(message, element=element, resolution=resolution)
