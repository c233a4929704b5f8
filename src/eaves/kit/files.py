"""Files that survive a power cut: written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path


def save_file(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Replace ``path`` by ``data`` durably: temporary file in the same folder, fsync, rename, fsync of the folder.

    A reader, also one after a power cut, sees the old content or the new one. Raises OSError (ENOSPC on a full disk; then the
    old file is untouched and no temporary file is left).
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make created, renamed and removed names in ``path`` durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def load_file(path: Path) -> bytes | None:
    """The content, or None when there is no such file."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def want_folder(path: Path, *, mode: int = 0o700) -> Path:
    """Make sure that the folder and its parents exist; only a folder made here gets ``mode``."""
    path.mkdir(mode=mode, parents=True, exist_ok=True)
    return path
