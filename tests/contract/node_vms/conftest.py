"""An engine for virtual machines of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from blockbuster import blockbuster_ctx

from eaves.testing.vm_host import VmHost


@pytest.fixture(autouse=True)
def nothing_blocks_the_loop() -> Iterator[None]:
    with blockbuster_ctx("eaves.node"):
        yield


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[VmHost]:
    async with VmHost(tmp_path) as found:
        yield found
