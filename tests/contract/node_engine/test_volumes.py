"""Volumes as containers meet them."""

from __future__ import annotations

import os
from typing import Any

import msgspec

from eaves.node.desired.model import DesiredApp, DesiredVolume, VolumeMount, VolumeRollback, VolumeSnapshotWish
from eaves.node.observed import AppState, AppStatus, SnapshotState, VolumeState, VolumeStatus
from eaves.testing.engine_host import EngineHost
from eaves.testing.registry import Registry

MIB = 1 << 20
DAILY = VolumeSnapshotWish("s1", "daily")


def volume(name: str = "data", **changes: Any) -> DesiredVolume:
    values: dict[str, Any] = {
        "id": f"volume-{name}",
        "generation": 0,
        "name": name,
        "image_id": "",
        "size_bytes": 16 * MIB,
    }
    return DesiredVolume(**(values | changes))


def mount(wish: DesiredVolume, *, read_only: bool = False) -> tuple[VolumeMount, ...]:
    return (VolumeMount(wish.id, wish.generation, "/data", read_only),)


async def read(host: EngineHost, app: str, path: str) -> str:
    return (await host.exec(app, "cat", path))[1].strip()


async def stop(host: EngineHost, app: DesiredApp, *others: DesiredApp) -> None:
    await host.apply(apps=(msgspec.structs.replace(app, activate=False), *others))
    await host.wait_app(app.name, AppState.HALTED)


async def test_container_that_outgrows_its_volume_is_told_and_harms_nobody(
    host: EngineHost, registry: Registry
) -> None:
    image = host.image(registry.datastore(), "shop/shell:1")
    small, other = volume(), volume("other")
    apps = (host.app("greedy", image, mounts=mount(small)), host.app("modest", image, mounts=mount(other)))
    await host.apply(images=(image,), volumes=(small, other), apps=apps)
    for app in apps:
        await host.wait_app(app.name)
    code, text = await host.exec("greedy", "dd", "if=/dev/zero", "of=/data/big", "bs=64k", "count=1000")
    assert code != 0
    assert "No space left on device" in text
    status = await host.wait(VolumeStatus, small.id, lambda found: found.fault is not None)
    assert status.fault is not None
    assert (status.fault.code, status.state, status.users) == ("VolumeFull", VolumeState.READY, ("greedy",))
    assert (await host.exec("modest", "sh", "-c", "echo fine > /data/file"))[0] == 0
    assert (await host.wait_app("greedy")).restarts == 0
    await host.apply(volumes=(msgspec.structs.replace(small, size_bytes=64 * MIB), other))
    if status.enforcement == "Image":
        # Where the daemon may exceed limits it grows at once; else it waits for the app to stop and says so.
        grown = await host.wait(
            VolumeStatus,
            small.id,
            lambda found: (
                found.size_bytes == 64 * MIB or (found.fault is not None and found.fault.code == "VolumeInUse")
            ),
        )
        if grown.size_bytes != 64 * MIB:
            await stop(host, apps[0], apps[1])
            await host.wait(VolumeStatus, small.id, lambda found: found.size_bytes == 64 * MIB)
            await host.apply(apps=apps)
            await host.wait_app("greedy")
    code, text = await host.exec("greedy", "dd", "if=/dev/zero", "of=/data/more", "bs=1M", "count=30")
    assert (code, "No space" in text) == (0, False), text


async def test_snapshot_rollback_and_copy_of_a_database(host: EngineHost, registry: Registry) -> None:
    image = host.image(registry.datastore(), "shop/shell:1")
    wish = volume(snapshots=(DAILY,))
    app = host.app("db", image, mounts=mount(wish))
    await host.apply(images=(image,), volumes=(msgspec.structs.replace(wish, snapshots=()),), apps=(app,))
    await host.wait_app("db")
    await host.exec("db", "sh", "-c", "echo good > /data/rows; sync")
    await host.apply(volumes=(wish,))
    await host.wait(
        VolumeStatus, wish.id, lambda found: bool(found.snapshots) and found.snapshots[0].state is SnapshotState.READY
    )
    await host.exec("db", "sh", "-c", "echo bad > /data/rows")
    copied = volume("copied", copy_of=wish.id, copy_of_snapshot="s1")
    reader = host.app("reader", image, mounts=mount(copied))
    await host.apply(volumes=(wish, copied), apps=(app, reader))
    await host.wait_app("reader")
    assert await read(host, "reader", "/data/rows") == "good"
    back = msgspec.structs.replace(wish, rollback=VolumeRollback("s1", 1))
    await host.apply(volumes=(back, copied))
    waiting = await host.wait(VolumeStatus, wish.id, lambda found: found.fault is not None)
    assert waiting.fault is not None
    assert "app db" in waiting.fault.message
    assert await read(host, "db", "/data/rows") == "bad", "nothing is taken from under an app that runs"
    await stop(host, app, reader)
    await host.apply(apps=(app, reader))
    await host.wait(VolumeStatus, wish.id, lambda found: found.rollback_counter == 1)
    await host.wait_app("db")
    assert await read(host, "db", "/data/rows") == "good"


