"""Snapshots that are needed for a while by somebody on this node, and that no config names.

They are wished for like those of the config, so whatever becomes of who needs them, the volumes drop them afterwards.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import TypeVar

from msgspec.structs import replace

from eaves.node.desired.model import DesiredNode, DesiredVolume, VolumeSnapshotWish
from eaves.node.volumes.model import VolumeKey, key_of

T = TypeVar("T")


class Holds:
    """What is held at the moment; ``on_change`` is called when that differs from before."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self._wishes: dict[VolumeKey, list[VolumeSnapshotWish]] = {}
        self._told = asyncio.Event()

    @contextlib.contextmanager
    def hold(self, key: VolumeKey, wish: VolumeSnapshotWish) -> Iterator[None]:
        wishes = self._wishes.setdefault(key, [])
        wishes.append(wish)
        self._on_change()
        try:
            yield
        finally:
            wishes.remove(wish)
            if not wishes:
                self._wishes.pop(key, None)
            self._on_change()

    def extend(self, desired: DesiredNode) -> DesiredNode:
        """The config's wishes and those that are held."""
        if not self._wishes:
            return desired
        return replace(desired, volumes=tuple(self._extend(volume) for volume in desired.volumes))

    def tell(self) -> None:
        """The volumes have been looked at anew."""
        self._told.set()

    async def wait(self, find: Callable[[], T | None]) -> T:
        """Until ``find`` answers something after the volumes were looked at."""
        while (found := find()) is None:
            self._told.clear()
            await self._told.wait()
        return found

    def _extend(self, volume: DesiredVolume) -> DesiredVolume:
        known = {wish.id for wish in volume.snapshots}
        held = self._wishes.get(key_of(volume), ())
        more = {wish.id: wish for wish in held if wish.id not in known}
        if not more:
            return volume
        # Nothing of the config's makes way for what is held.
        limit = volume.snapshots_limit + len(more) if volume.snapshots_limit else 0
        return replace(volume, snapshots=(*volume.snapshots, *more.values()), snapshots_limit=limit)
