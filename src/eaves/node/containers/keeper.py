"""Keeps one app as desired: one task an app, so a bad app never holds up a good one.

The loop asks :mod:`~eaves.node.containers.plan` what to do, does it, tells the observations board, and sleeps until something
happens: a new config, an image or a network that became ready, the end of the container, the end of a pause.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec import Struct

from eaves.kit import files
from eaves.kit.errors import EavesError
from eaves.node.containers import plan, spec
from eaves.node.containers.abc import Seen, WorkloadEngine, WorkloadSpec, WorkloadState
from eaves.node.containers.errors import SpecImpossibleError
from eaves.node.containers.logs import LogFollower, current_log, remove_logs
from eaves.node.containers.plan import Action, AppRecord, Blocker, Plan
from eaves.node.containers.status import want_status
from eaves.node.desired.model import DesiredApp, RestartPolicy
from eaves.node.errors import as_fault
from eaves.node.guard import keep_running
from eaves.node.networks.service import Connection
from eaves.node.observed import AppState, AppStatus, Fault, Observations, RunRecord
from eaves.node.statefile import StateFile

log = logging.getLogger(__name__)

_TROUBLE = (EavesError, OSError)
_TROUBLE_DELAY_S = 5.0


class Ready(Struct, frozen=True):
    """All that an app's container needs from others. ``volumes``: (id, generation) → path."""

    image: str
    image_digest: str
    connection: Connection
    volumes: dict[tuple[str, int], str]


FindReady = Callable[[DesiredApp], Ready | Blocker]


class AppFiles(Struct, frozen=True):
    """Where an app's things are: ``folder`` for inputs and record, ``logs`` for what it writes."""

    folder: Path
    logs: Path

    @property
    def record(self) -> Path:
        return self.folder / "record.json"

    @property
    def log_position(self) -> Path:
        return self.folder / "log.json"


