"""Machines' interfaces where nobody has loaded the kernel's module."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from eaves.node.networks.errors import NetworkError
from eaves.node.networks.tuntap import load_tun
from tests.unit.node.hardware.test_apply import offer_modprobe


async def test_the_module_is_loaded_when_its_file_is_not_there(tmp_path: Path, monkeypatch: Any) -> None:
    device = tmp_path / "tun"
    offer_modprobe(tmp_path / "bin", f'[ "$1" = tun ] && touch "{device}"', monkeypatch)
    await load_tun(device)
    assert device.exists()
    offer_modprobe(tmp_path / "none", "exit 1", monkeypatch)
    await load_tun(device)


@pytest.mark.parametrize("is_installed", [True, False])
async def test_why_it_cannot_be_loaded_is_told(tmp_path: Path, monkeypatch: Any, is_installed: bool) -> None:
    said = "modprobe: FATAL: Module tun not found in directory /lib/modules/6.1"
    offer_modprobe(tmp_path / "bin", f"echo '{said}' >&2; exit 1", monkeypatch)
    if not is_installed:
        monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NetworkError, match="module tun cannot be loaded") as caught:
        await load_tun(tmp_path / "tun")
    assert (said if is_installed else "modprobe: not found") in caught.value.details
    assert "modprobe tun" in caught.value.resolution
