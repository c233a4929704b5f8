"""Runs the actions of volumes, one at a time for each volume, and remembers what failed. Owned by ``service``."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Sequence

from msgspec import Struct

from eaves.kit.errors import EavesError
from eaves.kit.retry import Backoff
from eaves.node.errors import as_fault
from eaves.node.observed import Fault
from eaves.node.volumes.errors import VolumeError
from eaves.node.volumes.model import VolumeKey

log = logging.getLogger(__name__)

_PARALLEL = 4
_PARALLEL_COPIES = 2
_FIRST_DELAY_S, _LIMIT_DELAY_S = 1.0, 60.0

TROUBLE = (EavesError, OSError)


class Trouble(Struct):
    """What went wrong with one kind of work on one volume. ``what`` was tried; ``retry_at``: monotonic seconds."""

    what: object
    fault: Fault
    retry_at: float
    backoff: Backoff


class Jobs:
    """``on_end`` is called whenever a job has ended."""

    def __init__(self, on_end: Callable[[], None]) -> None:
        self._on_end = on_end
        self._tasks: dict[VolumeKey, tuple[str, asyncio.Task[None]]] = {}
        self._troubles: dict[tuple[VolumeKey, str], Trouble] = {}
        self._slots = asyncio.Semaphore(_PARALLEL)
        self._copies = asyncio.Semaphore(_PARALLEL_COPIES)

    def current(self, key: VolumeKey) -> str:
        """The work that is being done to the volume, empty = none."""
        found = self._tasks.get(key)
        return found[0] if found else ""

    def is_due(self, key: VolumeKey, work: str, what: object = None) -> bool:
        """Whether it has not failed lately; what is asked for differently now is tried at once."""
        trouble = self._troubles.get((key, work))
        return trouble is None or trouble.what != what or trouble.retry_at <= time.monotonic()

    def start(
        self,
        key: VolumeKey,
        work: str,
        run: Callable[[], Awaitable[None]],
        *,
        what: object = None,
        is_long: bool = False,
        others: Sequence[VolumeKey] = (),
    ) -> None:
        """Do ``work``, which is to bring about ``what``; the volume, and ``others`` that it is done to, must have none at the moment."""
        keys = (key, *others)
        assert not any(found in self._tasks for found in keys)
        slots = self._copies if is_long else self._slots
        task = asyncio.create_task(self._run(keys, work, what, run, slots), name=f"volume {key.folder}")
        for found in keys:
            self._tasks[found] = (work, task)
        task.add_done_callback(lambda _: self._end(keys))

    def faults(self, key: VolumeKey) -> dict[str, Fault]:
        """What failed on the volume, by its work."""
        return {work: trouble.fault for (owner, work), trouble in self._troubles.items() if owner == key}

    def keep(self, key: VolumeKey, planned: Collection[str]) -> None:
        """Forget the failures of work that nobody plans any more."""
        for owner, work in list(self._troubles):
            if owner == key and work not in planned:
                del self._troubles[owner, work]

    def next_in_s(self) -> float | None:
        """When the next attempt is due; None when nothing failed."""
        now = time.monotonic()
        return min((max(trouble.retry_at - now, 0.05) for trouble in self._troubles.values()), default=None)

    async def cancel(self) -> None:
        tasks = {task for _, task in self._tasks.values()}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _run(
        self,
        keys: Sequence[VolumeKey],
        work: str,
        what: object,
        run: Callable[[], Awaitable[None]],
        slots: asyncio.Semaphore,
    ) -> None:
        async with slots:
            try:
                await run()
            except TROUBLE as error:
                for key in keys:
                    self._note(key, work, what, error)
            else:
                for key in keys:
                    self._troubles.pop((key, work), None)

    def _note(self, key: VolumeKey, work: str, what: object, error: Exception) -> None:
        former = self._troubles.get((key, work))
        backoff = former.backoff if former else Backoff(_FIRST_DELAY_S, _LIMIT_DELAY_S)
        delay_s = backoff.next_s()
        is_final = isinstance(error, VolumeError) and not error.retryable
        fault = as_fault(
            error,
            since=former.fault.since if former else time.time(),
            retry_at=0.0 if is_final else time.time() + delay_s,
        )
        self._troubles[key, work] = Trouble(
            what, fault, time.monotonic() + (_LIMIT_DELAY_S if is_final else delay_s), backoff
        )
        log.warning("volume is not as desired: volume=%s code=%s error=%s", key.folder, fault.code, fault.message)

    def _end(self, keys: Sequence[VolumeKey]) -> None:
        for key in keys:
            del self._tasks[key]
        self._on_end()
