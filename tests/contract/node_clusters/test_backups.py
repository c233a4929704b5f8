"""Snapshots against a real K3s or its stand-in and a real S3 server: ordered, scheduled, pruned, shipped, restored on a blank machine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from eaves.kit import files
from eaves.node.clusters.errors import BackupError
from eaves.node.clusters.shipping import Shipper, want_target
from eaves.node.desired.secret import Secret
from eaves.node.observed import ClusterStatus
from eaves.node.observed_cluster import ClusterState
from eaves.testing.cluster_member import ClusterMember
from eaves.testing.namespaces import Namespace
from eaves.testing.relay import Relay
from eaves.testing.s3_server import BUCKET, REGION, S3Server
from eaves.wire.pb.config import storage_pb2
from eaves.wire.pb.config.storage_pb2 import DatastoreConfig
from eaves.wire.pb.eaves import cluster_pb2

from .conftest import MakeMember
from .test_membership import as_member

pytestmark = pytest.mark.contract

NODE = """
apiVersion: v1
kind: Node
metadata: {name: NAME}
"""
STORE_ID = "10000000-0000-4000-8000-0000000000aa"


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with S3Server(tmp_path_factory.mktemp("s3")) as found:
        yield found


def test_a_file_goes_to_s3_and_comes_back(s3: S3Server, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("ship")
    (folder / "a").write_bytes(b"x" * 100_000)
    shipper = Shipper(want_target(s3.datastore(path=f"{BUCKET}/all backups"), "shop/17", {}))
    shipper.put(folder / "a", "scheduled-a-1")
    shipper.put(folder / "a", "scheduled-a-2")
    assert shipper.list_names() == ["scheduled-a-1", "scheduled-a-2"]
    shipper.fetch("scheduled-a-1", folder / "b")
    assert (folder / "b").read_bytes() == (folder / "a").read_bytes()
    shipper.remove("scheduled-a-1")
    shipper.remove("scheduled-a-1")
    assert shipper.list_names() == ["scheduled-a-2"]
    with pytest.raises(BackupError, match="404"):
        shipper.fetch("scheduled-a-1", folder / "c")
    assert not (folder / "c").exists()


def test_what_may_not_be_written_is_told(s3: S3Server, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("ship") / "a"
    file.write_bytes(b"x")
    with pytest.raises(BackupError, match="answers 403"):
        Shipper(want_target(s3.datastore(path=BUCKET, password=Secret("wrong")), "p", {})).put(file, "a")
    with pytest.raises(BackupError, match="answers 404"):
        Shipper(want_target(s3.datastore(path="no-such-bucket"), "p", {})).put(file, "a")
    nowhere = s3.datastore(server="http://127.0.0.1:9")
    with pytest.raises(BackupError, match="cannot be used"):
        Shipper(want_target(nowhere, "p", {})).put(file, "a")


def status_of(node: ClusterMember) -> ClusterStatus:
    status = node.status()
    assert status is not None
    return status


def test_a_cluster_comes_back_on_a_blank_machine(make_member: MakeMember, s3: S3Server) -> None:
    node = make_member()
    with Namespace.at(f"/proc/{node.machine.pid}/ns/net") as inside:
        relay = Relay(inside, s3.port)
    store = DatastoreConfig(
        id=STORE_ID,
        dType=storage_pb2.DsS3,
        fqdn=s3.url,
        dpath=BUCKET,
        region=REGION,
        apiKey=s3.key_id,
        password=s3.secret,
    )
    prefix = f"backups/{node.instance}"
    backup = cluster_pb2.ClusterBackup(keep=2, datastore_id=STORE_ID, prefix=prefix)

    def tell(**orders: Any) -> None:
        node.tell(
            is_leader=True,
            members=[as_member(node)],
            datastores=[store],
            backup=backup,
            orders=cluster_pb2.ClusterOrders(**orders),
            initialized=bool(orders),
        )

    try:
        tell()
        node.start()
        node.wait_state(ClusterState.READY)
        node.kubectl("create", "configmap", "kept", "--from-literal=a=b")
        # A member that is gone by the time of the restore, and one that somebody made by hand.
        for name in ("gone", "by-hand"):
            node.kubectl("apply", "-f", "-", stdin=NODE.replace("NAME", name))
            secret = ("secret", "generic", f"{name}.node-password.k3s", "-n", "kube-system", "--from-literal=hash=1:2")
            node.kubectl("create", *secret)
        node.kubectl("annotate", "node", "gone", "eaves.dev/labels=eaves.dev/edgenode")
        authority = status_of(node).ca_hash

        # One on order, while the datastore is away: it is kept, told, and shipped as soon as it is back.
        relay.cut()
        tell(snapshot=1)
        node.daemon.wait("the snapshot", lambda: status_of(node).done.snapshot == 1, 120)
        node.daemon.wait("its message", lambda: any(one.message for one in status_of(node).snapshots), 60)
        relay.mend()
        node.daemon.wait("shipping", lambda: [one.is_shipped for one in status_of(node).snapshots] == [True], 120)
        name = status_of(node).snapshots[0].name

        # All of the machine is lost. It is not made anew, but brought back.
        node.kubectl("create", "configmap", "later", "--from-literal=a=b")
        node.lose_disk()
        # The machine has another password than the one that the snapshot knows it by.
        files.save_file(files.want_folder(node.machine.path("/etc/rancher") / "node") / "password", b"another\n")
        tell(snapshot=1)
        node.start()
        assert "not made anew" in node.wait_state(ClusterState.WAITING_FOR_SERVER, 60).message
        tell(snapshot=1, restore=1, restore_snapshot=name)
        node.daemon.wait("the restore", lambda: status_of(node).done.restore == 1, 300)
        node.wait_state(ClusterState.READY)
        node.daemon.wait("its Node", lambda: status_of(node).members and status_of(node).members[0].is_ready, 180)
        assert "gone" not in (nodes := node.get("nodes"))
        assert "by-hand" in nodes
        assert "gone.node-password" not in node.get("secrets", "-n", "kube-system")
        names = node.get("configmap")
        assert "kept" in names
        assert "later" not in names
        assert status_of(node).ca_hash == authority

        # On the hour: what the schedule made is pruned to its number, here and there.
        backup.schedule = "* * * * *"
        backup.keep = 1
        tell(snapshot=1, restore=1, restore_snapshot=name)

        def count() -> int:
            return sum(one.is_scheduled and one.is_shipped for one in status_of(node).snapshots)

        node.daemon.wait("a scheduled snapshot", lambda: count() == 1, 180)
        former = next(one.name for one in status_of(node).snapshots if one.is_scheduled)
        node.daemon.wait(
            "the next one in its place",
            lambda: former not in [one.name for one in status_of(node).snapshots] and count() == 1,
            180,
        )
    finally:
        relay.close()
