"""Small records that outlive the daemon: one struct a file, JSON, replaced atomically.

Used by every managed thing of the engine for what cannot be seen on the host (a pinned digest, a counter already obeyed).
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from eaves.kit import files

log = logging.getLogger(__name__)

T = TypeVar("T", bound=msgspec.Struct)


class StateFile(Generic[T]):
    """One record in ``path``. An unreadable file is set aside and the record starts anew: the node goes on without a person."""

    def __init__(self, path: Path, kind: type[T]) -> None:
        self._path = path
        self._kind = kind
        self._saved: bytes | None = None
        self._lock = asyncio.Lock()

    async def load(self) -> T:
        raw = await asyncio.to_thread(files.load_file, self._path)
        if raw is None:
            return self._kind()
        try:
            value = msgspec.json.decode(raw, type=self._kind)
        except msgspec.DecodeError as error:
            log.warning("state file is unreadable and set aside: path=%s error=%s", self._path, error)
            await asyncio.to_thread(self._path.replace, self._path.with_suffix(".bad"))
            return self._kind()
        self._saved = raw
        return value

    async def save(self, value: T) -> None:
        """Write if it differs from what was last written. Raises OSError (a full disk); the former record then stays."""
        raw = msgspec.json.encode(value)
        async with self._lock:
            if raw != self._saved:
                await asyncio.to_thread(files.save_file, self._path, raw)
                self._saved = raw

    async def remove(self) -> None:
        async with self._lock:
            await asyncio.to_thread(self._path.unlink, missing_ok=True)
            self._saved = None
