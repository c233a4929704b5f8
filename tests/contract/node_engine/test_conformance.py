"""What every engine of workloads promises, run over both: containers by podman, virtual machines by QEMU."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from eaves.node.desired.model import RestartPolicy
from eaves.node.observed import AppState, AppStatus
from eaves.testing.engine_host import EngineHost
from eaves.testing.file_server import FileServer
from eaves.testing.guest_image import READY
from eaves.testing.machines import serve_guest, want_machine
from eaves.testing.power import list_traces
from eaves.testing.registry import Registry
from eaves.testing.vm_host import Console

pytestmark = pytest.mark.contract

LIMIT_S = 200.0
_SCRIPT = "trap 'exit 0' TERM; echo the app is up; while :; do sleep 1000 & wait $!; done"


class Stage:
    """One app called ``one`` of a kind. ``finish`` makes it end by its own wish, with success."""

    def __init__(self, host: EngineHost) -> None:
        self.host = host
        self.first_pid = 0

    async def apply(self, **changes: Any) -> None:
        raise NotImplementedError

    async def finish(self) -> None:
        raise NotImplementedError

    up: str
    """What it writes when it is up."""

    async def boot(self, **changes: Any) -> AppStatus:
        """Apply and wait until the app itself says that it is up."""
        await self.apply(**changes)
        status = await self.wait(AppState.RUNNING)
        await self.wait_up()
        self.first_pid = self.pid()
        return status

    async def wait_up(self, times: int = 1) -> None:
        await self.host.wait_lines(lambda lines: sum(self.up in line.text for line in lines) >= times, LIMIT_S)

    async def wait(self, state: AppState, accept: Callable[[AppStatus], bool] = lambda _: True) -> AppStatus:
        return await self.host.wait(
            AppStatus, "app-one", lambda status: status.state is state and accept(status), LIMIT_S
        )

    def pid(self) -> int:
        assert self.host.manager is not None
        found = self.host.manager._pid_of("app-one")
        assert found > 0
        return found


class ContainerStage(Stage):
    up = "the app is up"

    def __init__(self, host: EngineHost, registry: Registry) -> None:
        super().__init__(host)
        self._image = host.image(registry.datastore(), "shop/shell:1")

    async def apply(self, **changes: Any) -> None:
        values: dict[str, Any] = {"command": ("/bin/sh", "-c", _SCRIPT), "stop_grace_s": 30} | changes
        app = self.host.app("one", self._image, **values)
        await self.host.apply(apps=(app,), images=(self._image,))

    async def finish(self) -> None:
        os.kill(self.first_pid, signal.SIGTERM)


class MachineStage(Stage):
    up = READY

    def __init__(self, host: EngineHost, server: FileServer) -> None:
        super().__init__(host)
        self._image = serve_guest(server, host)

    async def apply(self, **changes: Any) -> None:
        app, volumes = want_machine(self.host, "one", self._image, **changes)
        await self.host.apply(apps=(app,), images=(self._image,), volumes=volumes)

    async def finish(self) -> None:
        async with Console(self.host.instance.apps_run_dir / "app-one" / "vm" / "console.sock") as console:
            await console.type("poweroff -f\n")
            await console.drain()


@pytest.fixture(scope="session")
def guest_server() -> Iterator[FileServer]:
    with FileServer() as found:
        yield found


@pytest.fixture(params=["container", "machine"])
def stage(request: pytest.FixtureRequest, host: EngineHost, registry: Registry, guest_server: FileServer) -> Stage:
    return ContainerStage(host, registry) if request.param == "container" else MachineStage(host, guest_server)


async def test_daemons_come_and_go_and_the_workload_runs_on(stage: Stage) -> None:
    first = await stage.boot()
    pid = stage.pid()
    for _ in range(3):
        await stage.host.stop()
        await stage.host.start()
        await stage.apply()
        again = await stage.wait(AppState.RUNNING)
        assert (again.container_id, again.current, again.restarts) == (first.container_id, first.current, 0)
        assert stage.pid() == pid


async def test_it_is_stopped_started_and_removed_without_a_trace(stage: Stage) -> None:
    await stage.boot()
    pid = stage.pid()
    await stage.apply(activate=False)
    halted = await stage.wait(AppState.HALTED)
    assert halted.last is not None
    assert halted.last.reason == "Stopped"
    assert not _is_alive(pid)
    await stage.apply()
    await stage.wait(AppState.RUNNING)
    await stage.host.apply(apps=())
    await stage.host.wait_gone(AppStatus, "app-one", LIMIT_S)
    await stage.host.teardown()
    traces = list_traces(stage.host.instance)
    assert not any(traces.values()), traces


async def test_killed_workload_is_restarted_with_its_reason_shown(stage: Stage) -> None:
    first = await stage.boot()
    os.kill(stage.pid(), signal.SIGKILL)
    again = await stage.wait(AppState.RUNNING, lambda status: status.restarts == 1)
    assert again.last is not None
    assert (again.last.exit_code, again.last.reason) == (137, "Error")
    assert again.container_id == first.container_id, "with its root as it was"
    await stage.wait_up(2)
    runs = {line.run for line in stage.host.lines if stage.up in line.text}
    assert len(runs) == 2, "the log tells the runs apart"


async def test_workload_that_ends_by_itself_follows_its_restart_policy(stage: Stage) -> None:
    await stage.boot(restart_policy=RestartPolicy.ON_FAILURE)
    await stage.finish()
    over = await stage.wait(AppState.COMPLETED)
    assert over.last is not None
    assert (over.last.exit_code, over.last.reason) == (0, "Completed")
    await stage.apply(restart_policy=RestartPolicy.ON_FAILURE, restart_counter=1)
    await stage.wait(AppState.RUNNING)


async def test_end_that_comes_while_no_daemon_runs_is_known_to_the_next(stage: Stage) -> None:
    await stage.boot(restart_policy=RestartPolicy.NEVER)
    await stage.host.stop()
    await stage.finish()
    await stage.host.start()
    await stage.apply(restart_policy=RestartPolicy.NEVER)
    over = await stage.wait(AppState.COMPLETED)
    assert over.last is not None
    assert over.last.exit_code == 0


async def test_it_runs_again_after_a_power_cut(stage: Stage) -> None:
    await stage.boot()
    await stage.host.cut_power()
    stage.host.lines.clear()
    await stage.host.start()
    await stage.apply()
    again = await stage.wait(AppState.RUNNING)
    assert again.last is not None
    assert again.last.reason == "NodeRestarted"
    await stage.wait_up()


async def test_what_it_cannot_change_while_it_runs_makes_a_new_one(stage: Stage) -> None:
    first = await stage.boot()
    await stage.apply(memory_bytes=160 << 20)
    changed = await stage.wait(AppState.RUNNING, lambda status: status.container_id != first.container_id)
    assert changed.restarts == 0


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
