"""Daemons that die, power that goes, disks that fill, and a node that is reset: apps go on, nothing is twice, nothing is left."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from pathlib import Path

import msgspec
import pytest

from eaves.kit import process
from eaves.node import pids
from eaves.node.containers import observe
from eaves.node.desired.model import DesiredVolume, RestartPolicy, VolumeMount
from eaves.node.observed import AppState, AppStatus, VolumeStatus
from eaves.node.workloads import logs
from eaves.testing import power
from eaves.testing.desired import ALLOW_ALL, map_port
from eaves.testing.engine_host import EngineHost, find_port
from eaves.testing.registry import Registry

pytestmark = pytest.mark.contract

SERVE = ("-f", "-p", "80", "-h", "/www")


async def wait_port(port: int) -> None:
    """Wait until the node port leads to an app that answers."""
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"GET / HTTP/1.0\r\n\r\n")
                answer = await reader.read()
                writer.close()
                if b"hello from eaves" in answer:
                    return
            await asyncio.sleep(0.05)


async def test_new_daemon_adopts_what_runs(host: EngineHost, registry: Registry) -> None:
    port = find_port()
    image, network = host.image(registry.datastore(), "shop/web:1"), host.network()
    app = host.app("web", image, network, acls=(map_port(port), ALLOW_ALL))
    await host.apply(images=(image,), networks=(network,), apps=(app,))
    before = await host.wait_app("web")
    await host.stop()
    await wait_port(port)
    await host.start()
    await host.apply()
    after = await host.wait(AppStatus, "app-web", lambda found: bool(found.interfaces))
    assert (after.container_id, after.restarts, after.current) == (before.container_id, 0, before.current)
    await wait_port(port)


async def test_daemon_that_dies_while_starting_apps_makes_none_twice(host: EngineHost, registry: Registry) -> None:
    image, network = host.image(registry.datastore(), "shop/web:1"), host.network()
    apps = tuple(host.app(f"web{number}", image, network) for number in range(4))
    for moment_s in (0.05, 0.15, 0.25, 0.4):
        await host.apply(images=(image,), networks=(network,), apps=apps)
        await asyncio.sleep(moment_s)
        await host.stop()
        await host.start()
    await host.apply(images=(image,), networks=(network,), apps=apps)
    for app in apps:
        await host.wait_app(app.name)
    assert host.manager is not None
    listed = await host.manager.podman.run("ps", "--all", "--format", "{{.Names}}")
    assert sorted(listed.text.split()) == sorted(f"{host.instance.name}-{app.id}" for app in apps)


@pytest.mark.parametrize("is_started", [False, True], ids=["made", "started"])
async def test_container_that_a_killed_daemon_left_half_started_is_started(
    host: EngineHost, registry: Registry, is_started: bool
) -> None:
    """Podman was killed between the runtime's work and its own note of it."""
    image = host.image(registry.datastore(), "shop/shell:1")
    await host.apply(images=(image,), apps=(host.app("shell", image),))
    before = await host.wait_app("shell")
    manager = host.manager
    assert manager is not None
    await host.stop()
    monitor_file = host.instance.apps_run_dir / "app-shell" / "monitor"
    monitor = await asyncio.to_thread(observe.load_monitor_pid, monitor_file, before.container_id)
    assert monitor
    await manager.podman.run("stop", "--time=0", before.container_id)
    # It becomes podman's clean-up, which would take a container that only waits for its start away again.
    await pids.wait_exit(monitor)
    await manager.podman.run("init", before.container_id)
    if is_started:
        await process.run([manager.host.runtime, "start", before.container_id])
    await host.start()
    await host.apply()
    after = await host.wait_app("shell")
    assert after.container_id == before.container_id, "its root is kept"
    code, _ = await host.exec("shell", "ls")
    assert code == 0
    assert await count_processes(host, "shell") == 1


async def test_podman_killed_in_the_middle_of_a_start_leaves_no_process(host: EngineHost, registry: Registry) -> None:
    """Where it dies the runtime has made the container's process, which waits for its start, and podman has not noted it."""
    image = host.image(registry.datastore(), "shop/shell:1")
    killing = asyncio.create_task(asyncio.to_thread(kill_podman_at_start, f"{host.instance.name}-app-shell"))
    await host.apply(images=(image,), apps=(host.app("shell", image),))
    await killing
    status = await host.wait_app("shell")
    monitor_file = host.instance.apps_run_dir / "app-shell" / "monitor"
    monitor = await asyncio.to_thread(observe.load_monitor_pid, monitor_file, status.container_id)
    async with asyncio.timeout(60):
        # Nobody tells when a monitor ends that is not the app's any more.
        while list_monitors(f"{host.instance.name}-app-shell") != [monitor]:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


