"""Makes the files of a disk image from downloaded ones, by ``qemu-img`` in a limited child process.

Raw and qcow2 stay as they are (a hard link costs nothing); everything else becomes a sparse qcow2 once, here, so that each volume that
is made from it later starts from a format that QEMU runs. The format is always named to the tool and never guessed from a file's
bytes, and :mod:`eaves.node.images.diskformats` has looked for names of other files before.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from eaves.kit import process
from eaves.node.desired.model import ImageFormat
from eaves.node.errors import StorageFullError, is_storage_full
from eaves.node.images.diskformats import Read, check_format, detect_format
from eaves.node.images.errors import ConversionError, ImageRefusedError
from eaves.node.images.model import Part, PartFormat, PartRole

_DRIVERS = {
    ImageFormat.RAW: "raw",
    ImageFormat.ISO: "raw",
    ImageFormat.QCOW: "qcow",
    ImageFormat.QCOW2: "qcow2",
    ImageFormat.VHD: "vpc",
    ImageFormat.VHDX: "vhdx",
    ImageFormat.VMDK: "vmdk",
}
_AS_THEY_ARE = {ImageFormat.RAW: PartFormat.RAW, ImageFormat.ISO: PartFormat.RAW, ImageFormat.QCOW2: PartFormat.QCOW2}
_LARGEST_DISK_BYTES = 64 << 40
_INFO_LIMITS = ("--as=1073741824", "--cpu=60")
_CONVERT_LIMITS = ("--as=4294967296",)
_INFO_TIMEOUT_S = 120.0
_CONVERT_TIMEOUT_S = 24 * 3600.0
_LOOK_EVERY_S = 0.5
_SPARE_BYTES = 64 << 20

Progress = Callable[[int], None]
"""Called with percent."""


async def want_disk(
    source: Path, fmt: ImageFormat, work: Path, role: PartRole, name: str, element: str, progress: Progress
) -> Part:
    """Make the disk ``source`` of format ``fmt`` a part of the image in the folder ``work``. Raises ImageError, StorageFullError."""
    if fmt not in _DRIVERS and fmt is not ImageFormat.OVA:
        raise ImageRefusedError(f"disks of format {fmt} are not known", element=element)
    await asyncio.to_thread(_check_file, source, fmt, element)
    node: dict[str, Any] = {"driver": "file", "filename": str(source)}
    if fmt is ImageFormat.OVA:
        offset, size = await asyncio.to_thread(_find_disk, source, element)
        node = {"driver": "raw", "offset": offset, "size": size, "file": node}
        fmt = ImageFormat.VMDK
    options = "json:" + msgspec.json.encode({"driver": _DRIVERS[fmt], "file": node}).decode()
    size = await _observe_size(options, element)
    if fmt in _AS_THEY_ARE:
        as_is = _AS_THEY_ARE[fmt]
        path = f"{name}.{as_is}"
        await asyncio.to_thread(os.link, source, work / path)
        return Part(role, path, as_is, size)
    path = f"{name}.qcow2"
    await _convert(options, work / path, element, progress)
    return Part(role, path, PartFormat.QCOW2, size)


def observe_format(path: Path) -> ImageFormat:
    """Of a file for which nobody says it; blocking."""
    with path.open("rb") as file:
        return detect_format(_reader(file), path.stat().st_size)


async def _observe_size(options: str, element: str) -> int:
    """What the guest sees, once more checked that no other file is involved."""
    info = await _ask("info", options, element)
    details = info.get("format-specific", {}).get("data", {})
    extents = details.get("extents", [])
    if "backing-filename" in info or "full-backing-filename" in info or "data-file" in details or len(extents) > 1:
        raise ImageRefusedError("it names other files", element=element, resolution="flatten it with qemu-img convert")
    size = int(info["virtual-size"])
    if not 0 < size <= _LARGEST_DISK_BYTES:
        raise ImageRefusedError(f"a disk of {size} bytes cannot be", element=element)
    return size


async def _convert(options: str, target: Path, element: str, progress: Progress) -> None:
    measured = await _ask("measure", options, element, "-O", "qcow2")
    required = int(measured["required"])
    free = (await asyncio.to_thread(shutil.disk_usage, target.parent)).free
    if free < required + _SPARE_BYTES:
        raise StorageFullError(f"the converted image needs {required >> 20} MiB, {free >> 20} MiB are free")
    argv = [
        "nice",
        "-n",
        "10",
        "prlimit",
        *_CONVERT_LIMITS,
        "qemu-img",
        "convert",
        "-q",
        "-O",
        "qcow2",
        options,
        str(target),
    ]
    convert = asyncio.create_task(process.run(argv, timeout_s=_CONVERT_TIMEOUT_S))
    try:
        while not convert.done():
            await asyncio.wait([convert], timeout=_LOOK_EVERY_S)
            done = await asyncio.to_thread(_observe_bytes, target)
            progress(min(99, 100 * done // max(required, 1)))
        await convert
    except process.ProcessError as error:
        raise _explain(error, element) from error
    finally:
        convert.cancel()
        with contextlib.suppress(asyncio.CancelledError, process.ProcessError):
            await convert


async def _ask(command: str, options: str, element: str, *more: str) -> dict[str, Any]:
    try:
        done = await process.run(
            ["prlimit", *_INFO_LIMITS, "qemu-img", command, "--output=json", *more, options], timeout_s=_INFO_TIMEOUT_S
        )
        answer: dict[str, Any] = msgspec.json.decode(done.stdout)
    except process.ProcessError as error:
        raise _explain(error, element) from error
    except msgspec.DecodeError as error:
        raise ConversionError(f"qemu-img {command} gives no answer that is understood", element=element) from error
    return answer


def _explain(error: process.ProcessError, element: str) -> Exception:
    if is_storage_full(error):
        return StorageFullError("no space left while the image was converted")
    lines = error.stderr.decode(errors="replace").strip().splitlines()
    # The tool repeats the whole description of its input in front of the reason.
    reason = lines[-1].rpartition("': ")[2][:300] if lines else error.message
    return ConversionError(
        f"qemu-img cannot read it: {reason}",
        element=element,
        resolution="check that the image is whole and of the format that is given for it",
    )


def _check_file(path: Path, fmt: ImageFormat, element: str) -> None:
    with path.open("rb") as file:
        check_format(_reader(file), path.stat().st_size, fmt, element)


def _reader(file: BinaryIO) -> Read:
    def read(offset: int, length: int) -> bytes:
        file.seek(max(offset, 0))
        return file.read(length)

    return read


def _find_disk(path: Path, element: str) -> tuple[int, int]:
    """Where the one VMDK of an OVA archive is, checked like a file of its own: offset and size."""
    # Rarely needed, and large.
    import tarfile

    try:
        with tarfile.open(path, "r:") as archive:
            members = [member for member in archive if member.isreg() and member.name.lower().endswith(".vmdk")]
    except tarfile.TarError as error:
        raise ImageRefusedError("it is no OVA archive", element=element) from error
    if len(members) != 1:
        raise ImageRefusedError(
            f"its archive holds {len(members)} VMDK disks, one is needed",
            element=element,
            resolution="give each disk as an image of its own",
        )
    member = members[0]
    if member.sparse is not None:
        raise ImageRefusedError("its disk is stored as a sparse member of the archive", element=element)
    with path.open("rb") as file:

        def read(offset: int, length: int) -> bytes:
            file.seek(member.offset_data + offset)
            return file.read(max(0, min(length, member.size - offset)))

        check_format(read, member.size, ImageFormat.VMDK, element)
    return member.offset_data, member.size


def _observe_bytes(path: Path) -> int:
    with contextlib.suppress(OSError):
        return path.stat().st_blocks * 512
    return 0
