"""Tests that need a stock Debian kernel: they run inside a guest, see ``tests/system/test_in_guest.py``.

By hand, on a machine with such a kernel: ``EAVES_IN_GUEST=1 .venv/bin/python -m pytest -n 0 tests/guest``.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from eaves.testing.engine_host import EngineHost
from eaves.testing.registry import Registry

HTTPD = ("/bin/httpd", "-f", "-p", "80", "-h", "/www")

if not os.environ.get("EAVES_IN_GUEST"):
    collect_ignore_glob = ["*"]


@pytest.fixture
def disk() -> Iterator[Path]:
    """A folder on an ext4 file system with project quotas."""
    found = Path(tempfile.mkdtemp(prefix="eaves.", dir="/var/tmp"))
    yield found
    shutil.rmtree(found, ignore_errors=True)


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """Holds ``web:1`` (an HTTP server on port 80) and ``shell:1`` (runs what it is told)."""
    with Registry(tmp_path_factory.mktemp("registry")) as found:
        found.push("shop/web:1", HTTPD)
        found.push("shop/shell:1", ("sleep", "1000"))
        yield found


@pytest.fixture
async def host(disk: Path) -> AsyncIterator[EngineHost]:
    async with EngineHost(disk) as found:
        yield found
