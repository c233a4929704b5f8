"""File systems in files: an ext4 image that the kernel mounts through a loop device, so that it can hold no more than its size.

The kernel frees the loop device with the last mount. Blocks that the file system does not use take no room on the node's disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncIterator
from pathlib import Path

from eaves.kit import process
from eaves.node import mounts
from eaves.node.volumes import tools
from eaves.node.volumes.errors import VolumeDamagedError, VolumeError

_JOURNAL_FROM_BYTES = 256 << 20
"""Below this size mkfs chooses a journal; above, its choice would take up to a gigabyte of the node's disk."""
_JOURNAL_MIB = 16
_FREEZE, _THAW = 0xC0045877, 0xC0045878
_CHECK_MENDED = 1
_LET_GO_TRIES, _LET_GO_EVERY_S = 200, 0.05
_LIMIT_S = 600.0


async def make_image(path: Path, size_bytes: int) -> None:
    """An empty file system whose root folder any user may write to. An image of that name is overwritten."""
    await asyncio.to_thread(_make_sparse, path, size_bytes)
    journal = ["-J", f"size={_JOURNAL_MIB}"] if size_bytes >= _JOURNAL_FROM_BYTES else []
    # A new file is all zeros, so nothing of it has to be written to be empty.
    lazy = "lazy_journal_init=1,root_owner=0:0"
    await tools.run(["mkfs.ext4", "-q", "-F", "-m", "0", "-E", lazy, *journal, str(path)])
    # Some programs start only in a folder that is empty; e2fsck makes lost+found itself when it needs one.
    await tools.run(["debugfs", "-w", "-f", "-", str(path)], stdin=b"set_inode_field / mode 040777\nrmdir lost+found\n")


async def mount_image(path: Path, point: Path, *, read_only: bool = False) -> None:
    """Check, mend what a cut left, and mount. Raises VolumeDamagedError."""
    if not await asyncio.to_thread(_is_attached, path):
        await _check(path)
    options = "loop,ro,nodev" if read_only else "loop,nodev,discard"
    await process.run(["mount", "-t", "ext4", "-o", options, str(path), str(point)])


async def _check(path: Path, *options: str) -> None:
    done = await tools.run(["e2fsck", "-p", *options, str(path)], timeout_s=tools.LONG_S, check=False)
    if done.returncode > _CHECK_MENDED:
        raise VolumeDamagedError(
            "the volume's file system is damaged", details=done.text, resolution=f"look at it with e2fsck {path.name}"
        )


def _is_attached(path: Path) -> bool:
    """Whether a loop device has the file: then somebody still has it mounted, and the kernel's view of it is the true one."""
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        with contextlib.suppress(OSError):
            if backing.read_text(encoding="utf-8", errors="surrogateescape").rstrip("\n") == str(path):
                return True
    return False


async def unmount(point: Path) -> None:
    """Raises ProcessError while somebody has something open in it."""
    await process.run(["umount", str(point)])


async def take_down(path: Path, point: Path) -> None:
    """Unmount, and wait until the kernel has let go of the image too: a container that ends has it mounted a little longer.

    Raises VolumeError when it still has.
    """
    await unmount(point)
    for _ in range(_LET_GO_TRIES):
        if not await asyncio.to_thread(_is_attached, path):
            return
        await asyncio.sleep(_LET_GO_EVERY_S)
    raise VolumeError(f"{path.name} is still held by an app that ends", resolution="it is tried again by itself")


@contextlib.asynccontextmanager
async def mounted(path: Path, point: Path, *, read_only: bool = False) -> AsyncIterator[Path]:
    """The image for a moment, at ``point``."""
    await asyncio.to_thread(point.mkdir, exist_ok=True)
    await mount_image(path, point, read_only=read_only)
    try:
        yield point
    finally:
        await unmount(point)
        await asyncio.to_thread(point.rmdir)


async def grow_image(path: Path, point: Path, size_bytes: int) -> None:
    """Let the mounted file system grow. What a crash left of an earlier attempt is ended."""
    device = await asyncio.to_thread(find_device, point)
    if device is None:
        raise VolumeDamagedError(f"{point.name} is not mounted", resolution="wait until it has been mounted")
    await asyncio.to_thread(_enlarge, path, size_bytes)
    await tools.run(["losetup", "--set-capacity", device])
    await tools.run(["resize2fs", device], timeout_s=_LIMIT_S)


async def grow_unmounted(path: Path, size_bytes: int) -> None:
    """The same for an image that nobody has mounted; it is lost when this is cut short."""
    await asyncio.to_thread(_enlarge, path, size_bytes)
    await _check(path, "-f")
    await tools.run(["resize2fs", str(path)], timeout_s=_LIMIT_S)


def find_device(point: Path) -> str | None:
    """The loop device that is mounted at ``point``; None when nothing is."""
    return mounts.load_sources().get(str(point))


def observe_size_bytes(path: Path) -> int:
    """The size of the file system inside of the image, which a cut growth leaves smaller than the file."""
    with path.open("rb") as file:
        file.seek(1024)
        block = file.read(1024)
    if block[0x38:0x3A] != b"\x53\xef":
        return 0
    blocks = int.from_bytes(block[0x04:0x08], "little")
    if int.from_bytes(block[0x60:0x64], "little") & 0x80:
        blocks |= int.from_bytes(block[0x150:0x154], "little") << 32
    return blocks * (1024 << int.from_bytes(block[0x18:0x1C], "little"))


@contextlib.asynccontextmanager
async def frozen(point: Path) -> AsyncIterator[None]:
    """Writes into the mounted file system wait meanwhile, and its image is whole."""
    await asyncio.to_thread(_tell, point, _FREEZE)
    try:
        yield
    finally:
        await asyncio.to_thread(thaw, point)


def thaw(point: Path) -> None:
    """Let writes go on, if they were held up: by a daemon that died meanwhile, perhaps. Blocking, short."""
    with contextlib.suppress(OSError):
        _tell(point, _THAW)


def _tell(point: Path, command: int) -> None:
    descriptor = os.open(point, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.ioctl(descriptor, command, 0)
    finally:
        os.close(descriptor)


def _make_sparse(path: Path, size_bytes: int) -> None:
    with path.open("wb") as file:
        file.truncate(size_bytes)


def _enlarge(path: Path, size_bytes: int) -> None:
    with path.open("r+b") as file:
        if os.fstat(file.fileno()).st_size < size_bytes:
            file.truncate(size_bytes)
            os.fsync(file.fileno())
