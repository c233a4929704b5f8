"""The last good config on disk, as the controller signed it, so that apps run after a reboot with no controller in reach.

Three files: ``lastconfig`` is the newest, ``lastconfig.bak`` the one before it (for a file system that lost the newest), and
``normalconfig`` the last one without maintenance mode, which says what exists while maintenance hides it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from google.protobuf.message import DecodeError

from eaves.kit import files
from eaves.wire.errors import WireError
from eaves.wire.pb.config.devconfig_pb2 import ConfigResponse

log = logging.getLogger(__name__)

BACKUP_PAUSE_S = 600.0
"""A backup is made of the first config after each start and then at most this often (``timer.test.baseimage.update``)."""


class Checkpoint:
    """Keeps raw AuthContainers. ``open_`` verifies one and answers its payload, raising WireError."""

    def __init__(self, folder: Path, open_: Callable[[bytes], bytes]) -> None:
        self._last = folder / "lastconfig"
        self._backup = folder / "lastconfig.bak"
        self._normal = folder / "normalconfig"
        self._open = open_
        self._backed_up_at: float | None = None

    async def load(self) -> ConfigResponse | None:
        """The newest usable config."""
        return await self._load_first(self._last, self._backup)

    async def load_normal(self) -> ConfigResponse | None:
        """The newest usable config without maintenance mode."""
        return await self._load_first(self._normal)

    async def save(self, body: bytes, *, is_normal: bool) -> None:
        """Keep ``body`` durably. Raises OSError when the disk is full; the former config then stays."""
        now = asyncio.get_running_loop().time()
        with_backup = self._backed_up_at is None or now - self._backed_up_at >= BACKUP_PAUSE_S
        await asyncio.to_thread(self._save, body, with_backup, is_normal)
        if with_backup:
            self._backed_up_at = now

    def _save(self, body: bytes, with_backup: bool, is_normal: bool) -> None:
        files.want_folder(self._last.parent)
        former = files.load_file(self._last)
        if former is not None and with_backup:
            files.save_file(self._backup, former)
        if is_normal:
            self._normal.unlink(missing_ok=True)
        elif former is not None and not self._normal.exists():
            # Maintenance begins: what was in force until now is what to come back to.
            files.save_file(self._normal, former)
        files.save_file(self._last, body)

    async def _load_first(self, *paths: Path) -> ConfigResponse | None:
        for path in paths:
            body = await asyncio.to_thread(files.load_file, path)
            if body is None:
                continue
            try:
                return ConfigResponse.FromString(self._open(body))
            except (WireError, DecodeError) as error:
                log.warning("saved config is not used: file=%s error=%s", path, error)
        return None
