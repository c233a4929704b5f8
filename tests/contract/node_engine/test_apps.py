"""One app from config to HTTP answer and back, against real podman, nft and dnsmasq."""

from __future__ import annotations

import asyncio
import os
import urllib.request

import pytest

from eaves.node.desired.model import FileToWrite, RestartPolicy, Secret
from eaves.node.observed import AppState, AppStatus
from eaves.testing.desired import ALLOW_ALL, map_port
from eaves.testing.engine_host import EngineHost, find_port
from eaves.testing.registry import Registry

pytestmark = pytest.mark.contract


async def fetch(port: int, host: str = "127.0.0.1", path: str = "/") -> str:
    def get() -> str:
        with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=5) as answer:
            return str(answer.read().decode())

    return await asyncio.to_thread(get)


async def test_app_answers_http_on_its_node_port(host: EngineHost, registry: Registry) -> None:
    port = find_port()
    image, network = host.image(registry.datastore(), "shop/web:1"), host.network()
    app = host.app("web", image, network, acls=(map_port(port), ALLOW_ALL))
    await host.apply(images=(image,), networks=(network,), apps=(app,))
    status = await host.wait_app("web")
    assert await fetch(port) == "hello from eaves\n"
    assert await fetch(port, "localhost") == "hello from eaves\n"
    assert status.image_digest == registry.digest("shop/web:1")
    assert status.restarts == 0
    assert status.current is not None


async def test_app_gets_env_files_command_and_working_dir(host: EngineHost, registry: Registry) -> None:
    image = host.image(registry.datastore(), "shop/shell:1")
    script = "env; cat /etc/app.conf; pwd; id -u; echo end; sleep 1000"
    app = host.app(
        "shell",
        image,
        command=("/bin/sh", "-c"),
        args=(script,),
        working_dir="/data",
        env={"PLAIN": Secret("a b"), "LINES": Secret("one\ntwo"), "PATH": Secret("/bin:/odd"), "EMPTY": Secret("")},
        files=(FileToWrite("/etc/app.conf", b"key = value\n", 0o600),),
    )
    await host.apply(images=(image,), apps=(app,))
    await host.wait_app("shell")
    await host.wait_lines(lambda lines: any(line.text == "end" for line in lines))
    texts = [line.text for line in host.lines]
    assert {"PLAIN=a b", "LINES=one", "two", "PATH=/bin:/odd", "EMPTY=", "key = value", "/data"} <= set(texts)
    assert [line.number for line in host.lines] == list(range(1, len(texts) + 1))


async def test_removed_app_leaves_nothing(host: EngineHost, registry: Registry) -> None:
    image, network = host.image(registry.datastore(), "shop/web:1"), host.network()
    await host.apply(images=(image,), networks=(network,), apps=(host.app("web", image, network),))
    await host.wait_app("web")
    await host.apply(apps=())
    await host.wait_gone(AppStatus, "app-web")
    assert host.manager is not None
    listed = await host.manager.podman.run("ps", "--all", "--quiet")
    assert listed.text == ""
    assert list(host.instance.apps_dir.iterdir()) == []
    assert list(host.instance.logs_dir.iterdir()) == []


async def test_failing_app_is_restarted_with_growing_pauses(host: EngineHost, registry: Registry) -> None:
    image = host.image(registry.datastore(), "shop/shell:1")
    app = host.app("bad", image, command=("/bin/sh", "-c"), args=("echo run; exit 3",))
    await host.apply(images=(image,), apps=(app,))
    status = await host.wait(AppStatus, "app-bad", lambda found: found.restarts == 2)
    assert status.last is not None
    assert (status.last.exit_code, status.last.reason) == (3, "Error")
    status = await host.wait_app("bad", AppState.BACK_OFF)
    assert status.next_start_at > 0


async def test_completed_app_is_not_started_again(host: EngineHost, registry: Registry) -> None:
    image = host.image(registry.datastore(), "shop/shell:1")
    app = host.app("once", image, command=("/bin/sh", "-c"), args=("exit 0",), restart_policy=RestartPolicy.ON_FAILURE)
    await host.apply(images=(image,), apps=(app,))
    await host.wait_app("once", AppState.COMPLETED)
    await host.stop()
    await host.start()
    await host.apply()
    status = await host.wait_app("once", AppState.COMPLETED)
    assert status.restarts == 0


async def test_app_killed_for_memory_says_so(host: EngineHost, registry: Registry) -> None:
    image = host.image(registry.datastore(), "shop/shell:1")
    hog = "a=x; while :; do a=$a$a; done"
    app = host.app("hog", image, command=("/bin/sh", "-c"), args=(hog,), memory_bytes=16 << 20)
    await host.apply(images=(image,), apps=(app,))
    status = await host.wait(AppStatus, "app-hog", lambda found: found.last is not None)
    assert status.last is not None
    assert (status.last.exit_code, status.last.reason) == (137, "OOMKilled")
    assert "oom" not in await asyncio.to_thread(os.listdir), "the monitor's mark lies in the node's own folder"


