"""Starts what is planned for a volume, so that no app has meanwhile what must be left alone, and notes what was done."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from eaves.node.volumes import garbage
from eaves.node.volumes.abc import LiveDisks, VolumeUsers
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
from eaves.node.volumes.apply import Workshop
from eaves.node.volumes.jobs import Jobs
from eaves.node.volumes.model import Form, Seen, VolumeKey
from eaves.node.volumes.present import Present
from eaves.node.volumes.records import Records


class Work:
    """``closed``: volumes whose files are being worked on while no app may open them."""

    def __init__(
        self,
        workshop: Workshop,
        present: Present,
        records: Records,
        jobs: Jobs,
        live: LiveDisks,
        users: Callable[[], VolumeUsers],
    ) -> None:
        self.closed: set[VolumeKey] = set()
        self._workshop = workshop
        self._present = present
        self._records = records
        self._jobs = jobs
        self._live = live
        self._users = users

    def start(self, action: Action) -> bool:
        """Start an action, unless an app took a volume meanwhile that must be left alone; from now on none gets it."""
        seen = self._present.seen.get(action.key)
        alone = set(self._list_alone(action))
        if action.key in self.closed or any(self._jobs.current(key) for key in alone):
            return False
        users = self._users()
        if alone and (not users.is_whole or any(alone & garbage.parse_users(names) for names in users.in_use.values())):
            return False
        self.closed |= alone
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
            seen = self._present.seen.get(key)
            # Files that are copied one after the other must not change meanwhile; a machine's disks have theirs inside.
            is_copied = isinstance(action, TakeSet) and seen is not None and not seen.form.is_block
            is_offline = seen is not None and seen.form.is_block and self._live.find(seen.file) is None
            if isinstance(action, EXCLUSIVE) or is_down or is_copied or (isinstance(action, IN_PLACE) and is_offline):
                yield key

    async def _do(self, action: Action, seen: Seen | None, alone: set[VolumeKey]) -> None:
        keys = list_keys(action)
        try:
            marked = [
                key
                for key in keys
                if key in alone and key in self._present.seen and self._present.seen[key].form is Form.QCOW2
            ]
            if marked:
                await self._records.note(marked, is_working=True)
            try:
                if isinstance(action, TakeSet):
                    await self._workshop.take_set(action, [self._present.seen[key] for key in keys])
                else:
                    await self._workshop.do(action, seen)
                await self._note_done(action)
            finally:
                # Also after a failure: it may have been taken down for the work.
                for key in keys:
                    await self._present.look_again(key)
        finally:
            self.closed -= alone

    async def _note_done(self, action: Action) -> None:
        keys = list_keys(action)
        if isinstance(action, RollBack):
            await self._records.note(keys, is_working=False, rollback_counter=action.counter)
        elif isinstance(action, TakeSnapshot | TakeSet):
            await self._records.note(keys, taken=action.snapshot_id, is_working=False)
        elif self._records.find(action.key).is_working:
            await self._records.note(keys, is_working=False)
