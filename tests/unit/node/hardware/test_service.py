"""What of the devices is given back, and when."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from eaves.node.desired.hardware_model import DesiredIo, IoKind
from eaves.node.desired.model import DesiredNode
from eaves.node.desired.network_model import DesiredPort
from eaves.node.hardware import apply, service
from eaves.node.hardware.hostuse import HostUse
from eaves.node.instance import Instance
from eaves.node.observed import Fault
from eaves.node.statefile import StateFile
from tests.unit.node.hardware.test_plan import GPU, INVENTORY, want_app


@pytest.mark.looptime
async def test_a_device_that_is_in_use_still_is_given_back_later(tmp_path: Path, monkeypatch: Any) -> None:
    tries: list[str] = []

    def release(address: str) -> None:
        tries.append(address)
        if len(tries) == 1:
            raise apply.DeviceError(f"{address}: a machine still has it")

    monkeypatch.setattr(apply, "release_vfio", release)
    monkeypatch.setattr(apply, "release_usb", tries.append)
    instance = Instance(data_dir=tmp_path)
    file = instance.state_dir / "devices.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(msgspec.json.encode(service.HandedOver(pci=["0000:01:00.0"], usb=["1-2"])))
    devices = service.Devices(instance, on_change=lambda: None)
    await devices.open()
    devices.set_desired(DesiredNode("d", "1", ""))
    given_back = asyncio.Event()
    save = StateFile.save

    async def note_saved(file: Any, state: service.HandedOver) -> None:
        await save(file, state)
        if not state.pci and not state.usb:
            given_back.set()

    monkeypatch.setattr(StateFile, "save", note_saved)
    running = asyncio.create_task(devices.run())
    try:
        async with asyncio.timeout(10 * service.LOOK_EVERY_S):
            await given_back.wait()
    finally:
        running.cancel()
    assert tries == ["0000:01:00.0", "1-2", "0000:01:00.0"]
    kept = msgspec.json.decode(file.read_bytes(), type=service.HandedOver)
    assert (kept.pci, kept.usb) == ([], [])


async def find_answer(tmp_path: Path, monkeypatch: Any, *, ports: tuple[DesiredPort, ...] = ()) -> object:
    """What an app that wants the GPU is told, by a node whose settings name the uplink ``lan0``."""
    monkeypatch.setattr(service, "load_inventory", lambda: INVENTORY)
    instance = Instance(data_dir=tmp_path)
    instance.state_dir.mkdir(parents=True)
    is_told = asyncio.Event()
    devices = service.Devices(instance, on_change=is_told.set, uplinks=["lan0"])
    await devices.open()
    app = want_app("gpu")
    model = (DesiredIo("gpu", IoKind.OTHER, "gpu", pci_address=GPU),)
    devices.set_desired(DesiredNode("d", "1", "", apps=(app,), hardware=model, ports=ports))
    running = asyncio.create_task(devices.run())
    try:
        async with asyncio.timeout(20):
            await is_told.wait()
    finally:
        running.cancel()
    return devices.assignment(app)


async def test_an_app_is_told_that_vfio_is_missing(tmp_path: Path, monkeypatch: Any) -> None:
    async def load_vfio() -> None:
        raise apply.DeviceError(
            "cannot be loaded", code="VfioMissing", details="modprobe: not found", resolution="do this"
        )

    monkeypatch.setattr(apply, "load_vfio", load_vfio)
    found = await find_answer(tmp_path, monkeypatch)
    assert isinstance(found, Fault)
    assert (found.code, found.message) == ("VfioMissing", "cannot be loaded (modprobe: not found)")
    assert found.resolution == "do this"


async def test_uplinks_of_the_settings_and_of_the_config_are_the_nodes_own(tmp_path: Path, monkeypatch: Any) -> None:
    def observe_host_use(ports: list[str]) -> HostUse:
        return HostUse({GPU: " and ".join(ports)}, {})

    monkeypatch.setattr(service, "observe_host_use", observe_host_use)
    ports = (DesiredPort("lan1", "lan1"), DesiredPort("shop", "lan2", is_uplink=False))
    found = await find_answer(tmp_path, monkeypatch, ports=ports)
    assert isinstance(found, Fault)
    assert found.code == "DeviceKept"
    assert found.message.endswith("lan0 and lan1")