async def test_stop_start_restart_and_purge(host: EngineHost, registry: Registry) -> None:
    image = host.image(registry.datastore(), "shop/shell:1")
    script = "echo boot >> /mark; cat /mark | while read x; do echo mark; done; echo up; exec sleep 1000"
    app = host.app("shell", image, command=("/bin/sh", "-c"), args=(script,))

    async def wait_ups(count: int) -> int:
        await host.wait_lines(lambda lines: sum(line.text == "up" for line in lines) >= count)
        return sum(line.text == "mark" for line in host.lines)

    await host.apply(images=(image,), apps=(app,))
    assert await wait_ups(1) == 1
    await host.apply(apps=(host.app("shell", image, command=app.command, args=app.args, activate=False),))
    status = await host.wait_app("shell", AppState.HALTED)
    assert status.last is not None
    assert status.last.reason == "Stopped"
    await host.apply(apps=(app,))
    assert await wait_ups(2) == 1 + 2, "a restart keeps the root"
    await host.apply(apps=(host.app("shell", image, command=app.command, args=app.args, restart_counter=1),))
    assert await wait_ups(3) == 1 + 2 + 3
    await host.apply(
        apps=(host.app("shell", image, command=app.command, args=app.args, restart_counter=1, purge_counter=1),)
    )
    assert await wait_ups(4) == 1 + 2 + 3 + 1, "a purge makes a new root"


async def test_an_app_whose_image_never_came_is_purged_and_runs_another(host: EngineHost, registry: Registry) -> None:
    missing, image = (host.image(registry.datastore(), f"shop/{name}:1") for name in ("nothing", "shell"))
    await host.apply(images=(missing,), apps=(host.app("shell", missing),))
    await host.wait(AppStatus, "app-shell", lambda found: found.fault is not None)
    await host.apply(images=(image,), apps=(host.app("shell", image, purge_counter=1),))
    status = await host.wait_app("shell")
    assert status.fault is None


async def test_bad_app_does_not_stop_a_good_one(host: EngineHost, registry: Registry) -> None:
    image = host.image(registry.datastore(), "shop/shell:1")
    missing = host.image(registry.datastore(), "shop/nothing:1")
    apps = (
        host.app("good", image),
        host.app("noimage", missing),
        host.app("nocommand", image, command=("/no/such/program",)),
        host.app("badpath", image, files=(FileToWrite("relative", b""),)),
        host.app("nonet", image, host.network("undeclared")),
    )
    await host.apply(images=(image, missing), apps=apps)
    await host.wait_app("good")
    status = await host.wait(AppStatus, "app-noimage", lambda found: found.fault is not None)
    assert status.fault is not None
    assert status.fault.code == "ImageNotFound"
    status = await host.wait(AppStatus, "app-nocommand", lambda found: found.fault is not None)
    assert status.fault is not None
    assert "/no/such/program" in status.fault.message
    status = await host.wait(AppStatus, "app-badpath", lambda found: found.fault is not None)
    assert status.fault is not None
    assert status.fault.code == "AppImpossible"
    status = await host.wait(AppStatus, "app-nonet", lambda found: found.fault is not None)
    assert status.fault is not None
    assert status.fault.code == "NetworkNotReady"


async def test_killed_container_comes_back_and_a_removed_one_too(host: EngineHost, registry: Registry) -> None:
    image = host.image(registry.datastore(), "shop/shell:1")
    await host.apply(images=(image,), apps=(host.app("shell", image),))
    first = await host.wait_app("shell")
    assert host.manager is not None
    name = f"{host.instance.name}-app-shell"
    await host.manager.podman.run("kill", name)
    again = await host.wait(AppStatus, "app-shell", lambda found: found.restarts == 1)
    assert again.container_id == first.container_id
    await host.manager.podman.run("rm", "--force", "--time=0", name)
    await host.wait(
        AppStatus,
        "app-shell",
        lambda found: found.state is AppState.RUNNING and found.container_id != first.container_id,
    )


async def test_log_lines_tell_which_start_wrote_them(host: EngineHost, registry: Registry) -> None:
    image = host.image(registry.datastore(), "shop/shell:1")
    app = host.app("bad", image, command=("/bin/sh", "-c"), args=("echo out; echo err >&2; printf open; exit 3",))
    await host.apply(images=(image,), apps=(app,))
    await host.wait(AppStatus, app.id, lambda found: found.restarts == 1)
    await host.stop()
    await host.start()
    await host.apply()
    await host.wait(AppStatus, app.id, lambda found: found.restarts == 2)
    await host.wait_lines(lambda lines: len({line.number for line in lines}) >= 9)
    unique = {line.number: line for line in host.lines}
    assert len({(line.number, line.run) for line in host.lines}) == len(unique), "the same number, the same run"
    runs: dict[str, list[str]] = {}
    for number in sorted(unique):
        runs.setdefault(unique[number].run, []).append(unique[number].text)
    assert "" not in runs
    assert [sorted(texts) for texts in runs.values()][:3] == [["err", "open", "out"]] * 3
