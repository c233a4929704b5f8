"""An API over a real SQLite store, called in-process as admin."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from eaves.testing.asgi import AsgiClient
from eaves.testing.blocking import nothing_blocks
from eaves.testing.operator_api import ADMIN_TOKEN, ApiBench, open_api


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[ApiBench]:
    with nothing_blocks("eaves.controller"):
        async with open_api(tmp_path) as bench:
            yield bench


@pytest.fixture
def admin(bench: ApiBench) -> AsgiClient:
    return AsgiClient(bench.api, ADMIN_TOKEN)
