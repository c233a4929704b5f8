"""Devices of the machine in containers."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from eaves.kit import process
from eaves.node.desired.hardware_model import DesiredIo, IoKind
from eaves.node.hardware import inventory
from eaves.node.hardware.inventory import load_inventory
from eaves.node.observed import AppStatus
from eaves.testing.engine_host import EngineHost
from eaves.testing.registry import Registry


@pytest.fixture
def serial_path() -> str:
    lines = load_inventory().serial
    if not lines:
        pytest.skip("this machine has no serial line")
    return lines[0].path


async def test_container_has_its_serial_line(host: EngineHost, registry: Registry, serial_path: str) -> None:
    image = host.image(registry.datastore(), "shop/shell:1")
    model = (DesiredIo("com1", IoKind.SERIAL, "com1", serial_path=serial_path),)
    await host.apply(images=(image,), hardware=model, apps=(host.app("scale", image, devices=("com1",)),))
    await host.wait_app("scale")
    _, shown = await host.exec("scale", "ls", "-l", serial_path)
    assert shown.startswith("c"), shown


@pytest.fixture
def cdi_name() -> Iterator[str]:
    """Of a device that a driver's package would describe to containers: a device file, and a variable."""
    token = secrets.token_hex(4)
    kind, folder = f"eaves-{token}.example/gpu", Path("/var/run/cdi")
    edits = {
        "env": ["GPU_IS=there"],
        "deviceNodes": [{"path": f"/dev/gpu-{token}", "type": "c", "major": 1, "minor": 5}],
    }
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"eaves-{token}.json"
    file.write_text(
        json.dumps({"cdiVersion": "0.3.0", "kind": kind, "devices": [{"name": "one", "containerEdits": edits}]})
    )
    yield f"{kind}=one"
    file.unlink()


async def test_container_has_a_gpu_by_its_cdi_name(host: EngineHost, registry: Registry, cdi_name: str) -> None:
    image = host.image(registry.datastore(), "shop/shell:1")
    model = (DesiredIo("gpu", IoKind.OTHER, "gpu", cdi_name=cdi_name),)
    show = ("/bin/sh", "-c", "echo it is $GPU_IS; ls -l /dev/gpu-*; sleep 1000")
    await host.apply(images=(image,), hardware=model, apps=(host.app("vision", image, devices=("gpu",), command=show),))
    await host.wait_app("vision")
    await host.wait_lines(lambda lines: any(line.text.startswith("crw") for line in lines))
    assert "it is there" in [line.text for line in host.lines]


async def test_a_cdi_name_that_the_box_does_not_know_is_told(host: EngineHost, registry: Registry) -> None:
    image = host.image(registry.datastore(), "shop/shell:1")
    model = (DesiredIo("gpu", IoKind.OTHER, "gpu", cdi_name="nobody.example/gpu=0"),)
    apps = (host.app("vision", image, devices=("gpu",)), host.app("good", image))
    await host.apply(images=(image,), hardware=model, apps=apps)
    await host.wait_app("good")
    status = await host.wait(AppStatus, "app-vision", lambda found: found.fault is not None)
    assert status.fault is not None
    assert "nobody.example/gpu=0" in status.fault.message


async def test_container_finds_the_interface_that_it_gets_up(
    host: EngineHost, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of a virtual cable stands in for a CAN bus, which a test machine's kernel may lack."""
    monkeypatch.setattr(inventory, "_CAN_TYPE", "1")
    token = secrets.token_hex(4)
    name, far_end = f"can{token}", f"bus{token}"
    await process.run(["ip", "link", "add", name, "up", "type", "veth", "peer", "name", far_end])
    await process.run(["ip", "link", "set", far_end, "up"])
    image = host.image(registry.datastore(), "shop/shell:1")
    model = (DesiredIo("bus", IoKind.CAN, "bus", interface=name),)
    await host.apply(images=(image,), hardware=model, apps=(host.app("plc", image, devices=("bus",)),))
    await host.wait_app("plc")
    assert host.manager is not None
    inside = ["nsenter", f"--target={host.manager._pid_of('app-plc')}", "--net", "ip", "link", "show", name]
    assert ",UP" in (await process.run(inside)).text
    await process.run(["ip", "link", "del", far_end])


async def test_group_that_the_box_does_not_have_is_told(host: EngineHost, registry: Registry) -> None:
    image = host.image(registry.datastore(), "shop/shell:1")
    model = (DesiredIo("stick", IoKind.USB_DEVICE, "stick", usb_address="9:9"),)
    apps = (
        host.app("reader", image, devices=("stick",)),
        host.app("other", image, devices=("laser",)),
        host.app("good", image),
    )
    await host.apply(images=(image,), hardware=model, apps=apps)
    await host.wait_app("good")
    missing = await host.wait(AppStatus, "app-reader", lambda found: found.fault is not None)
    unknown = await host.wait(AppStatus, "app-other", lambda found: found.fault is not None)
    assert missing.fault is not None
    assert unknown.fault is not None
    assert (missing.fault.code, unknown.fault.code) == ("DeviceMissing", "DeviceUnknown")
    assert "stick" in missing.waiting_for
