"""What the stock kernel offers to apps and others may lack: CAN buses, huge pages."""

from __future__ import annotations

import socket
import struct
from pathlib import Path

import pytest

from eaves.kit import process
from eaves.node.desired.hardware_model import DesiredIo, IoKind
from eaves.node.observed import AppStatus
from eaves.node.workloads.errors import StartError
from eaves.testing.engine_host import EngineHost
from eaves.testing.namespaces import Namespace
from eaves.testing.registry import Registry
from eaves.testing.vm_host import VmHost

pytestmark = pytest.mark.soak

HUGE = Path("/sys/kernel/mm/hugepages/hugepages-2048kB")
PAGE = 2 << 20
FRAME = struct.pack("=IB3x8s", 0x123, 3, b"\x01\x02\x03")
"""Of three bytes, as ``linux/can.h`` lays it out."""


async def test_container_talks_on_its_can_bus(host: EngineHost, registry: Registry) -> None:
    await process.run(["modprobe", "--all", "vcan", "can-raw"])
    await process.run(["ip", "link", "add", "can7", "type", "vcan"])
    image = host.image(registry.datastore(), "shop/shell:1")
    model = (DesiredIo("fieldbus", IoKind.CAN, "fieldbus", interface="can7"),)
    app = host.app("plc", image, devices=("fieldbus",))
    await host.apply(images=(image,), hardware=model, apps=(app, host.app("other", image)))
    await host.wait_app("plc")
    await host.wait_app("other")
    assert host.manager is not None
    inside, other = (Namespace.at(f"/proc/{host.manager._pid_of(name)}/ns/net") for name in ("app-plc", "app-other"))
    with inside, other:
        assert ",UP" in inside.run("ip", "link", "show", "can7")
        with inside.entered(), open_can() as sender, open_can() as receiver:
            sender.send(FRAME)
            receiver.settimeout(20)
            assert receiver.recv(16) == FRAME
        assert "does not exist" in other.run("ip", "link", "show", "can7", check=False)
    assert (await process.run(["ip", "link", "show", "can7"], check=False)).returncode != 0
    await host.apply(apps=())
    await host.wait_gone(AppStatus, "app-plc")


def open_can() -> socket.socket:
    found = socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW)
    found.bind(("can7",))
    return found


async def test_huge_pages_back_a_machines_memory(disk: Path) -> None:
    (HUGE / "nr_hugepages").write_text("40")
    try:
        async with VmHost(disk) as machines:
            blank = machines.instance.volumes_dir / "blank.raw"
            with blank.open("wb") as file:
                file.truncate(1 << 20)
            assert free_pages() == 40
            await machines.engine.create(
                await machines.spec(blank, app={"memory_bytes": 32 * PAGE}, huge_page_bytes=PAGE)
            )
            assert free_pages() == 8
            await machines.engine.remove("vm")
            assert free_pages() == 40
            with pytest.raises(StartError, match="hugePages") as caught:
                await machines.engine.create(
                    await machines.spec(blank, app={"memory_bytes": 64 * PAGE}, huge_page_bytes=PAGE)
                )
            assert "vm.nr_hugepages" in caught.value.resolution
    finally:
        (HUGE / "nr_hugepages").write_text("0")


def free_pages() -> int:
    return int((HUGE / "free_hugepages").read_text())
