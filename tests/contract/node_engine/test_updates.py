"""An app that is to run another image: the former run goes on until it is there, and what is missing is told at once."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from eaves.node.observed import AppState, AppStatus
from eaves.testing.engine_host import EngineHost
from eaves.testing.registry import Registry

pytestmark = pytest.mark.contract

STUBBORN = ("/bin/sh", "-c", "trap '' TERM; echo up; while true; do sleep 1; done")


async def test_app_runs_on_until_its_next_image_is_there(host: EngineHost, registry: Registry) -> None:
    image, network = host.image(registry.datastore(), "shop/shell:1"), host.network()
    app = host.app("shell", image, network)
    await host.apply(images=(image,), networks=(network,), apps=(app,))
    before = await host.wait_app("shell")
    following = host.image(registry.datastore(), "shop/later:1")
    newer = msgspec.structs.replace(app, version="2", image_id=following.id)
    await host.apply(images=(image, following), apps=(newer,))
    waiting = await host.wait(AppStatus, app.id, lambda found: found.version == "2" and found.fault is not None)
    assert (waiting.state, waiting.container_id) == (AppState.RUNNING, before.container_id)
    assert waiting.waiting_for.startswith("image shop/later:1: ")
    assert waiting.interfaces == before.interfaces
    assert (await host.exec("shell", "echo"))[0] == 0
    await asyncio.to_thread(registry.push, "shop/later:1", ("sleep", "1000000"))
    after = await host.wait(
        AppStatus, app.id, lambda found: found.state is AppState.RUNNING and not found.waiting_for and not found.fault
    )
    assert after.container_id != before.container_id
    assert after.image_digest == registry.digest("shop/later:1")


async def test_a_long_stop_does_not_hide_what_comes_after_it(host: EngineHost, registry: Registry) -> None:
    image = host.image(registry.datastore(), "shop/shell:1")
    app = host.app("deaf", image, command=STUBBORN, stop_grace_s=600)
    await host.apply(images=(image,), apps=(app,))
    await host.wait_app("deaf")
    await host.wait_lines(lambda lines: bool(lines))
    restarting = msgspec.structs.replace(app, restart_counter=1)
    await host.apply(apps=(restarting,))
    stopping = await host.wait_app("deaf", AppState.RESTARTING)
    assert stopping.waiting_for == "the end of its former run"
    missing = host.image(registry.datastore(), "shop/nothing:1")
    newer = msgspec.structs.replace(restarting, version="2", image_id=missing.id)
    await host.apply(images=(image, missing), apps=(newer,))
    told = await host.wait(AppStatus, app.id, lambda found: found.version == "2" and found.fault is not None)
    assert told.state is AppState.RESTARTING
    assert told.waiting_for.startswith("image shop/nothing:1: ")


async def test_former_run_goes_on_after_a_power_cut_while_the_next_image_is_missing(
    host: EngineHost, registry: Registry
) -> None:
    image, network = host.image(registry.datastore(), "shop/shell:1"), host.network()
    app = host.app("shell", image, network)
    await host.apply(images=(image,), networks=(network,), apps=(app,))
    before = await host.wait_app("shell")
    missing = host.image(registry.datastore(), "shop/nothing:1")
    await host.apply(images=(missing,), apps=(msgspec.structs.replace(app, version="2", image_id=missing.id),))
    await host.wait(AppStatus, app.id, lambda found: found.fault is not None)
    await host.cut_power()
    await host.start()
    await host.apply()
    after = await host.wait_app("shell")
    assert (after.container_id, after.restarts) == (before.container_id, 1)
    assert after.waiting_for.startswith("image shop/nothing:1: ")
    await host.apply(images=(image,), apps=(msgspec.structs.replace(app, version="3"),))
    back = await host.wait(AppStatus, app.id, lambda found: found.version == "3" and not found.waiting_for)
    assert (back.state, back.container_id) == (AppState.RUNNING, before.container_id)


async def test_app_that_crashes_says_that_its_next_image_is_missing(host: EngineHost, registry: Registry) -> None:
    image = host.image(registry.datastore(), "shop/shell:1")
    app = host.app("bad", image, command=("/bin/sh", "-c"), args=("exit 3",))
    await host.apply(images=(image,), apps=(app,))
    await host.wait(AppStatus, app.id, lambda found: found.restarts == 2)
    missing = host.image(registry.datastore(), "shop/nothing:1")
    await host.apply(images=(image, missing), apps=(msgspec.structs.replace(app, image_id=missing.id),))
    status = await host.wait(AppStatus, app.id, lambda found: found.fault is not None)
    assert status.state in (AppState.BACK_OFF, AppState.STARTING, AppState.RUNNING)
    assert status.waiting_for.startswith("image shop/nothing:1: ")
