"""A disk image is what its bytes say, and never a door to other files of the node."""

from __future__ import annotations

import struct

import pytest

from eaves.node.desired.model import ImageFormat
from eaves.node.images.diskformats import Read, check_format, detect_format
from eaves.node.images.errors import ImageRefusedError


def reader(content: bytes) -> Read:
    return lambda offset, length: content[max(offset, 0) : max(offset, 0) + length]


def qcow(version: int = 3, *, backing: int = 0, crypt: int = 0, features: int = 0) -> bytes:
    head = struct.pack(">4sIQIIQI", b"QFI\xfb", version, backing, 0, 16, 1 << 20, crypt)
    return head.ljust(72, b"\0") + struct.pack(">Q", features) + bytes(432)


def vmdk(descriptor: str = 'createType="monolithicSparse"', *, capacity: int = 2048, sector: int = 1) -> bytes:
    head = struct.pack("<4sIIQQQQ", b"KDMV", 1, 3, capacity, 128, sector, 20).ljust(512 * sector, b"\0")
    return head + descriptor.encode().ljust(20 * 512, b"\0")


def vhd(kind: int) -> bytes:
    return bytes(4096) + b"conectix".ljust(60, b"\0") + kind.to_bytes(4, "big") + bytes(448)


TAR = bytes(257) + b"ustar\0" + bytes(2000)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (qcow(), ImageFormat.QCOW2),
        (qcow(2), ImageFormat.QCOW2),
        (qcow(1), ImageFormat.QCOW),
        (vmdk(), ImageFormat.VMDK),
        (b"# Disk DescriptorFile\n", ImageFormat.VMDK),
        (b"vhdxfile" + bytes(600), ImageFormat.VHDX),
        (vhd(2), ImageFormat.VHD),
        (TAR, ImageFormat.OVA),
        (bytes(0x8001) + b"CD001", ImageFormat.ISO),
        (b"\xeb\x63" + bytes(2000), ImageFormat.RAW),
        (b"", ImageFormat.RAW),
    ],
)
def test_formats_are_known_by_their_bytes(content: bytes, found: ImageFormat) -> None:
    assert detect_format(reader(content), len(content)) is found


@pytest.mark.parametrize(
    ("content", "wanted", "word"),
    [
        (qcow(backing=0x200), ImageFormat.QCOW2, "backing file"),
        (qcow(1, backing=0x200), ImageFormat.QCOW, "backing file"),
        (qcow(features=4), ImageFormat.QCOW2, "another file"),
        (qcow(crypt=2), ImageFormat.QCOW2, "encrypted"),
        (qcow(7), ImageFormat.QCOW2, "version 7"),
        (qcow()[:20], ImageFormat.QCOW2, "version"),
        (b'# Disk DescriptorFile\nRW 9 FLAT "/etc/shadow" 0\n', ImageFormat.VMDK, "description of other files"),
        (vmdk('RW 9 FLAT "/etc/shadow" 0', capacity=0), ImageFormat.VMDK, "description of other files"),
        (vmdk('parentFileNameHint="/etc/shadow"'), ImageFormat.VMDK, "parent"),
        (vmdk('parentFileNameHint="/etc/shadow"', sector=4), ImageFormat.VMDK, "parent"),
        (vmdk('createType="twoGbMaxExtentFlat"'), ImageFormat.VMDK, "twoGbMaxExtentFlat"),
        (b"COWD" + bytes(600), ImageFormat.VMDK, "not known"),
        (vhd(4), ImageFormat.VHD, "parent"),
    ],
)
def test_images_that_name_other_files_are_refused(content: bytes, wanted: ImageFormat, word: str) -> None:
    with pytest.raises(ImageRefusedError, match=word) as caught:
        check_format(reader(content), len(content), wanted, "image x")
    assert not caught.value.retryable


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (qcow(), ImageFormat.RAW),
        (bytes(2000), ImageFormat.QCOW2),
        (vmdk(), ImageFormat.OVA),
        (qcow(1), ImageFormat.QCOW2),
        (vhd(2), ImageFormat.VMDK),
    ],
)
def test_another_format_than_the_declared_one_is_named(content: bytes, wanted: ImageFormat) -> None:
    with pytest.raises(ImageRefusedError, match="it is of format") as caught:
        check_format(reader(content), len(content), wanted, "image x")
    assert caught.value.code == "ImageFormatMismatch"


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (qcow(), ImageFormat.QCOW2),
        (vmdk(), ImageFormat.VMDK),
        (vmdk('createType="streamOptimized"'), ImageFormat.VMDK),
        (vhd(3), ImageFormat.VHD),
        (bytes(2000), ImageFormat.RAW),
        (TAR, ImageFormat.RAW),
        (bytes(0x8001) + b"CD001", ImageFormat.RAW),
        (bytes(2000), ImageFormat.ISO),
    ],
)
def test_whole_images_pass(content: bytes, wanted: ImageFormat) -> None:
    check_format(reader(content), len(content), wanted, "image x")
