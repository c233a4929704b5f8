"""Keeps the volumes that the config asks for. Owned by ``manager``; asked by the apps' keepers for paths.

Each volume is worked on by itself, one action at a time, so that a long copy or a failure of one holds up no other. What a crash
interrupted is found at the next start: under a name that is no volume's, or by the mark in the volume's record.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from eaves.node.desired.model import DesiredApp, DesiredNode, DesiredVolume, SnapshotSet, VolumeSnapshotWish
from eaves.node.instance import Instance
from eaves.node.mounts import load_sources
from eaves.node.observed import Fault, Observations, VolumeStatus
from eaves.node.statefile import StateFile
from eaves.node.volumes import access, apply, garbage, making, observe, plan, surroundings
from eaves.node.volumes.abc import LiveDisks, VolumeSources, VolumeUsers, VolumeVault
from eaves.node.volumes.actions import (
    EXCLUSIVE,
    IN_PLACE,
    Action,
    Grow,
    Make,
    RollBack,
    TakeSet,
    TakeSnapshot,
    list_keys,
    name_work,
)
from eaves.node.volumes.around import Surroundings
from eaves.node.volumes.errors import VolumeError, VolumeImageUnsuitableError, VolumeMissingError
from eaves.node.volumes.holding import Holds
from eaves.node.volumes.jobs import TROUBLE, Jobs
from eaves.node.volumes.model import Disk, Form, Seen, StorageFacts, Use, VolumeKey, parse_key
from eaves.node.volumes.observe import Found
from eaves.node.volumes.plan import VolumePlan, VolumeRecord
from eaves.node.volumes.status import View, want_status
from eaves.node.volumes.vault import PlainVault

log = logging.getLogger(__name__)

MEASURE_EVERY_S = 60.0
_LOOK = "look"
_DELETE = "delete"


class VolumesState(Struct):
    """Both by the volume's name. ``unwanted_since``: Unix seconds since when no config asks for it."""

    unwanted_since: dict[str, float] = {}
    records: dict[str, VolumeRecord] = {}


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
        self._measure_every_s = measure_every_s
        self._workshop = apply.Workshop(sources, live)
        self._file = StateFile(instance.state_dir / "volumes.json", VolumesState)
        self._state = VolumesState()
        self._facts = StorageFacts()
        self._desired: DesiredNode | None = None
        self._found: dict[VolumeKey, Found] = {}
        self._seen: dict[VolumeKey, Seen] = {}
        self._plans: dict[VolumeKey, VolumePlan] = {}
        self._closed: set[VolumeKey] = set()
        """Volumes whose files are being worked on while no app may open them."""
        self._uses: dict[VolumeKey, Use] = {}
        self._measured_at = -math.inf
        self._state_lock = asyncio.Lock()
        self._wake = asyncio.Event()
        self._jobs = Jobs(on_end=self._wake.set)
        self._holds = Holds(self._wake.set)

    async def open(self) -> None:
        """Put away what a crash left and look at what is there."""
        self._state = await self._file.load()
        bases = self._vault.folders()
        await apply.remove_leftovers(bases)
        self._facts = await asyncio.to_thread(observe.observe_facts, bases[0])
        self._found = await asyncio.to_thread(observe.list_volumes, bases)
        for found in self._found.values():
            try:
                await self._look(found)
            except TROUBLE as error:
                log.warning("volume cannot be read: volume=%s error=%s", found.key.folder, error)

    def set_desired(self, desired: DesiredNode) -> None:
        self._desired = desired
        # At once, lest an app start on a volume that is to go back to a snapshot first.
        around = self._want_surroundings(desired)
        self._plans = {_key_of(volume): self._want_plan(volume, around) for volume in desired.volumes}
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
        return self._uses.get(VolumeKey(volume_id, generation), Use()).used_bytes

    @contextlib.asynccontextmanager
    async def held_snapshot(self, volume_id: str, snapshot_id: str = "") -> AsyncIterator[tuple[Seen, str]]:
        """A snapshot of the volume that stays meanwhile, and its id: a given one, or one that is taken now and goes afterwards.

        Raises VolumeError when the volume is not there, is a folder, or can have none now.
        """
        key = max((key for key in self._seen if key.id == volume_id), default=None)
        if key is None:
            raise VolumeMissingError("the node does not have the volume", element=f"volume {volume_id}")
        if self._seen[key].form is Form.FOLDER:
            raise VolumeImageUnsuitableError(
                "the volume is a folder, of which no disk image can be made", resolution="copy its files by kubectl cp"
            )
        point = snapshot_id or f"export-{uuid.uuid4()}"
        if snapshot_id and snapshot_id not in self._seen[key].snapshots:
            raise VolumeMissingError("the volume does not have the snapshot", element=f"volume {volume_id}")
        with self._holds.hold(key, VolumeSnapshotWish(point, point, SnapshotSet("", ((key.id, key.generation),)))):
            yield await self._holds.wait(lambda: self._find_point(key, point)), point

    def _find_point(self, key: VolumeKey, point: str) -> Seen | None:
        """The volume with the snapshot, None while it does not have it. Raises VolumeError when it will not."""
        seen = self._seen.get(key)
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
                next_s = self._measure_every_s
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
        await self._list()
        if (measure_in_s := self._measured_at + self._measure_every_s - time.monotonic()) <= 0:
            await self._measure()
            measure_in_s = self._measure_every_s
        around = self._want_surroundings(desired)
        next_s = await self._collect(desired, around)
        for volume in desired.volumes:
            self._plan(volume, around)
        self._start_sets()
        self._publish(desired)
        self._on_change()
        return min(seconds for seconds in (measure_in_s, next_s, self._jobs.next_in_s()) if seconds)

    def _want_surroundings(self, desired: DesiredNode) -> Surroundings:
        live = frozenset(key for key, seen in self._seen.items() if seen.form.is_block and self._live.find(seen.file))
        return surroundings.want_surroundings(
            desired,
            self._facts,
            self._seen,
            self._sources,
            self._vault,
            self._list_users(desired),
            live,
            self._state.records,
            self._users().updating,
        )

    async def _list(self) -> None:
        """Notice what somebody made or took away by hand; a volume's inside is looked at once, and after each action."""
        self._found = await asyncio.to_thread(observe.list_volumes, self._vault.folders())
        mounted = await asyncio.to_thread(load_sources)
        for key, seen in list(self._seen.items()):
            if key not in self._found or self._found[key].form is not seen.form:
                del self._seen[key]
            elif seen.form is Form.EXT4 and not self._jobs.current(key):
                self._seen[key] = msgspec.structs.replace(seen, is_mounted=str(seen.path) in mounted)
        for key, found in self._found.items():
            if key not in self._seen and not self._jobs.current(key) and self._jobs.is_due(key, _LOOK):
                self._jobs.start(key, _LOOK, lambda found=found: self._look(found))  # type: ignore[misc]

    async def _look(self, found: Found) -> None:
        self._seen[found.key] = await observe.observe_volume(found)

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
            self._found,
            wanted=surroundings.list_needed(desired, self._found),
            in_use={*garbage.parse_users(name for names in users.held.values() for name in names), *around.users},
            unwanted_since=self._state.unwanted_since,
            now=time.time(),
            grace_s=garbage.parse_grace_s(desired.config_items),
        )
        await self._remember(found.unwanted_since, desired)
        for key in found.delete if users.is_whole else ():
            seen = self._seen.get(key)
            if seen is not None and not self._jobs.current(key) and self._jobs.is_due(key, _DELETE):
                self._plans.pop(key, None)
                self._jobs.start(key, _DELETE, lambda seen=seen: self._delete(seen))  # type: ignore[misc]
        return found.next_in_s

    async def _delete(self, seen: Seen) -> None:
        desired = self._desired
        if desired is None or seen.key in surroundings.list_needed(desired, self._found):
            return
        await self._workshop.delete(seen)
        self._seen.pop(seen.key, None)
        self._uses.pop(seen.key, None)
        self._found.pop(seen.key, None)

    def _want_plan(self, volume: DesiredVolume, around: Surroundings) -> VolumePlan:
        key = _key_of(volume)
        if (seen := self._seen.get(key)) is not None:
            return plan.plan_present(volume, seen, self._state.records.get(key.folder, VolumeRecord()), around)
        if key in self._found:
            # It is there and was not looked at yet, or cannot be read; nothing must take its place.
            return VolumePlan()
        if making.is_needed(volume, around):
            return making.plan_missing(volume, around)
        return VolumePlan(is_usable=True)

    def _plan(self, volume: DesiredVolume, around: Surroundings) -> None:
        """Plan one volume and start the first action that has not failed lately."""
        key = _key_of(volume)
        planned = self._plans[key] = self._want_plan(volume, around)
        self._jobs.keep(key, [*(name_work(action) for action in planned.actions), _LOOK])
        if self._jobs.current(key):
            return
        for action in planned.actions:
            if isinstance(action, TakeSet):
                continue
            if self._jobs.is_due(key, name_work(action), action) and self._start(action):
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
                self._start(action)

    def _start(self, action: Action) -> bool:
        """Start an action, unless an app took a volume meanwhile that must be left alone; from now on none gets it."""
        seen = self._seen.get(action.key)
        alone = set(self._list_alone(action))
        if action.key in self._closed or any(self._jobs.current(key) for key in alone):
            return False
        users = self._users()
        if alone and (not users.is_whole or any(alone & garbage.parse_users(names) for names in users.in_use.values())):
            return False
        self._closed |= alone
        is_long = isinstance(action, Make) and bool(action.image_id or action.copy)
        others = [key for key in list_keys(action) if key != action.key]
        self._jobs.start(
            action.key,
            name_work(action),
            lambda: self._do(action, seen, alone),
            what=action,
            is_long=is_long,
            others=others,
        )
        return True

    def _list_alone(self, action: Action) -> Iterator[VolumeKey]:
        """The volumes that no app may have meanwhile."""
        if isinstance(action, Make) and action.copy is not None and not action.copy_snapshot:
            yield action.copy.key
        is_down = isinstance(action, Grow) and action.is_offline
        for key in list_keys(action):
            seen = self._seen.get(key)
            is_offline = seen is not None and seen.form.is_block and self._live.find(seen.file) is None
            if isinstance(action, EXCLUSIVE) or is_down or (isinstance(action, IN_PLACE) and is_offline):
                yield key

    async def _do(self, action: Action, seen: Seen | None, alone: set[VolumeKey]) -> None:
        keys = list_keys(action)
        try:
            marked = [key for key in keys if key in alone and key in self._seen and self._seen[key].form is Form.QCOW2]
            if marked:
                await self._record(marked, is_working=True)
            try:
                if isinstance(action, TakeSet):
                    await self._workshop.take_set(action, [self._seen[key] for key in keys])
                else:
                    await self._workshop.do(action, seen)
                await self._note_done(action)
            finally:
                # Also after a failure: it may have been taken down for the work.
                for key in keys:
                    await self._look_again(key)
        finally:
            self._closed -= alone

    async def _look_again(self, key: VolumeKey) -> None:
        self._seen.pop(key, None)
        found = await asyncio.to_thread(observe.list_volumes, self._vault.folders())
        if key in found:
            await self._look(found[key])
            self._uses[key] = await asyncio.to_thread(observe.observe_use, self._seen[key])

    async def _note_done(self, action: Action) -> None:
        keys = list_keys(action)
        if isinstance(action, RollBack):
            await self._record(keys, is_working=False, rollback_counter=action.counter)
        elif isinstance(action, TakeSnapshot | TakeSet):
            await self._record(keys, taken=action.snapshot_id, is_working=False)
        elif self._state.records.get(action.key.folder, VolumeRecord()).is_working:
            await self._record(keys, is_working=False)

    def _want_records(self, desired: DesiredNode) -> dict[str, VolumeRecord]:
        """Those of volumes that are wanted or there.

        The first order to roll back that comes with a volume is older than what is known of it: remembered, not obeyed.
        """
        kept = {name: r for name, r in self._state.records.items() if parse_key(name) in self._found}
        for volume in desired.volumes:
            name = _key_of(volume).folder
            record = kept.get(name, self._state.records.get(name, VolumeRecord()))
            if record.rollback_counter is None:
                counter = volume.rollback.counter if volume.rollback else 0
                record = msgspec.structs.replace(record, rollback_counter=counter)
            kept[name] = record
        return kept

    async def _record(self, keys: Sequence[VolumeKey], *, taken: str = "", **changes: object) -> None:
        """Of all of them in one step. Raises OSError: what cannot be remembered must not be begun."""
        async with self._state_lock:
            records = dict(self._state.records)
            for key in keys:
                record = records.get(key.folder, VolumeRecord())
                known = record.taken if not taken or taken in record.taken else (*record.taken, taken)
                records[key.folder] = msgspec.structs.replace(record, taken=known, **changes)
            state = VolumesState(self._state.unwanted_since, records)
            await self._file.save(state)
            self._state = state

    async def _remember(self, unwanted_since: dict[str, float], desired: DesiredNode) -> None:
        async with self._state_lock:
            self._state = VolumesState(unwanted_since, self._want_records(desired))
            try:
                await self._file.save(self._state)
            except OSError as error:
                log.warning("volumes' record is not saved: error=%s", error)

    def _find_usable(self, key: VolumeKey) -> Seen | None:
        planned = self._plans.get(key)
        seen = self._seen.get(key)
        if planned is None or not planned.is_usable or key in self._closed or seen is None:
            return None
        # The plan may be older than what the last action left.
        return None if seen.form is Form.EXT4 and not seen.is_mounted else seen

    async def _measure(self) -> None:
        self._measured_at = time.monotonic()
        for key, seen in list(self._seen.items()):
            try:
                self._uses[key] = use = await asyncio.to_thread(observe.observe_use, seen)
                if use.is_read_only != seen.is_read_only and key in self._seen:
                    self._seen[key] = msgspec.structs.replace(seen, is_read_only=use.is_read_only)
            except OSError as error:
                log.warning("volume is not measured: volume=%s error=%s", key.folder, error)

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
        key = _key_of(volume)
        seen = self._seen.get(key)
        record = self._state.records.get(key.folder, VolumeRecord())
        return View(
            volume,
            seen,
            self._plans.get(key, VolumePlan()),
            work=self._jobs.current(key),
            faults=self._jobs.faults(key),
            use=self._uses.get(key),
            users=users.get(key, ()),
            is_encrypted=seen is not None and self._vault.is_encrypted(seen.base),
            rollback_counter=record.rollback_counter or 0,
        )


def _key_of(volume: DesiredVolume) -> VolumeKey:
    return VolumeKey(volume.id, volume.generation)