class Keeper:
    """``find_ready`` tells what the app's container would get, or what is missing; ``key`` makes spec digests unguessable."""

    def __init__(
        self,
        app_id: str,
        paths: AppFiles,
        engine: WorkloadEngine,
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
        self._seen = seen
        self._find_ready = find_ready
        self._on_change = on_change
        self._on_failed_start = on_failed_start
        self._file = StateFile(paths.record, AppRecord)
        self._record = AppRecord()
        self._app: DesiredApp | None = None
        self._ready: Ready | None = None
        self._spec: WorkloadSpec | None = None
        self._planned: Plan | None = None
        self._fault: Fault | None = None
        self._start_at = 0.0
        self._has_started = False
        self._is_acting = False
        self._grace_s = 10.0
        self._image_digest = ""
        self._end_watch: asyncio.Task[Seen | None] | None = None
        self._follower = follow_log(app_id, lambda: self._seen)
        self._wake = asyncio.Event()

    @property
    def seen(self) -> Seen | None:
        return self._seen

    @property
    def is_in_use(self) -> bool:
        """Whether the app has a container or is getting one."""
        return self._seen is not None or self._is_acting

    @property
    def volumes(self) -> list[str]:
        """Folder names of the volumes that the container mounts."""
        return [Path(path).name for path in self._record.volumes] if self._seen else []

    def set_desired(self, app: DesiredApp | None) -> None:
        if app != self._app:
            self._app = app
            self._grace_s = app.stop_grace_s if app else self._grace_s
            self._fault = None
        self.wake()

    def wake(self) -> None:
        self._wake.set()
        self._publish_meanwhile()

    async def run(self) -> None:
        """Keep the app until it is no longer desired and all of it has been removed."""
        await asyncio.to_thread(self._make_folders)
        self._record = await self._file.load()
        if self._record.current is not None and (self._seen is None or self._seen.state is not WorkloadState.RUNNING):
            await self._note_end(self._seen, is_asked=False)
        follow = keep_running(f"log of {self.app_id}", self._follower.run)
        follower = asyncio.create_task(follow, name=f"log {self.app_id}")
        try:
            while await self._turn():
                pass
        finally:
            follower.cancel()
            await asyncio.wait([follower])
            if self._end_watch is not None:
                self._end_watch.cancel()
        await self._follower.drain()
        await asyncio.to_thread(self._remove_folders)
        self._observations.remove(AppStatus, self.app_id)
        self._on_change()

    async def _turn(self) -> bool:
        """Plan and act once; False when the app is gone."""
        self._wake.clear()
        action = Action.NONE
        try:
            await self._take_end()
            self._adopt()
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
            await self._act(action)
        except _TROUBLE as error:
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
        return plan.plan_app(
            app,
            self._record,
            self._seen,
            wanted_digest=self._wanted_digest(),
            blocker=blocker,
            wait_s=max(self._start_at - time.monotonic(), self._boot_wait_s()),
        )

    def _wanted_digest(self) -> str:
        return self._spec.digest if self._spec is not None else ""

    def _take_ready(self, app: DesiredApp, ready: Ready) -> Blocker | None:
        try:
            self._spec = self._want_spec(app, ready)
        except SpecImpossibleError as error:
            since = self._fault.since if self._fault else time.time()
            self._fault = as_fault(error, since=since)
            return Blocker(AppState.FAILED, "", self._fault)
        self._ready, self._image_digest = ready, ready.image_digest
        return None

    def _adopt(self) -> None:
        """A running container without a record (it was lost, or the daemon died in between) counts as started for this config."""
        app, seen, record = self._app, self._seen, self._record
        if app is None or seen is None or seen.state is not WorkloadState.RUNNING or record.current is not None:
            return
        if record.restart_counter is None:
            record.restart_counter = app.restart_counter
        record.current = RunRecord(started_at=seen.started_at)
        record.digest, record.has_run, record.is_over = seen.spec_digest, True, False

    def _boot_wait_s(self) -> float:
        """What is left of the app's delay after the node's boot."""
        if self._app is None or not self._app.start_delay_s or self._has_started:
            return 0.0
        return self._app.start_delay_s - time.clock_gettime(time.CLOCK_BOOTTIME)

    def _want_spec(self, app: DesiredApp, ready: Ready) -> WorkloadSpec:
        connection = ready.connection
        return spec.want_spec(
            app,
            image=ready.image,
            hostname=connection.hostname,
            netns=connection.netns,
            interfaces=tuple(f"{i.network_id} {i.mac} {' '.join(i.addresses)}" for i in connection.interfaces),
            volumes=ready.volumes,
            log_path=str(current_log(self._paths.logs)),
            key=self._key,
        )

    async def _act(self, action: Action) -> None:
        match action:
            case Action.CREATE | Action.START:
                await self._start()
            case Action.STOP:
                await self._stop()
            case Action.RESTART:
                await self._stop()
                await self._start()
            case Action.REPLACE:
                await self._remove()
                await self._start()
            case Action.REMOVE:
                await self._remove()

    async def _start(self) -> None:
        app, wanted, ready = self._app, self._spec, self._ready
        if app is None or not app.activate:
            return
        await self._refresh_files()
        is_new = self._seen is None
        await self._follower.begin_run(secrets.token_hex(8))
        try:
            if self._seen is not None:
                self._seen = await self._engine.start(self._seen)
            elif wanted is not None:
                self._seen = await self._engine.create(wanted)
            else:
                return
        except _TROUBLE:
            self._seen = await self._engine.observe_one(self.app_id)
            if self._seen is None or self._seen.state is not WorkloadState.RUNNING:
                if is_new:
                    # It never ran, so there is nothing in it to keep, and the next attempt shall not inherit its faults.
                    await self._engine.remove(self.app_id)
                    self._seen = None
                self._record = plan.record_start_failure(self._record, time.time())
                self._start_at = time.monotonic() + plan.want_delay_s(self._record)
                self._on_failed_start()
                raise
        volumes = list(ready.volumes.values()) if ready is not None else self._record.volumes
        if ready is None:
            # The former container, while the next image is not there.
            app = msgspec.structs.replace(app, image_id=self._record.image_id)
        self._record = plan.record_start(self._record, app, self._seen, volumes=volumes, now=time.time())
        self._fault = None
        self._has_started = True
        await self._save()
        if self._seen.state is WorkloadState.RUNNING:
            self._watch_end()
        else:
            self._seen = await self._engine.wait_end(self._seen)
            await self._note_end(self._seen, is_asked=False)

    async def _stop(self) -> None:
        seen = self._seen
        if seen is None:
            return
        self._drop_watch()
        is_running = seen.state is WorkloadState.RUNNING
        if is_running:
            self._seen = await self._engine.stop(self.app_id, self._grace_s)
        if self._app is not None and self._record.restart_counter is not None:
            # Obeyed from here on: a crash after this starts the app once, not twice.
            self._record.restart_counter = self._app.restart_counter
        self._start_at = 0.0
        if is_running or self._record.failures or self._record.is_over:
            await self._note_end(self._seen, is_asked=True)

    async def _remove(self) -> None:
        await self._stop()
        await self._engine.remove(self.app_id)
        self._seen = None
        await self._save()

    async def _take_end(self) -> None:
        """Note the end of the container if it has come."""
        watch = self._end_watch
        if watch is None:
            if self._seen is not None and self._seen.state is WorkloadState.RUNNING:
                self._watch_end()
            return
        if not watch.done():
            return
        self._end_watch = None
        try:
            self._seen = watch.result()
        except _TROUBLE as error:
            log.warning("end of container is not known: app=%s error=%s", self.app_id, error)
            self._seen = await self._engine.observe_one(self.app_id)
        if self._seen is None or self._seen.state is not WorkloadState.RUNNING:
            await self._note_end(self._seen, is_asked=False)
            self._on_change()

    async def _note_end(self, seen: Seen | None, *, is_asked: bool) -> None:
        policy = self._app.restart_policy if self._app else RestartPolicy.ALWAYS
        self._record = plan.record_end(self._record, seen, policy, is_asked=is_asked, now=time.time())
        self._start_at = time.monotonic() + plan.want_delay_s(self._record)
        await self._save()

    def _watch_end(self) -> None:
        assert self._seen is not None
        self._drop_watch()
        self._end_watch = asyncio.create_task(self._engine.wait_end(self._seen), name=f"end of {self.app_id}")
        self._end_watch.add_done_callback(lambda _: self._wake.set())

    def _drop_watch(self) -> None:
        if self._end_watch is not None:
            self._end_watch.cancel()
            self._end_watch = None

    def _note_trouble(self, error: Exception) -> float:
        """Remember the error for the status; answers the pause before the next attempt in seconds."""
        since = self._fault.since if self._fault else time.time()
        delay_s = max(self._start_at - time.monotonic(), 0.0)
        if delay_s == 0.0:
            delay_s = _TROUBLE_DELAY_S
            self._start_at = time.monotonic() + delay_s
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

    async def _save(self) -> None:
        try:
            await self._file.save(self._record)
        except OSError as error:
            log.warning("app's record is not saved: app=%s error=%s", self.app_id, error)

    async def _refresh_files(self) -> None:
        """Bring the resolver files up to date; written in place, because the container mounts the files themselves."""
        if self._ready is not None:
            connection = self._ready.connection
            texts = {"resolv.conf": connection.resolv_conf, "hosts": connection.hosts}
            await asyncio.to_thread(_write_in_place, self._paths.folder, texts)

    def _publish_meanwhile(self) -> None:
        """A stop takes as long as the app's grace; what is asked for meanwhile is answered all the same."""
        app = self._app
        if self._is_acting and self._planned is not None and app is not None and app.activate:
            found = self._find_ready(app)
            blocker = found if isinstance(found, Blocker) else None
            self._publish(plan.plan_meanwhile(self._planned, blocker))

    def _publish(self, planned: Plan) -> None:
        app, record, seen, ready = self._app, self._record, self._seen, self._ready
        if app is None:
            status = self._observations.get(AppStatus, self.app_id)
            if isinstance(status, AppStatus):
                self._observations.publish(msgspec.structs.replace(status, state=AppState.HALTING))
            return
        former = self._observations.get(AppStatus, self.app_id)
        self._observations.publish(
            want_status(
                app,
                planned,
                record,
                seen,
                image_digest=self._image_digest,
                connection=ready.connection if ready else None,
                fault=self._fault,
                former=former if isinstance(former, AppStatus) else None,
                now=time.time(),
            )
        )

    def _make_folders(self) -> None:
        files.want_folder(self._paths.folder)
        files.want_folder(self._paths.logs)

    def _remove_folders(self) -> None:
        shutil.rmtree(self._paths.folder, ignore_errors=True)
        remove_logs(self._paths.logs)


def _write_in_place(folder: Path, texts: dict[str, str]) -> None:
    for name, text in texts.items():
        path = folder / name
        raw = text.encode()
        if files.load_file(path) != raw:
            with path.open("r+b" if path.exists() else "wb") as file:
                file.write(raw)
                file.truncate()
            path.chmod(0o644)
