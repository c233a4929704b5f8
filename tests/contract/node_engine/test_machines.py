"""Virtual machines under a whole engine: image, volume, network, rules, logs and status together."""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import Iterator

import pytest

from eaves.node.desired.model import DesiredVolume, VolumeMode
from eaves.node.observed import AppState, AppStatus, AppUsage
from eaves.node.observed_vm import AgentState
from eaves.testing.desired import ALLOW_ALL, map_port
from eaves.testing.engine_host import EngineHost, find_port
from eaves.testing.file_server import FileServer
from eaves.testing.guest_image import READY
from eaves.testing.machines import serve_guest, want_machine
from eaves.testing.vm_host import Console

pytestmark = pytest.mark.contract

LIMIT_S = 200.0


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer() as found:
        yield found


async def test_machine_is_reached_through_the_nodes_port_and_tells_its_address(
    host: EngineHost, server: FileServer
) -> None:
    image = await asyncio.to_thread(serve_guest, server, host)
    network = host.network()
    port = find_port()
    data = DesiredVolume("data-one", 0, "data-one", "", 16 << 20, mode=VolumeMode.BLOCK, is_explicit=True)
    app, volumes = want_machine(host, "one", image, network, acls=(map_port(port), ALLOW_ALL), data=(data,))
    await host.apply(apps=(app,), images=(image,), volumes=volumes, networks=(network,))
    status = await host.wait_app("one", AppState.RUNNING, LIMIT_S)
    address = status.interfaces[0].addresses[0]
    await host.wait_lines(lambda lines: any(f"eth0 has {address}" in line.text for line in lines), LIMIT_S)
    assert any(READY in line.text for line in host.lines), "the serial console is the app's log"
    page = await asyncio.to_thread(_get, f"http://127.0.0.1:{port}/")
    assert page == b"hello from a guest\n"
    told = await host.wait(
        AppStatus, "app-one", lambda found: found.vm is not None and found.vm.agent is AgentState.CONNECTED, LIMIT_S
    )
    assert told.vm is not None
    await host.wait(
        AppStatus,
        "app-one",
        lambda found: (
            found.vm is not None and any(address in interface.addresses for interface in found.vm.guest_interfaces)
        ),
        LIMIT_S,
    )
    (usage,) = await _usages(host)
    assert usage.memory_bytes > 64 << 20
    assert usage.interfaces[0].rx_bytes > 0
    grown = DesiredVolume("data-one", 0, "data-one", "", 32 << 20, mode=VolumeMode.BLOCK, is_explicit=True)
    await host.apply(volumes=(volumes[0], grown))
    async with Console(host.instance.apps_run_dir / "app-one" / "vm" / "console.sock") as console:
        await console.type(f"until grep -q {(32 << 20) // 512} /sys/block/vdb/size; do :; done; echo gr''own\n")
        await console.wait("grown")
    again = await host.wait_app("one")
    assert again.container_id == status.container_id, "nothing was restarted for it"


async def _usages(host: EngineHost) -> list[AppUsage]:
    assert host.manager is not None
    return await host.manager.usages()


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=20) as answer:
        return bytes(answer.read())