async def test_volume_moves_from_app_to_app_and_never_has_two_writers(host: EngineHost, registry: Registry) -> None:
    image = host.image(registry.datastore(), "shop/shell:1")
    wish = volume()
    first, second = (host.app(name, image, mounts=mount(wish)) for name in ("first", "second"))
    reader = host.app("reader", image, mounts=mount(wish, read_only=True))
    await host.apply(images=(image,), volumes=(wish,), apps=(first, second, reader))
    await host.wait_app("first")
    await host.exec("first", "sh", "-c", "echo kept > /data/file")
    waiting = await host.wait(AppStatus, "app-second", lambda found: "in use" in found.waiting_for)
    assert "app first" in waiting.waiting_for
    assert waiting.fault is not None
    assert (waiting.fault.code, bool(waiting.fault.resolution)) == ("VolumeInUse", True)
    await host.wait_app("reader")
    await stop(host, first, second, reader)
    await host.wait_app("second")
    assert await read(host, "second", "/data/file") == "kept"
    await host.apply(apps=(first, second, reader))
    back = await host.wait(AppStatus, "app-first", lambda found: "in use" in found.waiting_for)
    assert "app second" in back.waiting_for, "who has it keeps it"
    await host.apply(apps=(first, reader))
    await host.wait_app("first")
    assert await read(host, "first", "/data/file") == "kept"


async def test_shared_volume_has_many_writers(host: EngineHost, registry: Registry) -> None:
    image = host.image(registry.datastore(), "shop/shell:1")
    wish = volume(is_shared=True)
    apps = tuple(host.app(name, image, mounts=mount(wish)) for name in ("first", "second"))
    await host.apply(images=(image,), volumes=(wish,), apps=apps)
    for app in apps:
        await host.wait_app(app.name)
    await host.exec("first", "sh", "-c", "echo hello > /data/file")
    assert await read(host, "second", "/data/file") == "hello"


async def test_volume_is_filled_from_a_container_image(host: EngineHost, registry: Registry) -> None:
    image = host.image(registry.datastore(), "shop/shell:1")
    seed = host.image(registry.datastore(), "shop/web:1")
    wish = volume(image_id=seed.id, is_explicit=True, size_bytes=64 * MIB)
    app = host.app("shell", image, mounts=mount(wish))
    await host.apply(images=(image, seed), volumes=(wish,), apps=(app,))
    await host.wait_app("shell")
    assert await read(host, "shell", "/data/www/index.html") == "hello from eaves"
    await host.exec("shell", "sh", "-c", "echo changed > /data/www/index.html")
    await host.apply(apps=(msgspec.structs.replace(app, purge_counter=1),))
    await host.wait(AppStatus, "app-shell", lambda found: found.state is AppState.RUNNING and found.restarts == 0)
    assert await read(host, "shell", "/data/www/index.html") == "changed", "it is filled once"


async def test_sized_volume_and_its_app_come_back_after_a_power_cut(host: EngineHost, registry: Registry) -> None:
    image = host.image(registry.datastore(), "shop/shell:1")
    wish = volume()
    app = host.app("db", image, mounts=mount(wish))
    await host.apply(images=(image,), volumes=(wish,), apps=(app,))
    await host.wait_app("db")
    await host.exec("db", "sh", "-c", "echo kept > /data/file; sync")
    os.sync()
    await host.cut_power()
    await host.start()
    await host.apply()
    await host.wait_app("db")
    assert await read(host, "db", "/data/file") == "kept"


async def test_daemon_that_starts_anew_leaves_app_and_volume_alone(host: EngineHost, registry: Registry) -> None:
    image = host.image(registry.datastore(), "shop/shell:1")
    wish = volume()
    app = host.app("db", image, mounts=mount(wish))
    await host.apply(images=(image,), volumes=(wish,), apps=(app,), config_items={"timer.gc.vdisk": "0"})
    before = await host.wait_app("db")
    await host.stop()
    await host.start()
    await host.apply(volumes=(), apps=(app,))
    again = await host.wait_app("db")
    assert (again.container_id, again.restarts) == (before.container_id, 0)
    assert (await host.exec("db", "sh", "-c", "echo still > /data/file"))[0] == 0, "what an app has is never deleted"
    await host.apply(volumes=(wish,))
    await host.wait(VolumeStatus, wish.id, lambda found: found.state is VolumeState.READY)
    assert await read(host, "db", "/data/file") == "still"