def list_monitors(name: str) -> list[int]:
    """Those of containers of that name."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if words[0].endswith(b"conmon") and name.encode() in words and (folder / "exe").exists():
                found.append(int(folder.name))
    return found


def kill_podman_at_start(name: str) -> None:
    """Wait for the container's monitor to have a child, the runtime, and kill the podman that made both."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if any(power.list_children(pid) for pid in list_monitors(name)):
            for folder in Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError):
                    words = (folder / "cmdline").read_bytes().split(b"\0")
                    if words[0].endswith(b"podman") and b"run" in words and f"--name={name}".encode() in words:
                        os.kill(int(folder.name), signal.SIGKILL)
            return
    raise AssertionError(f"no monitor of {name} came")


async def count_processes(host: EngineHost, name: str) -> int:
    """Of the app's container and of any other that bears its id."""
    assert host.manager is not None
    listed = await host.manager.podman.run("ps", "--format", "{{.Names}}")
    return listed.text.split().count(f"{host.instance.name}-app-{name}")


async def test_apps_run_again_after_a_power_cut(host: EngineHost, registry: Registry) -> None:
    port = find_port()
    image, network = host.image(registry.datastore(), "shop/shell:1"), host.network()
    volume = DesiredVolume("volume-data", 0, "data", "", 0)
    script = "echo boot >> /data/boots; echo boot >> /boots; exec httpd -f -p 80 -h /www"
    app = host.app(
        "web",
        image,
        network,
        acls=(map_port(port), ALLOW_ALL),
        command=("/bin/sh", "-c"),
        args=(script,),
        mounts=(VolumeMount(volume.id, 0, "/data"),),
    )
    once = host.app("once", image, command=("/bin/sh", "-c"), args=("exit 0",), restart_policy=RestartPolicy.NEVER)
    await host.apply(images=(image,), networks=(network,), volumes=(volume,), apps=(app, once))
    before = await host.wait_app("web")
    await host.wait_app("once", AppState.COMPLETED)
    await host.cut_power()
    registry.stop()
    try:
        await host.start()
        await host.apply()
        after = await host.wait_app("web")
        await wait_port(port)
        assert after.interfaces == before.interfaces
        assert after.last is not None
        assert after.last.reason == "NodeRestarted"
        _, boots = await host.exec("web", "cat", "/data/boots", "/boots")
        assert boots == "boot\n" * 4, "the volume and the root have lived through it"
        await host.wait_app("once", AppState.COMPLETED)
    finally:
        await asyncio.to_thread(registry.start)


async def test_container_whose_monitor_was_killed_is_started_again(host: EngineHost, registry: Registry) -> None:
    image = host.image(registry.datastore(), "shop/shell:1")
    await host.apply(images=(image,), apps=(host.app("shell", image),))
    first = await host.wait_app("shell")
    folder = host.instance.apps_run_dir / "app-shell"
    for name in ("monitor", "pid"):
        os.kill(int((folder / name).read_text()), 9)
    again = await host.wait(AppStatus, "app-shell", lambda found: found.restarts == 1)
    assert again.container_id == first.container_id


async def test_logs_come_once_and_in_order_across_daemons_and_restarts(host: EngineHost, registry: Registry) -> None:
    image = host.image(registry.datastore(), "shop/shell:1")
    script = "n=0; while [ $n -lt 300 ]; do n=$((n+1)); echo line $n; done; echo over >&2; exit 1"
    app = host.app("writer", image, command=("/bin/sh", "-c"), args=(script,))
    await host.apply(images=(image,), apps=(app,))
    await host.wait(AppStatus, "app-writer", lambda found: found.restarts >= 1)
    await host.stop()
    await host.start()
    await host.apply()
    await host.wait(AppStatus, "app-writer", lambda found: found.restarts >= 3)
    await host.wait_lines(lambda lines: sum(line.text == "over" for line in lines) >= 4)
    unique = {line.number: line for line in host.lines}
    assert sorted(unique) == list(range(1, len(unique) + 1)), "no number is missing"
    assert len({(line.number, line.text, line.time_ns) for line in host.lines}) == len(unique), "a number is one line"
    runs = [[]]  # type: list[list[str]]
    for number in sorted(unique):
        line = unique[number]
        if line.stream == "stderr":
            runs.append([])
        else:
            runs[-1].append(line.text)
    assert all(run == [f"line {n}" for n in range(1, 301)] for run in runs[:4])


