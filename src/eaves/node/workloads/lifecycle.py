"""Starts, stops and removes the workload of one app, notes its ends, and keeps the record of all that.

Used by the app's keeper, which says what to do; how long to wait before the next start is known here.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

import msgspec
from msgspec import Struct

from eaves.kit.errors import EavesError
from eaves.node.desired.model import DesiredApp, RestartPolicy
from eaves.node.observed import RunRecord
from eaves.node.statefile import StateFile
from eaves.node.workloads import plan
from eaves.node.workloads.abc import AnyEngine, Ready, Seen, WorkloadSpec, WorkloadState
from eaves.node.workloads.plan import Action, AppRecord

log = logging.getLogger(__name__)

TROUBLE = (EavesError, OSError)
TROUBLE_DELAY_S = 5.0


class Wish(Struct, frozen=True):
    """What is wanted of the app now; ``spec`` and ``ready`` are None while something that it needs is missing."""

    app: DesiredApp | None = None
    spec: WorkloadSpec | None = None
    ready: Ready | None = None


FindWish = Callable[[], Wish]


class Lifecycle:
    """``prepare`` is called before each start; ``wake`` when the workload has ended."""

    def __init__(
        self,
        app_id: str,
        engine: AnyEngine,
        file: StateFile[AppRecord],
        *,
        seen: Seen | None,
        prepare: Callable[[], Awaitable[None]],
        wake: Callable[[], None],
        on_failed_start: Callable[[], None],
    ) -> None:
        self._app_id = app_id
        self._engine = engine
        self._file = file
        self._prepare = prepare
        self._wake = wake
        self._on_failed_start = on_failed_start
        self._start_at = 0.0
        self._end_watch: asyncio.Task[Seen | None] | None = None
        self.seen = seen
        self.record = AppRecord()
        self.has_started = False
        self.grace_s = 10.0
        self.restart_policy = RestartPolicy.ALWAYS

    @property
    def is_running(self) -> bool:
        return self.seen is not None and self.seen.state is WorkloadState.RUNNING

    @property
    def wait_s(self) -> float:
        """What is left of the pause before the next start."""
        return self._start_at - time.monotonic()

    async def load(self) -> None:
        self.record = await self._file.load()
        if self.record.current is not None and not self.is_running:
            await self._note_end(self.seen, is_asked=False)

    def close(self) -> None:
        self._drop_watch()

    def adopt(self, app: DesiredApp) -> None:
        """A running workload without a record (it was lost, or the daemon died in between) counts as started for this config."""
        seen, record = self.seen, self.record
        if seen is None or not self.is_running or record.current is not None:
            return
        if record.restart_counter is None:
            record.restart_counter = app.restart_counter
        record.current = RunRecord(started_at=seen.started_at)
        record.digest, record.has_run, record.is_over = seen.spec_digest, True, False

    def pause(self) -> float:
        """Wait for a while after trouble; answers the pause before the next attempt in seconds."""
        delay_s = max(self.wait_s, 0.0)
        if delay_s == 0.0:
            delay_s = TROUBLE_DELAY_S
            self._start_at = time.monotonic() + delay_s
        return delay_s

    async def take_end(self) -> bool:
        """Note the end of the workload if it has come; answers whether it has."""
        watch = self._end_watch
        if watch is None:
            if self.is_running:
                self._watch_end()
            return False
        if not watch.done():
            return False
        self._end_watch = None
        try:
            self.seen = watch.result()
        except TROUBLE as error:
            log.warning("end of app is not known: app=%s error=%s", self._app_id, error)
            self.seen = await self._engine.observe_one(self._app_id)
        if self.is_running:
            return False
        await self._note_end(self.seen, is_asked=False)
        return True

    async def act(self, action: Action, find_wish: FindWish) -> None:
        """Do it. A stop takes as long as the app's grace, so the wish is looked at again before a start that follows."""
        match action:
            case Action.CREATE | Action.START:
                await self._start(find_wish())
            case Action.STOP:
                await self._stop(find_wish().app)
            case Action.STOP_FOR_UPDATE:
                # Noted first: a daemon that dies in between still knows what the stop was for.
                self.record.is_updating = True
                await self._save()
                await self._stop(find_wish().app)
            case Action.RESTART:
                await self._stop(find_wish().app)
                await self._start(find_wish())
            case Action.REPLACE:
                await self._remove(find_wish().app)
                await self._start(find_wish())
            case Action.REMOVE:
                await self._remove(find_wish().app)

    async def _start(self, wish: Wish) -> None:
        app, ready = wish.app, wish.ready
        if app is None or not app.activate:
            return
        await self._prepare()
        if not await self._try_start(wish.spec):
            return
        assert self.seen is not None
        volumes = list(ready.volumes.values()) if ready is not None else self.record.volumes
        if ready is None:
            # The former workload, while the next image is not there.
            app = msgspec.structs.replace(app, image_id=self.record.image_id)
        self.record = plan.record_start(self.record, app, self.seen, volumes=volumes, now=time.time())
        self.has_started = True
        await self._save()
        if self.is_running:
            self._watch_end()
        else:
            self.seen = await self._engine.wait_end(self.seen)
            await self._note_end(self.seen, is_asked=False)

    async def _try_start(self, spec: WorkloadSpec | None) -> bool:
        """False when there is nothing to start. A start that fails is noted and raised."""
        # One that a killed daemon had made and not started yet is as new as none: it may be whole or not.
        is_new = self.seen is None or plan.has_never_run(self.record, self.seen)
        try:
            if self.seen is not None:
                self.seen = await self._engine.start(self.seen)
            elif spec is not None:
                self.seen = await self._engine.create(spec)
            else:
                return False
        except TROUBLE:
            self.seen = await self._engine.observe_one(self._app_id)
            if not self.is_running:
                if is_new:
                    # It never ran, so there is nothing in it to keep, and the next attempt shall not inherit its faults.
                    await self._engine.remove(self._app_id)
                    self.seen = None
                self.record = plan.record_start_failure(self.record, time.time())
                self._start_at = time.monotonic() + plan.want_delay_s(self.record)
                self._on_failed_start()
                raise
        return True

    async def _stop(self, app: DesiredApp | None) -> None:
        seen = self.seen
        if seen is None:
            return
        self._drop_watch()
        is_running = self.is_running
        if is_running:
            self.seen = await self._engine.stop(self._app_id, self.grace_s)
        if app is not None and self.record.restart_counter is not None:
            # Obeyed from here on: a crash after this starts the app once, not twice.
            self.record.restart_counter = app.restart_counter
        self._start_at = 0.0
        if is_running or self.record.failures or self.record.is_over:
            await self._note_end(self.seen, is_asked=True)

    async def _remove(self, app: DesiredApp | None) -> None:
        await self._stop(app)
        await self._engine.remove(self._app_id)
        self.seen = None
        await self._save()

    async def _note_end(self, seen: Seen | None, *, is_asked: bool) -> None:
        self.record = plan.record_end(self.record, seen, self.restart_policy, is_asked=is_asked, now=time.time())
        self._start_at = time.monotonic() + plan.want_delay_s(self.record)
        await self._save()

    def _watch_end(self) -> None:
        assert self.seen is not None
        self._drop_watch()
        self._end_watch = asyncio.create_task(self._engine.wait_end(self.seen), name=f"end of {self._app_id}")
        self._end_watch.add_done_callback(lambda _: self._wake())

    def _drop_watch(self) -> None:
        if self._end_watch is not None:
            self._end_watch.cancel()
            self._end_watch = None

    async def _save(self) -> None:
        try:
            await self._file.save(self.record)
        except OSError as error:
            log.warning("app's record is not saved: app=%s error=%s", self._app_id, error)
