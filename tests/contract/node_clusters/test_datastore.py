"""Servers whose cluster keeps its state in a database of somebody else's: a real PostgreSQL."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from eaves.node.observed_cluster import ClusterState
from eaves.testing.cluster_member import ClusterMember
from eaves.testing.k3s_machine import Lan, Machine
from eaves.testing.postgres import Postgres
from eaves.wire.pb.eaves.cluster_pb2 import ClusterSecrets

from .conftest import MakeMember
from .test_membership import as_member

pytestmark = pytest.mark.contract


@pytest.fixture
def password() -> str:
    return f"pw{secrets.token_hex(12)}"


@pytest.fixture
def database(lan: Lan, folder: Path, password: str) -> Iterator[Postgres]:
    with contextlib.ExitStack() as stack:
        machine = Machine(folder, f"db-{secrets.token_hex(3)}", lan)
        stack.callback(machine.close)
        found = Postgres(machine, password)
        stack.callback(found.close)
        found.start()
        yield found


@pytest.mark.soak
def test_two_servers_meet_in_a_database_and_nobody_is_told_its_password(
    make_member: MakeMember, database: Postgres, password: str
) -> None:
    first, second = make_member(), make_member()
    members = [as_member(first), as_member(second)]
    told = ClusterSecrets(datastore_endpoint=database.endpoint)
    first.tell(datastore="External", secrets_of=told, is_leader=True, members=members)
    first.start()
    status = first.wait_state(ClusterState.READY)
    assert status.is_etcd_healthy
    second.tell(join=first.machine.address, datastore="External", secrets_of=told, members=members)
    second.start()
    assert second.wait_state(ClusterState.READY).ca_hash == status.ca_hash
    names = {f"node/{node.machine.name}" for node in (first, second)}
    second.daemon.wait("both Nodes", lambda: {*second.get("nodes", "-o", "name").split()} == names, 180)
    first.kubectl("create", "configmap", "kept", "--from-literal=a=b")
    assert "kept" in second.get("configmaps", "-o", "name")
    for node in (first, second):
        assert find_word(node, password) == []

    # Either server can be lost: what is in the database is nobody's.
    first.daemon.kill()
    first.machine.cut_power()
    assert "kept" in second.get("configmaps", "-o", "name")
    second.tell_nothing()
    second.wait_departure()
    assert not list((second.folder / "state" / "k3s").glob("*/config.yaml"))

    # The one that comes back finds all as it was.
    first.start()
    first.wait_state(ClusterState.READY)
    assert "kept" in first.get("configmaps", "-o", "name")


def find_word(node: ClusterMember, word: str) -> list[str]:
    """Where ``word`` is to be read: in logs, in what the node tells, on a command line, in a file that others may read."""
    found = []
    for path in [*node.folder.rglob("*"), *node.machine.folder.glob("*.log"), *Path("/proc").glob("[0-9]*/cmdline")]:
        with contextlib.suppress(OSError):
            if not path.is_file() or path.is_symlink() or word.encode() not in path.read_bytes():
                continue
            # The config that the test itself wrote, and files of root's alone.
            is_private = path.stat().st_mode & 0o077 == 0
            if path.name == "config.pb" or (is_private and path.suffix != ".log" and "/proc/" not in str(path)):
                continue
            found.append(str(path))
    return found
