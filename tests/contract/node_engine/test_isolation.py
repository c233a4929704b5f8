"""Containers with a kernel of their own: the same image, command, variables, volumes, network and logs, in a small guest."""

from __future__ import annotations

import asyncio
import platform
import urllib.request
from typing import Any

import pytest

from eaves.node.desired.model import (
    DesiredApp,
    DesiredNetwork,
    DesiredVolume,
    FileToWrite,
    RestartPolicy,
    Secret,
    VolumeMount,
)
from eaves.node.desired.vm_model import Isolation
from eaves.node.observed import AppState, AppStatus, VolumeState, VolumeStatus
from eaves.testing.desired import ALLOW_ALL, map_port
from eaves.testing.engine_host import EngineHost, find_port
from eaves.testing.guest.kernel import offer_kernel
from eaves.testing.power import list_traces
from eaves.testing.registry import Registry

pytestmark = pytest.mark.contract

LIMIT_S = 150.0
_SCRIPT = (
    "echo kernel $(uname -r); echo greeting $GREETING in $(pwd); echo data $(cat /data/word); cat /etc/word; "
    "echo kept $(cat /kept 2>/dev/null); echo yes > /kept; echo guest > /data/from; exit 7"
)


def apart(
    host: EngineHost, registry: Registry, reference: str, *networks: DesiredNetwork, **changes: Any
) -> DesiredApp:
    image = host.image(registry.datastore(), reference)
    return host.app("apart", image, *networks, isolation=Isolation.VM, **changes)


@pytest.fixture(autouse=True)
async def guest_kernel(host: EngineHost) -> None:
    """As if Debian's kernel package were installed on the node."""
    await asyncio.to_thread(offer_kernel, host.instance.data_dir)


async def test_command_runs_as_in_any_container_but_on_its_own_kernel(host: EngineHost, registry: Registry) -> None:
    volume = DesiredVolume("data", 0, "data", "", 16 << 20)
    app = apart(
        host,
        registry,
        "shop/shell:1",
        command=("/bin/sh", "-c", _SCRIPT),
        env={"GREETING": Secret('it\'s "me" & $HOME')},
        files=(FileToWrite("/etc/word", b"written\n"),),
        working_dir="/tmp",
        mounts=(VolumeMount("data", 0, "/data"),),
        restart_policy=RestartPolicy.NEVER,
    )
    image = host.image(registry.datastore(), "shop/shell:1")
    await host.apply(images=(image,), volumes=(volume,))
    assert host.manager is not None
    folder = host.instance.volumes_dir / "data#0"
    await host.wait(VolumeStatus, "data", lambda status: status.state is VolumeState.READY)
    (folder / "word").write_text("shared\n")
    await host.apply(apps=(app,))
    over = await host.wait_app("apart", AppState.FAILED, LIMIT_S)
    assert over.last is not None
    assert over.last.exit_code == 7
    await host.wait_lines(lambda lines: any(line.text.startswith("kept") for line in lines))
    said = [line.text for line in host.lines]
    assert f"kernel {platform.release()}" not in said
    assert any(text.startswith("kernel ") for text in said)
    assert {'greeting it\'s "me" & $HOME in /tmp', "data shared", "written", "kept"} <= set(said)
    assert (folder / "from").read_text() == "guest\n"
    await host.apply(
        apps=(DesiredApp(**{name: getattr(app, name) for name in app.__struct_fields__} | {"restart_counter": 1}),)
    )
    await host.wait_lines(lambda lines: any(line.text == "kept yes" for line in lines), LIMIT_S)


async def test_it_answers_on_the_nodes_port_and_stops_when_told(host: EngineHost, registry: Registry) -> None:
    network, port = host.network(), find_port()
    app = apart(host, registry, "shop/web:1", network, acls=(map_port(port), ALLOW_ALL), stop_grace_s=60)
    image = host.image(registry.datastore(), "shop/web:1")
    await host.apply(images=(image,), apps=(app,), networks=(network,))
    status = await host.wait_app("apart", AppState.RUNNING, LIMIT_S)
    assert status.container_id
    async with asyncio.timeout(LIMIT_S):
        while not await asyncio.to_thread(_answers, port):  # noqa: ASYNC110 - a server in a guest tells nobody that it is up
            await asyncio.sleep(0.2)
    await host.apply(apps=())
    await host.wait_gone(AppStatus, "app-apart", LIMIT_S)
    await host.teardown()
    traces = list_traces(host.instance)
    assert not any(traces.values()), traces


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
