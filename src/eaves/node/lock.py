"""One node daemon a machine: a lock file that the kernel releases when its holder ends, however it ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from eaves.kit import files
from eaves.kit.errors import EavesError


class AlreadyRunningError(EavesError):
    """Another daemon holds the lock."""

    code = "AlreadyRunning"


class InstanceLock:
    """Held from construction to :meth:`release`."""

    def __init__(self, path: Path) -> None:
        files.want_folder(path.parent)
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            pid = load_holder(path)
            os.close(self._descriptor)
            raise AlreadyRunningError(
                f"a node daemon runs here already (pid {pid or 'unknown'})",
                resolution="look at it with eaves node status, or stop it with systemctl stop eaves-node",
            ) from error
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        os.close(self._descriptor)


def load_holder(path: Path) -> int:
    """Process id in the lock file; 0 when there is none. Only meaningful while the lock is held."""
    data = files.load_file(path) or b""
    text = data.decode("ascii", "replace").strip()
    return int(text) if text.isdigit() else 0
