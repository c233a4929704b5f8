"""What the node remembers of its volumes and cannot see on disk: which orders were obeyed, what is being worked on, since when nobody
wants them. One file, written before what depends on it is begun."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from eaves.node.desired.model import DesiredVolume
from eaves.node.statefile import StateFile
from eaves.node.volumes.model import VolumeKey, key_of, parse_key
from eaves.node.volumes.plan import VolumeRecord

log = logging.getLogger(__name__)


class VolumesState(Struct):
    """Both by the volume's name. ``unwanted_since``: Unix seconds since when no config asks for it."""

    unwanted_since: dict[str, float] = {}
    records: dict[str, VolumeRecord] = {}


class Records:
    """``path`` is the file."""

    def __init__(self, path: Path) -> None:
        self._file = StateFile(path, VolumesState)
        self._state = VolumesState()
        self._lock = asyncio.Lock()

    async def open(self) -> None:
        self._state = await self._file.load()

    @property
    def by_name(self) -> Mapping[str, VolumeRecord]:
        return self._state.records

    @property
    def unwanted_since(self) -> Mapping[str, float]:
        return self._state.unwanted_since

    def find(self, key: VolumeKey) -> VolumeRecord:
        return self._state.records.get(key.folder, VolumeRecord())

    async def note(self, keys: Sequence[VolumeKey], *, taken: str = "", **changes: object) -> None:
        """Of all of them in one step. Raises OSError: what cannot be remembered must not be begun."""
        async with self._lock:
            records = dict(self._state.records)
            for key in keys:
                record = records.get(key.folder, VolumeRecord())
                known = record.taken if not taken or taken in record.taken else (*record.taken, taken)
                records[key.folder] = msgspec.structs.replace(record, taken=known, **changes)
            state = VolumesState(self._state.unwanted_since, records)
            await self._file.save(state)
            self._state = state

    async def keep(
        self, unwanted_since: dict[str, float], wanted: Iterable[DesiredVolume], there: Collection[VolumeKey]
    ) -> None:
        """Forget volumes that are neither wanted nor there. A file that cannot be written is told."""
        async with self._lock:
            self._state = VolumesState(unwanted_since, self._want_records(wanted, there))
            try:
                await self._file.save(self._state)
            except OSError as error:
                log.warning("volumes' record is not saved: error=%s", error)

    def _want_records(self, wanted: Iterable[DesiredVolume], there: Collection[VolumeKey]) -> dict[str, VolumeRecord]:
        """The first order to roll back that comes with a volume is older than what is known of it: remembered, not obeyed."""
        kept = {name: record for name, record in self._state.records.items() if parse_key(name) in there}
        for volume in wanted:
            name = key_of(volume).folder
            record = kept.get(name, self._state.records.get(name, VolumeRecord()))
            if record.rollback_counter is None:
                counter = volume.rollback.counter if volume.rollback else 0
                record = msgspec.structs.replace(record, rollback_counter=counter)
            kept[name] = record
        return kept
