"""Project quotas of the file system below a folder: FS_IOC_FSSETXATTR and quotactl_fd(2), which ext4 and XFS share.

Blocking, but short. A folder with a project number hands it down to all that is made in it; the quota counts and bounds them.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
import threading
from pathlib import Path

from msgspec import Struct

FIRST_PROJECT = 0x45560000
"""Numbers from here on are ours; other programs count from small ones."""
_NUMBERS = range(FIRST_PROJECT, FIRST_PROJECT + 0x10000)
_giving = threading.Lock()

_GET_XATTR, _SET_XATTR = 0x801C581F, 0x401C5820
_XATTR = struct.Struct("=IIIII8x")
"""fsx_xflags, fsx_extsize, fsx_nextents, fsx_projid, fsx_cowextsize."""
_INHERIT = 0x200

_QUOTACTL_FD = 443
_PROJECT_QUOTA = 2
_GET_QUOTA, _SET_QUOTA = 0x800007, 0x800008
_BLOCK_LIMITS = 1
_BLOCK_BYTES = 1024
_DQBLK = struct.Struct("=QQQQQQQQI4x")
"""bhardlimit and bsoftlimit in KiB, curspace in bytes, inode limits and count, times, which of them are valid."""

_libc = ctypes.CDLL(None, use_errno=True)


class Quota(Struct, frozen=True):
    limit_bytes: int
    used_bytes: int


def has_project_quota(folder: Path) -> bool:
    """Whether limits of projects are enforced on the file system of ``folder``."""
    try:
        _call(folder, _GET_QUOTA, 0, bytearray(_DQBLK.size))
        load_project(folder)
    except OSError:
        return False
    return _is_enforced(folder)


def _is_enforced(folder: Path) -> bool:
    """Counting alone answers calls too; the mount says whether there are limits."""
    device = folder.stat().st_dev
    name = f"{os.major(device)}:{os.minor(device)}"
    with Path("/proc/self/mountinfo").open(encoding="utf-8", errors="surrogateescape") as table:
        lines = [line.split() for line in table]
    options = [line[-1].split(",") for line in lines if line[2] == name]
    return any("prjquota" in found or "pquota" in found for found in options)


def load_project(path: Path) -> int:
    """The project number of a folder or file, 0 = none."""
    return _load(path)[3]


def _load(path: Path) -> tuple[int, int, int, int, int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        raw = bytearray(_XATTR.size)
        fcntl.ioctl(descriptor, _GET_XATTR, raw)
    finally:
        os.close(descriptor)
    return _XATTR.unpack(raw)


def give_project(folder: Path) -> int:
    """Give an empty folder, and all that will be in it, a number that nothing on its file system has; answers it.

    The kernel is asked what is taken, since other programs and further nodes may share the file system. One at a time, lest two
    volumes that are made at once share a limit.
    """
    with _giving:
        project = next(number for number in _NUMBERS if not _is_taken(folder, number))
        _save_project(folder, project)
    return project


def _is_taken(folder: Path, project: int) -> bool:
    """Whether a file has the number: an empty folder takes no blocks on some file systems, but always an inode."""
    raw = bytearray(_DQBLK.size)
    try:
        _call(folder, _GET_QUOTA, project, raw)
    except OSError as error:
        # XFS: the number was never used.
        if error.errno == errno.ENOENT:
            return False
        raise
    inodes: int = _DQBLK.unpack(raw)[5]
    return inodes > 0


def _save_project(folder: Path, project: int) -> None:
    flags, extent, count, _, cow = _load(folder)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.ioctl(descriptor, _SET_XATTR, _XATTR.pack(flags | _INHERIT, extent, count, project, cow))
    finally:
        os.close(descriptor)


def save_limit(folder: Path, project: int, limit_bytes: int) -> None:
    """The most that the project may take, 0 = no limit."""
    blocks = -(-limit_bytes // _BLOCK_BYTES)
    _call(folder, _SET_QUOTA, project, bytearray(_DQBLK.pack(blocks, blocks, 0, 0, 0, 0, 0, 0, _BLOCK_LIMITS)))


def load_quota(folder: Path) -> Quota:
    """Of the project that ``folder`` belongs to."""
    raw = bytearray(_DQBLK.size)
    _call(folder, _GET_QUOTA, load_project(folder), raw)
    hard, _, used, *_ = _DQBLK.unpack(raw)
    return Quota(hard * _BLOCK_BYTES, used)


def _call(folder: Path, command: int, project: int, record: bytearray) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        buffer = (ctypes.c_char * len(record)).from_buffer(record)
        done = _libc.syscall(_QUOTACTL_FD, descriptor, (command << 8) | _PROJECT_QUOTA, ctypes.c_uint(project), buffer)
        if done != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(folder))
    finally:
        os.close(descriptor)
