"""Containers by the OCI runtime that nodes with the one hierarchy of control groups take, crun: commands in them, logs, ends."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from eaves.node.desired.vm_model import Isolation
from eaves.node.observed import AppState, AppStatus
from eaves.testing.engine_host import EngineHost
from eaves.testing.registry import Registry
from tests.contract.node_engine.test_sessions import check_command, check_end_with_user, check_terminal, start_app

pytestmark = pytest.mark.soak


@pytest.fixture
async def crun(host: EngineHost, registry: Registry) -> EngineHost:
    """The app ``shell`` runs."""
    assert host.manager is not None
    assert host.manager.host.runtime == "crun"
    await start_app(host, registry, Isolation.PROCESS)
    return host


async def test_a_terminal_is_one(crun: EngineHost) -> None:
    await check_terminal(crun)


async def test_a_command_ends_with_its_user(crun: EngineHost) -> None:
    await check_end_with_user(crun)


async def test_commands_run_as_the_app_does_logs_come_and_a_stop_is_an_end(crun: EngineHost) -> None:
    await check_command(crun)
    await crun.wait_lines(lambda lines: [line.text for line in lines].count("tick") > 2)
    (app,) = crun.desired.apps
    await crun.apply(apps=(replace(app, activate=False),))
    halted = await crun.wait_app("shell", AppState.HALTED)
    assert halted.last is not None
    # A shell that is the first process hears no SIGTERM, so the runtime killed it after its time.
    assert halted.last.exit_code == 137
    await crun.apply(apps=(app,))
    await crun.wait_app("shell")
    await crun.apply(apps=())
    await crun.wait_gone(AppStatus, "app-shell")