async def test_big_log_is_cut_while_the_app_writes(
    host: EngineHost, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "SEGMENT_BYTES", 100_000)
    monkeypatch.setattr(logs, "SAVE_EVERY_S", 0.05)
    image = host.image(registry.datastore(), "shop/shell:1")
    script = "n=0; while [ $n -lt 20000 ]; do n=$((n+1)); echo line $n; done; while :; do echo tick; sleep 0.1; done"
    app = host.app("writer", image, command=("/bin/sh", "-c"), args=(script,))
    await host.apply(images=(image,), apps=(app,))
    await host.wait_lines(lambda lines: len(lines) >= 20_000)
    assert [line.text for line in host.lines[:20_000]] == [f"line {number}" for number in range(1, 20_001)]
    assert [line.number for line in host.lines] == list(range(1, len(host.lines) + 1))
    folder = host.instance.logs_dir / "app-writer"
    async with asyncio.timeout(20):
        while sum(path.stat().st_size for path in folder.iterdir()) > 200_000:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.1)


async def test_volume_outlives_its_app_and_goes_when_nobody_wants_it(host: EngineHost, registry: Registry) -> None:
    image = host.image(registry.datastore(), "shop/shell:1")
    volume = DesiredVolume("volume-data", 0, "data", "", 1 << 20)
    mount = VolumeMount(volume.id, 0, "/data")
    app = host.app("shell", image, mounts=(mount,))
    await host.apply(images=(image,), volumes=(volume,), apps=(app,), config_items={"timer.gc.vdisk": "0"})
    await host.wait_app("shell")
    await host.exec("shell", "sh", "-c", "echo kept > /data/file")
    await host.apply(apps=())
    await host.wait_gone(AppStatus, "app-shell")
    await host.apply(apps=(msgspec.structs.replace(app, purge_counter=3),))
    await host.wait_app("shell")
    assert (await host.exec("shell", "cat", "/data/file"))[1] == "kept\n"
    newer = msgspec.structs.replace(volume, generation=1)
    changed = msgspec.structs.replace(app, purge_counter=3, mounts=(VolumeMount(volume.id, 1, "/data"),))
    await host.apply(volumes=(newer,), apps=(changed,))
    first = host.observations.get(AppStatus, "app-shell")
    assert isinstance(first, AppStatus)
    await host.wait(AppStatus, "app-shell", lambda found: found.container_id not in ("", first.container_id))
    await host.wait_app("shell")
    assert (await host.exec("shell", "ls", "/data"))[1] == ""
    await host.apply(volumes=(), apps=())
    await host.wait_gone(VolumeStatus, volume.id)
    async with asyncio.timeout(20):
        while list(host.instance.volumes_dir.iterdir()):  # noqa: ASYNC110 - the folder tells no one
            await asyncio.sleep(0.1)


async def test_full_disk_is_told_and_overcome(tmp_path: Path, registry: Registry) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    await process.run(["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", str(disk)])
    try:
        async with EngineHost(disk) as host:
            filler = disk / "filler"
            filler.write_bytes(b"\0" * (90 << 20))
            image = host.image(registry.datastore(), "shop/shell:1")
            await host.apply(images=(image,), apps=(host.app("shell", image),))
            status = await host.wait(AppStatus, "app-shell", lambda found: found.fault is not None)
            assert status.fault is not None
            assert status.fault.code == "StorageFull"
            filler.unlink()
            await host.wait_app("shell")
    finally:
        await process.run(["umount", "--lazy", str(disk)])


async def test_teardown_leaves_nothing(tmp_path: Path, registry: Registry) -> None:
    async with EngineHost(tmp_path) as host:
        before = power.list_traces(host.instance)
        image, network = host.image(registry.datastore(), "shop/web:1"), host.network()
        volume = DesiredVolume("volume-data", 0, "data", "", 0)
        app = host.app("web", image, network, mounts=(VolumeMount(volume.id, 0, "/data"),))
        await host.apply(images=(image,), networks=(network,), volumes=(volume,), apps=(app,))
        await host.wait_app("web")
        assert power.list_traces(host.instance) != before
        instance = host.instance
    assert not instance.data_dir.exists()
    assert not instance.run_dir.exists()
    assert not any(power.list_traces(instance).values())
