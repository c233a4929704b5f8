"""A running device side for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from eaves.testing.deviceside import Rig, open_rig


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    """With one automatic onboarding key, ``lab``."""
    async with open_rig(tmp_path) as rig:
        await rig.add_key()
        yield rig
