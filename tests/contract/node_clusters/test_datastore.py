"""Servers whose cluster keeps its state at somebody else's: in a real PostgreSQL, in a real etcd."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from eaves.node.observed_cluster import ClusterState
from eaves.testing.cluster_member import ClusterMember
from eaves.testing.etcd import Etcd
from eaves.testing.k3s_machine import Lan, Machine
from eaves.testing.kubernetes import find_module
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


@pytest.mark.soak
def test_a_server_works_with_an_etcd_by_its_certificate_and_tells_when_that_is_away(
    make_member: MakeMember, lan: Lan, folder: Path
) -> None:
    built = find_module("etcd")
    if built is None:
        pytest.skip("no etcd: run tools/build_kubernetes.py")
    machine = Machine(folder, f"db-{secrets.token_hex(3)}", lan)
    etcd = Etcd(machine, built / "server")
    node = make_member()
    try:
        etcd.start()
        told = ClusterSecrets(
            datastore_endpoint=etcd.endpoint,
            datastore_ca_pem=etcd.ca,
            datastore_certificate_pem=etcd.certificate,
            datastore_key_pem=etcd.key,
        )
        node.tell(datastore="External", secrets_of=told, is_leader=True, members=[as_member(node)])
        node.start()
        assert node.wait_state(ClusterState.READY).is_etcd_healthy
        node.kubectl("create", "configmap", "kept", "--from-literal=a=b")
        assert find_word(node, max(etcd.key.splitlines(), key=len)) == []

        etcd.stop()
        node.daemon.wait(
            "the loss to be told", lambda: not told_healthy(node) and not node.is_in(ClusterState.READY), 180
        )
        etcd.start()
        assert node.wait_state(ClusterState.READY).is_etcd_healthy
        assert "kept" in node.get("configmaps", "-o", "name")

        # Another machine over the same etcd is the same cluster, whatever becomes of this one.
        authority = node.wait_state(ClusterState.READY).ca_hash
        node.lose_disk()
        other = make_member()
        other.tell(datastore="External", secrets_of=told, is_leader=True, members=[as_member(other)], initialized=True)
        other.start()
        assert other.wait_state(ClusterState.READY).ca_hash == authority
        assert "kept" in other.get("configmaps", "-o", "name")
    finally:
        etcd.stop()
        machine.close()


def told_healthy(node: ClusterMember) -> bool:
    status = node.status()
    return status is not None and status.is_etcd_healthy


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
