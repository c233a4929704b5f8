"""Registries and engines of their own for the engine's contract tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from blockbuster import blockbuster_ctx

from eaves.testing.engine_host import EngineHost
from eaves.testing.outside import Outside, open_outside
from eaves.testing.registry import Registry

HTTPD = ("/bin/httpd", "-f", "-p", "80", "-h", "/www")


@pytest.fixture(autouse=True)
def nothing_blocks_the_loop() -> Iterator[None]:
    with blockbuster_ctx("eaves.node"):
        yield


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """Holds ``web:1`` (an HTTP server on port 80), ``shell:1`` (runs what it is told) and ``big:1`` (8 MiB)."""
    with Registry(tmp_path_factory.mktemp("registry")) as found:
        found.push("shop/web:1", HTTPD)
        found.push("shop/shell:1", ("sleep", "1000"))
        yield found


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[EngineHost]:
    async with EngineHost(tmp_path) as found:
        yield found


@pytest.fixture
async def outside(tmp_path: Path) -> AsyncIterator[Outside]:
    """A machine beyond the node."""
    async with open_outside(tmp_path) as found:
        yield found
