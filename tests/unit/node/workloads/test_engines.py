"""Engines of several kinds as one: an app is made where its kind belongs and removed where it is."""

from __future__ import annotations

import msgspec
import pytest

from eaves.node.desired.model import AppKind, DesiredApp
from eaves.node.networks.connection import Connection
from eaves.node.workloads.abc import EngineKind, Ready, Seen, Usage, WorkloadEngine, WorkloadSpec, WorkloadState
from eaves.node.workloads.engines import EngineSet
from eaves.node.workloads.errors import EngineMissingError

READY = Ready("", "", Connection("", "", "", "", ()), {})
APP = DesiredApp(
    id="app",
    version="1",
    name="app",
    namespace="default",
    kind=AppKind.CONTAINER,
    activate=True,
    image_id="image",
    root_volume_id="root",
    root_generation=0,
    memory_bytes=0,
    cpu_millis=0,
)
MACHINE = msgspec.structs.replace(APP, kind=AppKind.VIRTUAL_MACHINE)


class MemoryEngine(WorkloadEngine[WorkloadSpec]):
    """Holds its workloads in memory."""

    def __init__(self, kind: EngineKind) -> None:
        self.kind = kind
        self.held: dict[str, Seen] = {}

    def want_spec(self, app: DesiredApp, ready: Ready, *, log_path: str, key: bytes) -> WorkloadSpec:
        return WorkloadSpec(app_id=app.id, engine=self.kind, digest=self.kind)

    async def observe(self) -> dict[str, Seen]:
        return dict(self.held)

    async def observe_one(self, app_id: str) -> Seen | None:
        return self.held.get(app_id)

    async def create(self, spec: WorkloadSpec) -> Seen:
        seen = Seen(spec.app_id, "w", WorkloadState.RUNNING, spec.digest, engine=self.kind)
        self.held[spec.app_id] = seen
        return seen

    async def start(self, seen: Seen) -> Seen:
        assert seen.app_id in self.held
        return seen

    async def stop(self, app_id: str, grace_s: float) -> Seen | None:
        return self.held.get(app_id)

    async def remove(self, app_id: str) -> None:
        self.held.pop(app_id, None)

    async def wait_end(self, seen: Seen) -> Seen | None:
        return self.held.get(seen.app_id)

    async def reopen_log(self, seen: Seen) -> bool:
        return seen.app_id in self.held

    async def usage(self, seen: Seen) -> Usage | None:
        return None

    async def teardown(self) -> None:
        self.held.clear()


@pytest.fixture
def engines() -> dict[EngineKind, MemoryEngine]:
    return {kind: MemoryEngine(kind) for kind in EngineKind}


def want(engine: EngineSet, app: DesiredApp) -> WorkloadSpec:
    return engine.want_spec(app, READY, log_path="", key=b"")


@pytest.mark.parametrize(("app", "kind"), [(APP, EngineKind.CONTAINER), (MACHINE, EngineKind.VM)])
async def test_an_app_is_made_where_its_kind_belongs(
    engines: dict[EngineKind, MemoryEngine], app: DesiredApp, kind: EngineKind
) -> None:
    seen = await EngineSet(engines).create(want(EngineSet(engines), app))
    assert seen.engine is kind
    assert [found for found, engine in engines.items() if engine.held] == [kind]


async def test_an_app_that_changes_its_kind_is_removed_where_it_was(engines: dict[EngineKind, MemoryEngine]) -> None:
    await EngineSet(engines).create(want(EngineSet(engines), APP))
    fresh = EngineSet(engines)
    assert set(await fresh.observe()) == {"app"}
    wanted = want(fresh, MACHINE)
    assert wanted.digest != (await fresh.observe())["app"].spec_digest
    await fresh.remove("app")
    await fresh.create(wanted)
    assert not engines[EngineKind.CONTAINER].held
    assert "app" in engines[EngineKind.VM].held


async def test_an_app_of_unknown_place_is_removed_from_everywhere(engines: dict[EngineKind, MemoryEngine]) -> None:
    for engine in engines.values():
        await engine.create(engine.want_spec(APP, READY, log_path="", key=b""))
    await EngineSet(engines).remove("app")
    assert not any(engine.held for engine in engines.values())


async def test_a_kind_without_an_engine_is_refused_with_a_reason(engines: dict[EngineKind, MemoryEngine]) -> None:
    engine = EngineSet({EngineKind.CONTAINER: engines[EngineKind.CONTAINER]})
    with pytest.raises(EngineMissingError, match="VirtualMachine"):
        want(engine, MACHINE)
