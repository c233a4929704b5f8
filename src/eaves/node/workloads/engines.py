"""The engines of this node as one: picks by the app's kind, and finds the one that has a workload already.

An app that changes its kind gets another digest, hence is replaced: removed where it is, created where it is wanted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from eaves.node.desired.model import AppKind, DesiredApp
from eaves.node.desired.vm_model import Isolation
from eaves.node.guard import keep_running
from eaves.node.observed import Fault
from eaves.node.observed_vm import VmStatus
from eaves.node.workloads.abc import AnyEngine, EngineKind, Ready, Seen, Usage, WorkloadEngine, WorkloadSpec
from eaves.node.workloads.errors import EngineMissingError
from eaves.node.workloads.sessions import Command, Session


def pick_engine(app: DesiredApp) -> EngineKind:
    """Which kind of engine runs ``app``."""
    is_apart = app.kind is AppKind.VIRTUAL_MACHINE or app.isolation is Isolation.VM
    return EngineKind.VM if is_apart else EngineKind.CONTAINER


class EngineSet(WorkloadEngine[WorkloadSpec]):
    def __init__(self, engines: Mapping[EngineKind, AnyEngine]) -> None:
        self._engines = dict(engines)
        self._kinds: dict[str, EngineKind] = {}

    def want_spec(self, app: DesiredApp, ready: Ready, *, log_path: str, key: bytes) -> WorkloadSpec:
        kind = pick_engine(app)
        engine = self._engines.get(kind)
        if engine is None:
            raise EngineMissingError(
                f"app {app.name} is of kind {app.kind}, which this node does not run", element=f"app {app.name}"
            )
        if app.id not in self._kinds:
            # Nothing of it is here yet, so this is where it will be made.
            self._kinds[app.id] = kind
        spec: WorkloadSpec = engine.want_spec(app, ready, log_path=log_path, key=key)
        return spec

    async def observe(self) -> dict[str, Seen]:
        found: dict[str, Seen] = {}
        for engine in self._engines.values():
            found |= await engine.observe()
        self._kinds |= {app_id: seen.engine for app_id, seen in found.items()}
        return found

    async def observe_one(self, app_id: str) -> Seen | None:
        for engine in self._holders(app_id):
            if (seen := await engine.observe_one(app_id)) is not None:
                return seen
        return None

    async def create(self, spec: WorkloadSpec) -> Seen:
        self._kinds[spec.app_id] = spec.engine
        return await self._engines[spec.engine].create(spec)

    async def start(self, seen: Seen) -> Seen:
        return await self._engines[seen.engine].start(seen)

    async def stop(self, app_id: str, grace_s: float) -> Seen | None:
        for engine in self._holders(app_id):
            if (seen := await engine.stop(app_id, grace_s)) is not None:
                return seen
        return None

    async def remove(self, app_id: str) -> None:
        for engine in self._holders(app_id):
            await engine.remove(app_id)
        self._kinds.pop(app_id, None)

    async def wait_end(self, seen: Seen) -> Seen | None:
        return await self._engines[seen.engine].wait_end(seen)

    async def reopen_log(self, seen: Seen) -> bool:
        return await self._engines[seen.engine].reopen_log(seen)

    async def usage(self, seen: Seen) -> Usage | None:
        return await self._engines[seen.engine].usage(seen)

    async def run(self) -> None:
        for engine in self._engines.values():
            engine.on_change = self.on_change
        async with asyncio.TaskGroup() as group:
            for kind, engine in self._engines.items():
                group.create_task(keep_running(f"engine {kind}", engine.run), name=f"engine {kind}")

    def describe(self, app_id: str) -> VmStatus | None:
        kind = self._kinds.get(app_id)
        return self._engines[kind].describe(app_id) if kind is not None else None

    def fault(self, app_id: str) -> Fault | None:
        kind = self._kinds.get(app_id)
        return self._engines[kind].fault(app_id) if kind is not None else None

    async def exec(self, seen: Seen, command: Command) -> Session:
        return await self._engines[seen.engine].exec(seen, command)

    async def attach(self, seen: Seen, *, stdin: bool) -> Session:
        return await self._engines[seen.engine].attach(seen, stdin=stdin)

    async def teardown(self) -> None:
        for engine in self._engines.values():
            await engine.teardown()

    def _holders(self, app_id: str) -> list[AnyEngine]:
        """The engine that has the app's workload; all, while that is not known."""
        kind = self._kinds.get(app_id)
        return [self._engines[kind]] if kind is not None else list(self._engines.values())
