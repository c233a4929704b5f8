"""What of the devices is given back, and when."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from eaves.node.desired.model import DesiredNode
from eaves.node.hardware import apply, service
from eaves.node.instance import Instance
from eaves.node.statefile import StateFile


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
