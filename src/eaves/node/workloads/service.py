"""All apps of the node: one keeper each. Owned by ``manager``."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from eaves.kit import files
from eaves.node.desired.model import DesiredApp, DesiredNode
from eaves.node.guard import keep_running
from eaves.node.inotify import FolderWatch
from eaves.node.instance import Instance
from eaves.node.observed import AppStatus, AppUsage, LogLine, Observations
from eaves.node.statefile import StateFile
from eaves.node.volumes.observe import observe_used_bytes
from eaves.node.workloads.abc import AnyEngine, Seen, WorkloadState
from eaves.node.workloads.errors import NotRunningError
from eaves.node.workloads.interfaces import observe_interfaces
from eaves.node.workloads.keeper import FindReady, Keeper
from eaves.node.workloads.logs import Deliver, LogFollower, Position
from eaves.node.workloads.paths import find_app_files

log = logging.getLogger(__name__)

_KEY_BYTES = 32


class Apps:
    """``find_ready``: what an app's workload would get; ``deliver`` takes log lines and returns when they are safe."""

    def __init__(
        self,
        instance: Instance,
        engine: AnyEngine,
        observations: Observations,
        *,
        find_ready: FindReady,
        deliver: Deliver,
        on_change: Callable[[], None],
        on_failed_start: Callable[[], None],
    ) -> None:
        self._instance = instance
        self._engine = engine
        self._observations = observations
        self._find_ready = find_ready
        self._deliver = deliver
        self._on_change = on_change
        self._on_failed_start = on_failed_start
        self._key = b""
        self._seen: dict[str, Seen] = {}
        self._desired: dict[str, DesiredApp] | None = None
        self._keepers: dict[str, Keeper] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._folder_watch: FolderWatch | None = None
        self._wake = asyncio.Event()
        self._is_let_go = self._is_stale = False

    async def open(self) -> None:
        """Find the workloads that a former daemon left running; they go on untouched."""
        self._key = await asyncio.to_thread(_want_key, self._instance.state_dir / "spec.key")
        self._seen = await self._engine.observe()
        # A keeper of each removes it when nothing of it is left.
        for app_id in {**self._seen, **dict.fromkeys(await asyncio.to_thread(_list_folders, self._instance.apps_dir))}:
            self._observations.expect(AppStatus, app_id)

    def set_desired(self, desired: DesiredNode) -> None:
        self._is_let_go = False
        self._desired = {app.id: app for app in desired.apps}
        for app_id, keeper in self._keepers.items():
            keeper.set_desired(self._desired.get(app_id))
        self._wake.set()

    def wake(self) -> None:
        """Something that apps wait for has changed."""
        for keeper in self._keepers.values():
            keeper.wake()

    def pid(self, app_id: str) -> int:
        """Pid of the app's running workload, 0 = none."""
        seen = self._find_seen(app_id)
        return seen.pid if seen is not None and seen.state is WorkloadState.RUNNING else 0

    def find_running(self, app_id: str) -> Seen:
        """The app's running workload. Raises NotRunningError."""
        seen = self._find_seen(app_id)
        if seen is None or seen.state is not WorkloadState.RUNNING:
            why = "the node does not have the app" if app_id not in self._keepers else "the app is not running"
            raise NotRunningError(why)
        return seen

    def is_in_use(self, app_id: str) -> bool:
        keeper = self._keepers.get(app_id)
        return keeper.is_in_use if keeper else app_id in self._seen

    @property
    def is_settled(self) -> bool:
        """Whether it is known of every workload that a former daemon left what volumes it has."""
        if self._desired is None:
            return False
        keepers = [self._keepers.get(app_id) for app_id in self._seen]
        return all(keeper is not None and keeper.is_loaded for keeper in (*keepers, *self._keepers.values()))

    def volumes_held(self) -> Mapping[str, list[str]]:
        """App id → names of the volumes that its workload has, running or not."""
        return {app_id: keeper.volumes for app_id, keeper in self._keepers.items()}

    def volumes_in_use(self) -> Mapping[str, list[str]]:
        """App id → names of the volumes of a workload that runs or is about to."""
        return {app_id: keeper.open_volumes for app_id, keeper in self._keepers.items()}

    async def let_go(self) -> None:
        """Leave every workload as it is, until :meth:`set_desired` is called again: somebody else ends them."""
        self._is_let_go = self._is_stale = True
        await self._end_tasks()

    def updating(self) -> frozenset[str]:
        """Ids of apps that stand still for an update."""
        return frozenset(app_id for app_id, keeper in self._keepers.items() if keeper.is_updating)

    async def run(self) -> None:
        self._folder_watch = FolderWatch()
        self._engine.on_change = self._wake_one
        follow = asyncio.create_task(keep_running("engine", self._engine.run), name="engine")
        try:
            while True:
                self._wake.clear()
                if self._desired is not None and not self._is_let_go:
                    if self._is_stale:
                        self._seen, self._is_stale = await self._engine.observe(), False
                    await self._reconcile(self._desired)
                await self._wake.wait()
        finally:
            await self._end_tasks()
            follow.cancel()
            await asyncio.wait([follow])
            self._folder_watch.close()

    async def usages(self) -> list[AppUsage]:
        found = []
        for keeper in list(self._keepers.values()):
            status = self._observations.get(AppStatus, keeper.app_id)
            if isinstance(status, AppStatus) and (usage := await self._usage(keeper, status)):
                found.append(usage)
        return found

    async def _usage(self, keeper: Keeper, status: AppStatus) -> AppUsage | None:
        seen = keeper.seen
        used = await self._engine.usage(seen) if seen is not None else None
        if seen is None or used is None:
            return None
        interfaces = await asyncio.to_thread(
            observe_interfaces, self._instance.veth_prefix, keeper.app_id, status.interfaces
        )
        app = (self._desired or {}).get(keeper.app_id)
        root = Path(seen.root_dir) if seen.root_dir else None
        return AppUsage(
            id=status.id,
            name=status.name,
            version=status.version,
            cpu_ns=used.cpu_ns,
            memory_bytes=used.memory_bytes,
            memory_limit_bytes=app.memory_bytes if app else 0,
            disk_used_bytes=await asyncio.to_thread(observe_used_bytes, root) if root else None,
            volume_ids=status.volume_ids,
            interfaces=interfaces,
        )

    def _wake_one(self, app_id: str) -> None:
        if (keeper := self._keepers.get(app_id)) is not None:
            keeper.wake()

    def _find_seen(self, app_id: str) -> Seen | None:
        keeper = self._keepers.get(app_id)
        return keeper.seen if keeper else self._seen.get(app_id)

    async def _reconcile(self, desired: dict[str, DesiredApp]) -> None:
        """A keeper for each app that is desired or still has something here; those that are done go."""
        for app_id in [app_id for app_id, task in self._tasks.items() if task.done()]:
            del self._tasks[app_id], self._keepers[app_id]
            self._seen.pop(app_id, None)
        leftovers = await asyncio.to_thread(_list_folders, self._instance.apps_dir)
        for app_id in {**desired, **self._seen, **dict.fromkeys(leftovers)}:
            if app_id not in self._keepers:
                self._add(app_id, desired.get(app_id))

    def _add(self, app_id: str, app: DesiredApp | None) -> None:
        keeper = Keeper(
            app_id,
            find_app_files(self._instance, app_id),
            self._engine,
            self._observations,
            key=self._key,
            seen=self._seen.get(app_id),
            find_ready=self._find_ready,
            follow_log=self._follow_log,
            on_change=self._on_change,
            on_failed_start=self._on_failed_start,
        )
        keeper.set_desired(app)
        task = asyncio.create_task(keep_running(f"app {app_id}", keeper.run), name=f"app {app_id}")
        task.add_done_callback(lambda _: self._wake.set())
        self._keepers[app_id] = keeper
        self._tasks[app_id] = task

    def _follow_log(self, app_id: str, find_seen: Callable[[], Seen | None]) -> LogFollower:
        assert self._folder_watch is not None
        paths = find_app_files(self._instance, app_id)

        async def reopen() -> bool:
            seen = find_seen()
            return seen is not None and await self._engine.reopen_log(seen)

        async def deliver(lines: list[LogLine]) -> None:
            app = (self._desired or {}).get(app_id)
            if app is None or app.collect_logs:
                await self._deliver(lines)

        state = StateFile(paths.log_position, Position)
        return LogFollower(app_id, paths.logs, state, deliver, reopen, self._folder_watch)

    async def _end_tasks(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._tasks.clear()
        self._keepers.clear()


def _want_key(path: Path) -> bytes:
    """The key of spec digests; a new one makes every workload look changed, so it is kept."""
    key = files.load_file(path)
    if key is None or len(key) != _KEY_BYTES:
        key = os.urandom(_KEY_BYTES)
        files.save_file(path, key)
    return key


def _list_folders(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.is_dir()]
