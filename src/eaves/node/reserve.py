"""Space kept back on the node's disk, so that a full disk can be mended by an order of the operator.

Stopping or removing an app takes a few writes: of podman's database, of our records, of the saved config. On a disk that is full to the
last byte none of them works and the node can only be mended by hand. So a file of :data:`RESERVE_BYTES` lies there while there is room
and goes when the room runs out. The daemon runs :meth:`Reserve.run` before its engine.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
from pathlib import Path

log = logging.getLogger(__name__)

RESERVE_BYTES = 16 << 20
LOW_BYTES = 4 << 20
"""With less free than this the reserve goes."""
PLENTY_BYTES = 64 << 20
"""With more free than this it is made again. Far enough from the other bound for the file never to come and go in turns."""
LOOK_EVERY_S = 5.0


class Reserve:
    """``folder`` is on the disk that is looked after."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "reserve"

    async def run(self) -> None:
        while True:
            await asyncio.to_thread(self.apply)
            await asyncio.sleep(LOOK_EVERY_S)

    def apply(self) -> None:
        """Make or give up the file, by what is free now. Blocking."""
        free_bytes = shutil.disk_usage(self._path.parent).free
        is_there = self._path.exists()
        if is_there and free_bytes < LOW_BYTES:
            self._path.unlink(missing_ok=True)
            log.warning("disk is full, the reserve is used: folder=%s free_bytes=%d", self._path.parent, free_bytes)
        elif not is_there and free_bytes > PLENTY_BYTES:
            self._make()

    def _make(self) -> None:
        """Blocks must be taken now: a file with holes would keep nothing back."""
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, RESERVE_BYTES)
        except OSError as error:
            log.warning("no space can be kept back: folder=%s error=%s", self._path.parent, error)
            with contextlib.suppress(OSError):
                self._path.unlink()
        finally:
            os.close(descriptor)
