"""Devices of the machine in containers."""

from __future__ import annotations

import pytest

from eaves.node.desired.hardware_model import DesiredIo, IoKind
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
