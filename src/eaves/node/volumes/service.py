"""Keeps the volumes that the config asks for. Owned by ``manager``; asked by the apps' keepers for paths.

Each volume is worked on by itself, one action at a time, so that a long copy or a failure of one holds up no other. What a crash
interrupted is found at the next start: under a name that is no volume's, or by the mark in the volume's record.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

from eaves.node.desired.model import DesiredApp, DesiredNode, DesiredVolume, SnapshotSet, VolumeSnapshotWish
from eaves.node.instance import Instance
from eaves.node.observed import Fault, Observations, VolumeStatus
from eaves.node.volumes import access, apply, garbage, making, plan, surroundings
from eaves.node.volumes.abc import LiveDisks, VolumeSources, VolumeUsers, VolumeVault
from eaves.node.volumes.actions import (
    TakeSet,
    TakeSnapshot,
    list_keys,
    name_work,
)
from eaves.node.volumes.around import Surroundings
from eaves.node.volumes.errors import VolumeError, VolumeImageUnsuitableError, VolumeMissingError
from eaves.node.volumes.holding import Holds
from eaves.node.volumes.jobs import Jobs
from eaves.node.volumes.model import Disk, Form, Seen, Use, VolumeKey, key_of
from eaves.node.volumes.plan import VolumePlan
from eaves.node.volumes.present import LOOK, Present
from eaves.node.volumes.records import Records
from eaves.node.volumes.status import View, want_status
from eaves.node.volumes.vault import PlainVault
from eaves.node.volumes.working import Work

log = logging.getLogger(__name__)

MEASURE_EVERY_S = 60.0
_DELETE = "delete"


class Volumes:
    """``users`` tells which apps have volumes now; ``on_change`` is called when a volume may have become usable."""

    def __init__(
        self,
        instance: Instance,
        observations: Observations,
        *,
        sources: VolumeSources,
        live: LiveDisks,
        users: Callable[[], VolumeUsers],
        on_change: Callable[[], None],
        vault: VolumeVault | None = None,
        measure_every_s: float = MEASURE_EVERY_S,
    ) -> None:
        self._observations = observations
        self._sources = sources
        self._vault = vault or PlainVault(instance.volumes_dir)
        self._live = live
        self._users = users
        self._on_change = on_change
        self._workshop = apply.Workshop(sources, live)
        self._records = Records(instance.state_dir / "volumes.json")
        self._desired: DesiredNode | None = None
        self._plans: dict[VolumeKey, VolumePlan] = {}
        self._wake = asyncio.Event()
        self._jobs = Jobs(on_end=self._wake.set)
        self._present = Present(self._vault, self._jobs, measure_every_s)
        self._work = Work(self._workshop, self._present, self._records, self._jobs, live, users)
        self._holds = Holds(self._wake.set)

    async def open(self) -> None:
        """Put away what a crash left and look at what is there."""
        await self._records.open()
        await self._present.open()

    def set_desired(self, desired: DesiredNode) -> None:
        self._desired = desired
        # At once, lest an app start on a volume that is to go back to a snapshot first.
        around = self._want_surroundings(desired)
        self._plans = {key_of(volume): self._want_plan(volume, around) for volume in desired.volumes}
        self._wake.set()

    def wake(self) -> None:
        """An image or an app has changed."""
        self._wake.set()

    def path(self, volume_id: str, generation: int) -> Path | None:
        """Where the volume is: a folder, or the file of a block volume. None while no app may have it."""
        seen = self._find_usable(VolumeKey(volume_id, generation))
        return seen.path if seen else None

    def disk(self, volume_id: str, generation: int) -> Disk | None:
        """A block volume as a virtual machine attaches it; None for one that is none, or while no app may have it."""
        seen = self._find_usable(VolumeKey(volume_id, generation))
        if seen is None or not seen.form.is_block:
            return None
        return Disk(seen.path, str(seen.form), seen.size_bytes)

    def find_rival(self, app: DesiredApp, volume_id: str) -> str:
        """Name of the app that keeps ``app`` from writing to the volume; empty when it may have it."""
        desired = self._desired
        volume = next((found for found in desired.volumes if found.id == volume_id), None) if desired else None
        if desired is None or volume is None:
            return ""
        users = self._users()
        running, held = (
            {app_id: garbage.parse_users(names) for app_id, names in found.items()}
            for found in (users.in_use, users.held)
        )
        return access.find_rival(app, volume, desired.apps, running, held)

    def used_bytes(self, volume_id: str, generation: int) -> int:
        return self._present.uses.get(VolumeKey(volume_id, generation), Use()).used_bytes

    @contextlib.asynccontextmanager
    async def held_snapshot(self, volume_id: str, snapshot_id: str = "") -> AsyncIterator[tuple[Seen, str]]:
        """A snapshot of the volume that stays meanwhile, and its id: a given one, or one that is taken now and goes afterwards.

        Raises VolumeError when the volume is not there, is a folder, or can have none now.
        """
        key = max((key for key in self._present.seen if key.id == volume_id), default=None)
        if key is None:
            raise VolumeMissingError("the node does not have the volume", element=f"volume {volume_id}")
        form = self._present.seen[key].form
        if form is Form.FOLDER:
            raise VolumeImageUnsuitableError(
                "the volume is a folder, of which no disk image can be made", resolution="copy its files by kubectl cp"
            )
        point = snapshot_id or f"export-{uuid.uuid4()}"
        if snapshot_id and snapshot_id not in self._present.seen[key].snapshots:
            raise VolumeMissingError("the volume does not have the snapshot", element=f"volume {volume_id}")
        # A disk's is taken by its machine while that runs; a file system comes to rest by itself.
        of = SnapshotSet("", ((key.id, key.generation),)) if form.is_block else None
        with self._holds.hold(key, VolumeSnapshotWish(point, point, of)):
            yield await self._holds.wait(lambda: self._find_point(key, point)), point

    def _find_point(self, key: VolumeKey, point: str) -> Seen | None:
        """The volume with the snapshot, None while it does not have it. Raises VolumeError when it will not."""
        seen = self._present.seen.get(key)
        if seen is not None and point in seen.snapshots:
            return seen
        if (fault := self._find_fault(key, point)) is not None:
            raise VolumeError(fault.message, resolution=fault.resolution, element=f"volume {key.id}")
        return None

    def _find_fault(self, key: VolumeKey, point: str) -> Fault | None:
        waits = self._plans.get(key, VolumePlan()).waits
        if wait := next((wait for wait in waits if wait.snapshot_id == point), None):
            return Fault(wait.code, wait.message, wait.resolution)
        return self._jobs.faults(key).get(name_work(TakeSnapshot(key, point)))

    async def run(self) -> None:
        try:
            while True:
                self._wake.clear()
                next_s: float | None = None
                if self._desired is not None:
                    next_s = await self._reconcile(self._holds.extend(self._desired))
                    self._holds.tell()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(next_s):
                        await self._wake.wait()
        finally:
            await self._jobs.cancel()

    async def _reconcile(self, desired: DesiredNode) -> float:
        """Answers in how many seconds to look again."""
        await self._present.list()
        measure_in_s = await self._present.measure()
        around = self._want_surroundings(desired)
        next_s = await self._collect(desired, around)
        for volume in desired.volumes:
            self._plan(volume, around)
        self._start_sets()
        self._publish(desired)
        self._on_change()
        return min(seconds for seconds in (measure_in_s, next_s, self._jobs.next_in_s()) if seconds)

    def _want_surroundings(self, desired: DesiredNode) -> Surroundings:
        live = frozenset(
            key for key, seen in self._present.seen.items() if seen.form.is_block and self._live.find(seen.file)
        )
        return surroundings.want_surroundings(
            desired,
            self._present.facts,
            self._present.seen,
            self._sources,
            self._vault,
            self._list_users(desired),
            live,
            self._records.by_name,
            self._users().updating,
        )

    def _list_users(self, desired: DesiredNode) -> dict[VolumeKey, tuple[str, ...]]:
        names = {app.id: app.name for app in desired.apps}
        users: dict[VolumeKey, tuple[str, ...]] = {}
        for app_id, paths in self._users().in_use.items():
            for key in garbage.parse_users(paths):
                users[key] = tuple(sorted((*users.get(key, ()), names.get(app_id, app_id))))
        return users

    async def _collect(self, desired: DesiredNode, around: Surroundings) -> float:
        """Delete what nothing has needed for the grace period; answers when the next is due, 0 = none."""
        users = self._users()
        found = garbage.plan_garbage(
            self._present.found,
            wanted=surroundings.list_needed(desired, self._present.found),
            in_use={*garbage.parse_users(name for names in users.held.values() for name in names), *around.users},
            unwanted_since=self._records.unwanted_since,
            now=time.time(),
            grace_s=garbage.parse_grace_s(desired.config_items),
        )
        await self._records.keep(found.unwanted_since, desired.volumes, self._present.found)
        for key in found.delete if users.is_whole else ():
            seen = self._present.seen.get(key)
            if seen is not None and not self._jobs.current(key) and self._jobs.is_due(key, _DELETE):
                self._plans.pop(key, None)
                self._jobs.start(key, _DELETE, lambda seen=seen: self._delete(seen))  # type: ignore[misc]
        return found.next_in_s

    async def _delete(self, seen: Seen) -> None:
        desired = self._desired
        if desired is None or seen.key in surroundings.list_needed(desired, self._present.found):
            return
        await self._workshop.delete(seen)
        self._present.forget(seen.key)

    def _want_plan(self, volume: DesiredVolume, around: Surroundings) -> VolumePlan:
        key = key_of(volume)
        if (seen := self._present.seen.get(key)) is not None:
            return plan.plan_present(volume, seen, self._records.find(key), around)
        if key in self._present.found:
            # It is there and was not looked at yet, or cannot be read; nothing must take its place.
            return VolumePlan()
        if making.is_needed(volume, around):
            return making.plan_missing(volume, around)
        return making.plan_unmade(volume, around)

    def _plan(self, volume: DesiredVolume, around: Surroundings) -> None:
        """Plan one volume and start the first action that has not failed lately."""
        key = key_of(volume)
        planned = self._plans[key] = self._want_plan(volume, around)
        self._jobs.keep(key, [*(name_work(action) for action in planned.actions), LOOK])
        if self._jobs.current(key):
            return
        for action in planned.actions:
            if isinstance(action, TakeSet):
                continue
            if self._jobs.is_due(key, name_work(action), action) and self._work.start(action):
                return

    def _start_sets(self) -> None:
        """What is done to several volumes at once begins when each of them has nothing else to do first."""
        wanted = {
            key: planned.actions[0]
            for key, planned in self._plans.items()
            if planned.actions and isinstance(planned.actions[0], TakeSet)
        }
        for key, action in wanted.items():
            members = list_keys(action)
            is_ready = all(wanted.get(member) == action and not self._jobs.current(member) for member in members)
            if key == action.key and is_ready and self._jobs.is_due(key, name_work(action), action):
                self._work.start(action)

    def _find_usable(self, key: VolumeKey) -> Seen | None:
        planned = self._plans.get(key)
        seen = self._present.seen.get(key)
        if planned is None or not planned.is_usable or key in self._work.closed or seen is None:
            return None
        # The plan may be older than what the last action left.
        return None if seen.form is Form.EXT4 and not seen.is_mounted else seen

    def _publish(self, desired: DesiredNode) -> None:
        known = {volume.id for volume in desired.volumes}
        for status in list(self._observations.each(VolumeStatus)):
            if status.id not in known:
                self._observations.remove(VolumeStatus, status.id)
        users = self._list_users(desired)
        for volume in desired.volumes:
            known_status = self._observations.get(VolumeStatus, volume.id)
            former = known_status if isinstance(known_status, VolumeStatus) else None
            self._observations.publish(want_status(self._want_view(volume, users), former, time.time()))

    def _want_view(self, volume: DesiredVolume, users: Mapping[VolumeKey, tuple[str, ...]]) -> View:
        key = key_of(volume)
        seen = self._present.seen.get(key)
        record = self._records.find(key)
        return View(
            volume,
            seen,
            self._plans.get(key, VolumePlan()),
            work=self._jobs.current(key),
            faults=self._jobs.faults(key),
            use=self._present.uses.get(key),
            users=users.get(key, ()),
            is_encrypted=seen is not None and self._vault.is_encrypted(seen.base),
            rollback_counter=record.rollback_counter or 0,
        )
