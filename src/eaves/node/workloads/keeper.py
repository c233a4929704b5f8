"""Keeps one app as desired: one task an app, so a bad app never holds up a good one.

The loop asks :mod:`~eaves.node.workloads.plan` what to do, has :class:`~eaves.node.workloads.lifecycle.Lifecycle` do it, tells the
observations board, and sleeps until something happens: a new config, an image or a network that became ready, the end of the
workload, the end of a pause.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from eaves.node.desired.model import DesiredApp, RestartPolicy
from eaves.node.errors import as_fault
from eaves.node.guard import keep_running
from eaves.node.observed import AppState, AppStatus, Fault, Observations
from eaves.node.statefile import StateFile
from eaves.node.workloads import plan
from eaves.node.workloads.abc import AnyEngine, Ready, Seen, WorkloadSpec
from eaves.node.workloads.errors import EngineMissingError, SpecImpossibleError
from eaves.node.workloads.lifecycle import TROUBLE, Lifecycle, Wish
from eaves.node.workloads.logs import LogFollower
from eaves.node.workloads.paths import AppFiles
from eaves.node.workloads.plan import Action, AppRecord, Blocker, Plan
from eaves.node.workloads.snapshots import find_update_snapshots, list_volumes, want_snapshots
from eaves.node.workloads.status import want_status

log = logging.getLogger(__name__)

_STARTS = (Action.CREATE, Action.START, Action.RESTART, Action.REPLACE)

FindReady = Callable[[DesiredApp], Ready | Blocker]


class Keeper:
    """``find_ready`` tells what the app's workload would get, or what is missing; ``key`` makes spec digests unguessable."""

    def __init__(
        self,
        app_id: str,
        paths: AppFiles,
        engine: AnyEngine,
        observations: Observations,
        *,
        key: bytes,
        seen: Seen | None,
        find_ready: FindReady,
        follow_log: Callable[[str, Callable[[], Seen | None]], LogFollower],
        on_change: Callable[[], None],
        on_failed_start: Callable[[], None],
    ) -> None:
        self.app_id = app_id
        self._paths = paths
        self._engine = engine
        self._observations = observations
        self._key = key
        self._find_ready = find_ready
        self._on_change = on_change
        self._app: DesiredApp | None = None
        self._ready: Ready | None = None
        self._spec: WorkloadSpec | None = None
        self._planned: Plan | None = None
        self._fault: Fault | None = None
        self._is_acting = False
        self.is_loaded = False
        """Whether the app's record has been read."""
        self._image_digest = ""
        self._wake = asyncio.Event()
        self._life = Lifecycle(
            app_id,
            engine,
            StateFile(paths.record, AppRecord),
            seen=seen,
            prepare=self._prepare_start,
            wake=self._wake.set,
            on_failed_start=on_failed_start,
        )
        self._follower = follow_log(app_id, lambda: self._life.seen)

    @property
    def seen(self) -> Seen | None:
        return self._life.seen

    @property
    def is_in_use(self) -> bool:
        """Whether the app has a workload or is getting one."""
        return self._life.seen is not None or self._is_acting

    @property
    def volumes(self) -> list[str]:
        """Folder names of the volumes that the workload has mounted."""
        return [Path(path).name for path in self._life.record.volumes] if self._life.seen else []

    @property
    def open_volumes(self) -> list[str]:
        """Those of a workload that runs or is about to: nobody else may change them now."""
        paths = list(self._life.record.volumes) if self._life.is_running or self._is_acting else []
        if self._is_acting and self._ready is not None:
            paths += self._ready.volumes.values()
        return [Path(path).name for path in paths]

    @property
    def is_updating(self) -> bool:
        """Whether the app stands still until what is to be saved before its update is saved."""
        return self._life.record.is_updating and not self._life.is_running and not self._is_acting

    def set_desired(self, app: DesiredApp | None) -> None:
        if app != self._app:
            self._app = app
            self._life.grace_s = app.stop_grace_s if app else self._life.grace_s
            self._life.restart_policy = app.restart_policy if app else RestartPolicy.ALWAYS
            self._fault = None
        self.wake()

    def wake(self) -> None:
        self._wake.set()
        self._publish_meanwhile()

    async def run(self) -> None:
        """Keep the app until it is no longer desired and all of it has been removed."""
        await asyncio.to_thread(self._paths.make)
        await self._life.load()
        self.is_loaded = True
        self._on_change()
        follow = keep_running(f"log of {self.app_id}", self._follower.run)
        follower = asyncio.create_task(follow, name=f"log {self.app_id}")
        try:
            while await self._turn():
                pass
        finally:
            follower.cancel()
            await asyncio.wait([follower])
            self._life.close()
        await self._follower.drain()
        await asyncio.to_thread(self._paths.remove)
        self._observations.remove(AppStatus, self.app_id)
        self._on_change()

    async def _turn(self) -> bool:
        """Plan and act once; False when the app is gone."""
        self._wake.clear()
        action = Action.NONE
        try:
            if await self._life.take_end():
                self._on_change()
            if self._app is not None:
                self._life.adopt(self._app)
            planned = self._plan()
            action = planned.action
            if action is Action.FORGET:
                return False
            if action is Action.NONE:
                await self._refresh_files()
                self._publish(planned)
                await self._sleep(planned.wake_in_s)
                return True
            self._publish(planned)
            self._planned = planned
            # Set before anything is awaited: from here on the app's network must not be taken away.
            self._is_acting = True
            await self._life.act(action, self._wish)
            if action in _STARTS:
                self._fault = None
        except TROUBLE as error:
            delay_s = self._note_trouble(error)
            if action not in (Action.CREATE, Action.START):
                # A start that failed waits as back-off; anything else is tried again after a pause or when something changes.
                self._wake.clear()
                await self._sleep(delay_s)
        else:
            self._on_change()
        finally:
            self._is_acting = False
        return True

    def _plan(self) -> Plan:
        app, blocker = self._app, None
        self._ready, self._spec = None, None
        if app is not None and app.activate:
            found = self._find_ready(app)
            blocker = found if isinstance(found, Blocker) else self._take_ready(app, found)
        planned = plan.plan_app(
            app,
            self._life.record,
            self._life.seen,
            wanted_digest=self._wanted_digest(),
            blocker=blocker,
            wait_s=max(self._life.wait_s, self._boot_wait_s()),
        )
        if app is None or not app.snapshots.wanted:
            return planned
        snapshot = find_update_snapshots(app, list_volumes(self._observations, app))
        return plan.plan_update(planned, self._life.record, self._life.seen, snapshot)

    def _wanted_digest(self) -> str:
        return self._spec.digest if self._spec is not None else ""

    def _take_ready(self, app: DesiredApp, ready: Ready) -> Blocker | None:
        try:
            self._spec = self._engine.want_spec(app, ready, log_path=str(self._paths.log), key=self._key)
        except (SpecImpossibleError, EngineMissingError) as error:
            since = self._fault.since if self._fault else time.time()
            self._fault = as_fault(error, since=since)
            return Blocker(AppState.FAILED, "", self._fault)
        self._ready, self._image_digest = ready, ready.image_digest
        return None

    def _wish(self) -> Wish:
        return Wish(self._app, self._spec, self._ready)

    def _boot_wait_s(self) -> float:
        """What is left of the app's delay after the node's boot."""
        if self._app is None or not self._app.start_delay_s or self._life.has_started:
            return 0.0
        return self._app.start_delay_s - time.clock_gettime(time.CLOCK_BOOTTIME)

    def _note_trouble(self, error: Exception) -> float:
        """Remember the error for the status; answers the pause before the next attempt in seconds."""
        since = self._fault.since if self._fault else time.time()
        delay_s = self._life.pause()
        self._fault = as_fault(error, since=since, retry_at=time.time() + delay_s)
        log.warning(
            "app is not as desired: app=%s code=%s error=%s", self.app_id, self._fault.code, self._fault.message
        )
        return delay_s

    async def _sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await self._wake.wait()
            return
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _prepare_start(self) -> None:
        await self._refresh_files()
        await self._follower.begin_run(secrets.token_hex(8))

    async def _refresh_files(self) -> None:
        """Bring the resolver files up to date."""
        if self._ready is not None:
            connection = self._ready.connection
            texts = {"resolv.conf": connection.resolv_conf, "hosts": connection.hosts}
            await asyncio.to_thread(self._paths.write_in_place, texts)

    def _publish_meanwhile(self) -> None:
        """A stop takes as long as the app's grace; what is asked for meanwhile is answered all the same."""
        app = self._app
        if self._is_acting and self._planned is not None and app is not None and app.activate:
            found = self._find_ready(app)
            blocker = found if isinstance(found, Blocker) else None
            self._publish(plan.plan_meanwhile(self._planned, blocker))

    def _publish(self, planned: Plan) -> None:
        app, ready = self._app, self._ready
        former = self._observations.get(AppStatus, self.app_id)
        if app is None:
            if isinstance(former, AppStatus):
                self._observations.publish(msgspec.structs.replace(former, state=AppState.HALTING))
            return
        self._observations.publish(
            want_status(
                app,
                planned,
                self._life.record,
                self._life.seen,
                image_digest=self._image_digest,
                connection=ready.connection if ready else None,
                fault=self._fault or self._engine.fault(self.app_id),
                vm=self._engine.describe(self.app_id),
                snapshots=want_snapshots(app, list_volumes(self._observations, app)),
                former=former if isinstance(former, AppStatus) else None,
                now=time.time(),
            )
        )
