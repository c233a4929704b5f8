"""From a box with an onboarding key to a device with a config, and what must not get that far."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from eaves.testing.deviceside import Rig, open_rig


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with open_rig(tmp_path) as rig:
        yield rig


async def test_a_device_gets_its_first_config(rig: Rig) -> None:
    await rig.add_key(nodeLabels={"tier": "shop"})
    device = await rig.onboarded(serial="ABC123", soft_serial="Store_17")
    assert device.config is not None
    assert device.config.id.uuid == device.id
    assert device.config.config_timestamp.seconds > 0
    edgenode = await rig.edgenode(device)
    assert edgenode["metadata"]["name"] == "store-17"
    assert edgenode["metadata"]["labels"] == {"tier": "shop"}
    assert edgenode["spec"] == {"approved": True, "serial": "ABC123"}
    assert (await device.poll()).status == 304
