"""A place for volumes of a test's own, and the volumes' service over it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from blockbuster import blockbuster_ctx

from eaves.testing.volume_stage import VolumeStage


@pytest.fixture(autouse=True)
def nothing_blocks_the_loop() -> Iterator[None]:
    with blockbuster_ctx("eaves.node"):
        yield


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[VolumeStage]:
    async with VolumeStage(tmp_path) as found:
        yield found
