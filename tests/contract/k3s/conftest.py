"""One K3s for all tests here, whichever is found; machines that leave nothing behind.

What these tests assume of K3s is what Eaves assumes of it: they run against a real K3s (``EAVES_K3S_BINARY``) and against the stand-in.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from eaves.testing.k3s import Release
from eaves.testing.k3s_host import K3sHost
from eaves.testing.k3s_machine import Lan, Machine

MakeMachine = Callable[[], Machine]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One cluster at a time: each takes a gigabyte and, while it starts, every core there is."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("k3s"))
            item.add_marker(pytest.mark.timeout(1200))


@pytest.fixture(scope="session")
def release(releases: list[Release]) -> Release:
    return releases[0]


@pytest.fixture
def make_machine() -> Iterator[MakeMachine]:
    """Makes machines on one network; they end with the test."""
    with contextlib.ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="eaves-k3s.", dir="/var/tmp"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        lan = Lan()
        stack.callback(lan.close)

        def make() -> Machine:
            machine = Machine(folder, f"m-{secrets.token_hex(3)}", lan)
            stack.callback(machine.close)
            return machine

        yield make


@pytest.fixture(scope="module")
def server(release: Release) -> Iterator[K3sHost]:
    """A server of one node with embedded etcd, ready, for tests that do not stop it."""
    folder = Path(tempfile.mkdtemp(prefix="eaves-k3s.", dir="/var/tmp"))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        lan = Lan()
        stack.callback(lan.close)
        machine = Machine(folder, f"m-{secrets.token_hex(3)}", lan)
        stack.callback(machine.close)
        host = K3sHost(machine, release, "server", cluster_init=True, secrets_encryption=True, node_label=["tier=edge"])
        stack.callback(host.daemon.stop)
        host.start()
        host.wait_ready()
        yield host
