"""Keeps the volumes that the config asks for and watches their size. Owned by ``manager``; asked by the apps' keepers for paths.

Folders have no hard size limit on the file systems that nodes have by default, so a volume that outgrows its size is reported as a
fault for people to act on; the app is not stopped.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from eaves.kit.errors import EavesError
from eaves.kit.retry import Backoff
from eaves.node.desired.model import DesiredNode, DesiredVolume
from eaves.node.errors import as_fault
from eaves.node.instance import Instance
from eaves.node.observed import Fault, Observations, VolumeState, VolumeStatus
from eaves.node.statefile import StateFile
from eaves.node.volumes import apply, observe, plan
from eaves.node.volumes.errors import VolumeUnsupportedError
from eaves.node.volumes.plan import VolumeKey, VolumesState

log = logging.getLogger(__name__)

MEASURE_EVERY_S = 60.0
_TROUBLE = (EavesError, OSError)


class Volumes:
    """``in_use`` tells the folders that containers mount now."""

    def __init__(
        self,
        instance: Instance,
        observations: Observations,
        *,
        in_use: Callable[[], Iterable[str]],
        on_change: Callable[[], None],
        measure_every_s: float = MEASURE_EVERY_S,
    ) -> None:
        self._folder = instance.volumes_dir
        self._observations = observations
        self._in_use = in_use
        self._on_change = on_change
        self._measure_every_s = measure_every_s
        self._file = StateFile(instance.state_dir / "volumes.json", VolumesState)
        self._state = VolumesState()
        self._desired: DesiredNode | None = None
        self._ready: dict[VolumeKey, Path] = {}
        self._used: dict[VolumeKey, int] = {}
        self._faults: dict[VolumeKey, Fault] = {}
        self._wake = asyncio.Event()
        self._backoff = Backoff(1.0, 60.0)

    async def open(self) -> None:
        self._state = await self._file.load()
        await asyncio.to_thread(apply.delete_leftovers, self._folder)
        for name in await asyncio.to_thread(observe.observe_folders, self._folder):
            if (key := plan.parse_folder(name)) is not None:
                self._ready[key] = self._folder / name

    def set_desired(self, desired: DesiredNode) -> None:
        self._desired = desired
        self._wake.set()

    def path(self, volume_id: str, generation: int) -> Path | None:
        """Where the volume is, or None while it is not."""
        return self._ready.get(VolumeKey(volume_id, generation))

    def used_bytes(self, volume_id: str, generation: int) -> int:
        return self._used.get(VolumeKey(volume_id, generation), 0)

    async def run(self) -> None:
        while True:
            self._wake.clear()
            next_s = self._measure_every_s
            if self._desired is not None:
                next_s = await self._reconcile(self._desired)
            try:
                async with asyncio.timeout(next_s):
                    await self._wake.wait()
            except TimeoutError:
                await self._measure()

    async def _reconcile(self, desired: DesiredNode) -> float:
        """Answers in how many seconds to look again."""
        wanted = plan.want_folders(desired.volumes, desired.apps)
        present = await asyncio.to_thread(observe.observe_folders, self._folder)
        wanted_plan = plan.plan_volumes(
            wanted,
            present,
            self._in_use(),
            self._state,
            now=time.time(),
            grace_s=plan.parse_grace_s(desired.config_items),
        )
        faults: dict[VolumeKey, Fault] = {}
        for volume in wanted_plan.make:
            key = VolumeKey(volume.id, volume.generation)
            try:
                self._ready[key] = await asyncio.to_thread(apply.make_volume, self._folder, key)
            except _TROUBLE as error:
                self._ready.pop(key, None)
                faults[key] = self._as_fault(key, error)
        for key in wanted_plan.delete:
            self._ready.pop(key, None)
            try:
                await asyncio.to_thread(apply.delete_volume, self._folder, key)
            except OSError as error:
                log.warning("volume is not deleted: volume=%s error=%s", key.folder, error)
        await self._remember(wanted_plan.state)
        self._faults = faults
        self._publish(desired, wanted)
        self._on_change()
        if faults:
            return self._backoff.next_s()
        self._backoff.reset()
        return min(self._measure_every_s, wanted_plan.next_in_s or self._measure_every_s)

    async def _remember(self, state: VolumesState) -> None:
        try:
            await self._file.save(state)
        except OSError as error:
            log.warning("volumes' record is not saved: error=%s", error)
        self._state = state

    async def _measure(self) -> None:
        if self._desired is None:
            return
        wanted = plan.want_folders(self._desired.volumes, self._desired.apps)
        for key in wanted:
            if (path := self._ready.get(key)) is not None:
                self._used[key] = await asyncio.to_thread(observe.observe_used_bytes, path)
        self._publish(self._desired, wanted)

    def _publish(self, desired: DesiredNode, wanted: dict[VolumeKey, DesiredVolume]) -> None:
        known = {volume.id for volume in desired.volumes}
        for status in list(self._observations.each(VolumeStatus)):
            if status.id not in known:
                self._observations.remove(VolumeStatus, status.id)
        roots = {(app.root_volume_id, app.root_generation) for app in desired.apps}
        for volume in desired.volumes:
            self._observations.publish(self._status(volume, wanted, (volume.id, volume.generation) in roots))

    def _status(self, volume: DesiredVolume, wanted: dict[VolumeKey, DesiredVolume], is_root: bool) -> VolumeStatus:
        key = VolumeKey(volume.id, volume.generation)
        if is_root:
            # Made with the app's container from its image; the image's own status tells of the download.
            return VolumeStatus(volume.id, volume.generation, volume.name, VolumeState.READY, volume.size_bytes)
        if key not in wanted:
            error = VolumeUnsupportedError("a volume filled from an image cannot be mounted into a container")
            unsupported = self._as_fault(key, error)
            return VolumeStatus(volume.id, volume.generation, volume.name, VolumeState.FAILED, fault=unsupported)
        path = self._ready.get(key)
        used = self._used.get(key, 0)
        fault = self._faults.get(key) or self._check_size(key, volume, used)
        failed = VolumeState.FAILED if fault is not None else VolumeState.CREATING
        state = VolumeState.READY if path else failed
        where = str(path) if path else ""
        return VolumeStatus(volume.id, volume.generation, volume.name, state, volume.size_bytes, used, where, fault)

    def _check_size(self, key: VolumeKey, volume: DesiredVolume, used: int) -> Fault | None:
        if not volume.size_bytes or used <= volume.size_bytes:
            return None
        message = f"volume {volume.name} holds {used} bytes, {volume.size_bytes} are allowed"
        return Fault("VolumeOverfull", message, "delete data in it or give it more room", self._since(key))

    def _as_fault(self, key: VolumeKey, error: BaseException) -> Fault:
        return as_fault(error, since=self._since(key))

    def _since(self, key: VolumeKey) -> float:
        status = self._observations.get(VolumeStatus, key.id)
        known = status.fault if isinstance(status, VolumeStatus) else None
        return known.since if known else time.time()
