"""Folders and files as wholes: copies that share blocks where the disk can, removal, and exchange in one step."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

from eaves.kit import files
from eaves.node.volumes import tools

_CLONE = 0x40049409
"""FICLONE of ioctl_ficlonerange(2)."""
_EXCHANGE = 2
_libc = ctypes.CDLL(None, use_errno=True)


async def copy_file(source: Path, target: Path, *, limit_s: float = tools.LONG_S) -> None:
    """Sparse, and sharing blocks where the file system can; durable at the end."""
    await tools.run(
        ["cp", "--no-target-directory", "--reflink=auto", "--sparse=always", str(source), str(target)],
        timeout_s=limit_s,
    )
    await asyncio.to_thread(sync_file, target)


async def copy_tree(source: Path, target: Path) -> None:
    """All that is in ``source`` into the folder ``target``, which is there; owners, times and attributes too."""
    await tools.run(
        ["cp", "--archive", "--reflink=auto", "--sparse=always", "--no-target-directory", str(source), str(target)],
        timeout_s=tools.LONG_S,
    )
    await asyncio.to_thread(sync_file_system, target)


def has_reflink(folder: Path) -> bool:
    """Whether files below ``folder`` can share their blocks. Blocking."""
    with (
        contextlib.suppress(OSError),
        tempfile.TemporaryFile(dir=folder) as one,
        tempfile.TemporaryFile(dir=folder) as two,
    ):
        one.write(b"\0" * 4096)
        one.flush()
        fcntl.ioctl(two.fileno(), _CLONE, one.fileno())
        return True
    return False


def sync_file(path: Path) -> None:
    """Blocking."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file_system(folder: Path) -> None:
    """A copied tree has too many files to sync each. Blocking."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if _libc.syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(folder))
    finally:
        os.close(descriptor)


def exchange(one: Path, two: Path) -> None:
    """Swap two names of one file system in one step that no cut can halve (renameat2(2))."""
    if _libc.renameat2(-100, os.fsencode(one), -100, os.fsencode(two), _EXCHANGE) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(one))
    files.sync_folder(one.parent)


def remove(path: Path) -> None:
    """A file or folder with all that is in it, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
