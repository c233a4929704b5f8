"""The module of VFIO, which nothing but the node loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from eaves.node.hardware import apply


def offer_modprobe(folder: Path, script: str, monkeypatch: Any) -> None:
    folder.mkdir()
    (folder / "modprobe").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "modprobe").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


async def test_the_module_is_loaded_when_it_is_not_there(tmp_path: Path, monkeypatch: Any) -> None:
    drivers = tmp_path / "sys/bus/pci/drivers"
    offer_modprobe(tmp_path / "bin", f'mkdir -p "{drivers}/$1"', monkeypatch)
    await apply.load_vfio(tmp_path / "sys")
    assert (drivers / apply.VFIO_DRIVER).is_dir()
    offer_modprobe(tmp_path / "none", "exit 1", monkeypatch)
    await apply.load_vfio(tmp_path / "sys")


@pytest.mark.parametrize("is_installed", [True, False])
async def test_why_it_cannot_be_loaded_is_told(tmp_path: Path, monkeypatch: Any, is_installed: bool) -> None:
    said = "modprobe: FATAL: Module vfio-pci not found in directory /lib/modules/6.1"
    offer_modprobe(tmp_path / "bin", f"echo '{said}' >&2; exit 1", monkeypatch)
    if not is_installed:
        monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(apply.DeviceError, match="vfio-pci cannot be loaded") as caught:
        await apply.load_vfio(tmp_path / "sys")
    assert caught.value.code == "VfioMissing"
    assert (said if is_installed else "modprobe: not found") in caught.value.details
    assert "linux-image" in caught.value.resolution
