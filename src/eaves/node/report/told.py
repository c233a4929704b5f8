"""Which objects a controller was told of, over restarts of the daemon: one that has left the config meanwhile must be told as gone."""

from __future__ import annotations

import logging
from collections.abc import Collection

from msgspec import Struct

from eaves.node.desired.model import DesiredNode, ObjectKind
from eaves.node.report.subjects import Key
from eaves.node.statefile import StateFile

log = logging.getLogger(__name__)


class ToldKeys(Struct, frozen=True):
    """The record on disk."""

    keys: tuple[Key, ...] = ()


class Told:
    """``file`` None = for this run of the daemon only."""

    def __init__(self, file: StateFile[ToldKeys] | None = None) -> None:
        self._file = file
        self.keys: set[Key] = set()

    async def load(self) -> None:
        if self._file is not None:
            self.keys.update((await self._file.load()).keys)

    async def save(self) -> None:
        if self._file is None:
            return
        try:
            await self._file.save(ToldKeys(tuple(sorted(self.keys))))
        except OSError as error:
            log.warning("what the controller was told of cannot be saved: error=%s", error)


def list_departed(told: Collection[Key], desired: DesiredNode | None) -> list[Key]:
    """Those of ``told`` that no config names any more; none while there is no config."""
    if desired is None:
        return []
    named: set[Key] = {
        *((ObjectKind.IMAGE, image.id) for image in desired.images),
        *((ObjectKind.VOLUME, volume.id) for volume in desired.volumes),
        *((ObjectKind.NETWORK, network.id) for network in desired.networks),
        *((ObjectKind.APP, app.id) for app in desired.apps),
    }
    if desired.cluster is not None:
        named.add((ObjectKind.CLUSTER, desired.cluster.id))
    return sorted(key for key in told if key not in named)
