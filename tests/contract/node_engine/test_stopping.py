"""A daemon that goes while a container is being stopped: the next one ends the job."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from eaves.node import pids
from eaves.node.observed import AppState, AppStatus
from eaves.testing.engine_host import EngineHost
from eaves.testing.registry import Registry

pytestmark = pytest.mark.contract

STUBBORN = ("/bin/sh", "-c", "trap '' TERM; echo up; while true; do sleep 1; done")


async def start_stubborn(host: EngineHost, registry: Registry) -> int:
    """An app that ignores SIGTERM, in the middle of a restart; answers its process id."""
    image = host.image(registry.datastore(), "shop/shell:1")
    app = host.app("deaf", image, command=STUBBORN, stop_grace_s=600)
    await host.apply(images=(image,), apps=(app,))
    await host.wait_app("deaf")
    await host.wait_lines(lambda lines: bool(lines))
    assert host.manager is not None
    done = await host.manager.podman.run("inspect", f"{host.instance.name}-app-deaf", "--format", "{{.State.Pid}}")
    pid = int(done.text)
    await host.apply(apps=(msgspec.structs.replace(app, restart_counter=1),))
    await host.wait_app("deaf", AppState.RESTARTING)
    # The stop has begun once podman has written that state down; it is what a later podman finds.
    while "stopping" not in (await host.manager.podman.run("inspect", f"{host.instance.name}-app-deaf")).text:
        pass
    return pid


async def test_reset_in_the_middle_of_a_stop_leaves_no_process(host: EngineHost, registry: Registry) -> None:
    pid = await start_stubborn(host, registry)
    await host.teardown()
    assert not await asyncio.to_thread(pids.is_process, pid)


async def test_a_new_daemon_finishes_the_restart(host: EngineHost, registry: Registry) -> None:
    pid = await start_stubborn(host, registry)
    await host.stop()
    await host.start()
    app = msgspec.structs.replace(host.desired.apps[0], restart_counter=1, stop_grace_s=1)
    await host.apply(apps=(app,))
    await host.wait(
        AppStatus, "app-deaf", lambda s: s.state is AppState.RUNNING and s.restarts == 0 and bool(s.container_id)
    )
    await pids.wait_exit(pid)
    assert not await asyncio.to_thread(pids.is_process, pid)
