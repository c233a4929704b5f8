"""Members of K3s clusters on machines of their own, driven without a controller."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from eaves.testing.cluster_member import ClusterMember
from eaves.testing.k3s import Release
from eaves.testing.k3s_machine import Lan, Machine

MakeMember = Callable[[], ClusterMember]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One cluster at a time: each takes a gigabyte and, while it starts, every core there is."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("k3s"))
            item.add_marker(pytest.mark.timeout(1800))


@pytest.fixture
def folder() -> Iterator[Path]:
    """For machines: on disk, not in memory."""
    made = Path(tempfile.mkdtemp(prefix="eaves-k3s.", dir="/var/tmp"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def lan() -> Iterator[Lan]:
    """What the machines of a test are plugged into."""
    made = Lan()
    yield made
    made.close()


@pytest.fixture
def make_member(releases: list[Release], lan: Lan, folder: Path) -> Iterator[MakeMember]:
    """Makes members on one network; they end with the test."""
    with contextlib.ExitStack() as stack:

        def make() -> ClusterMember:
            machine = Machine(folder, f"m-{secrets.token_hex(3)}", lan)
            stack.callback(machine.close)
            member = ClusterMember(machine, releases[0])
            stack.callback(member.close)
            return member

        yield make
