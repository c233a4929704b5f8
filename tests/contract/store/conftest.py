"""Every test here runs over each engine of the store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from eaves.store.abc import ObjectStore
from eaves.testing.stores import ENGINES, Stores, open_store, open_stores


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def store(engine: str, tmp_path: Path) -> AsyncIterator[ObjectStore]:
    opened = await open_store(engine, tmp_path)
    yield opened
    await opened.close()


@pytest.fixture
async def stores(engine: str, tmp_path: Path) -> AsyncIterator[Stores]:
    opened = await open_stores(engine, tmp_path)
    yield opened
    await opened.close()
