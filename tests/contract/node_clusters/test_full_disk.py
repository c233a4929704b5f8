"""A server whose disk is full, against a real K3s or its stand-in."""

from __future__ import annotations

import pytest

from eaves.node.observed_cluster import ClusterState
from eaves.testing.cluster_member import ClusterMember

from .conftest import MakeMember
from .test_backups import status_of
from .test_membership import as_member

pytestmark = pytest.mark.contract

DISK_BYTES = 1 << 30


def mount_small(node: ClusterMember) -> str:
    """Give K3s and the daemon's state a file system of their own, which the machine alone sees; answers the path of a filler."""
    state = node.folder / "state"
    state.mkdir()
    node.machine.run("mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=700", "tmpfs", str(state))
    return str(state / "filler")


def fill(node: ClusterMember, filler: str) -> None:
    """To the last byte."""
    whole, rest = f"dd if=/dev/zero of={filler} bs=1M", f"dd if=/dev/zero of={filler} bs=512 oflag=append conv=notrunc"
    node.machine.run("sh", "-c", f"{whole}; {rest}; true")


@pytest.mark.soak
def test_a_server_with_a_full_disk_says_so_and_goes_on_when_there_is_room(make_member: MakeMember) -> None:
    node = make_member()
    filler = mount_small(node)
    node.tell(is_leader=True, members=[as_member(node)])
    node.start()
    authority = node.wait_state(ClusterState.READY).ca_hash
    node.kubectl("create", "configmap", "kept", "--from-literal=a=b")
    fill(node, filler)

    # etcd ends sooner or later; K3s cannot be started again, and both the cause and the remedy are told.
    def is_told() -> bool:
        fault = status_of(node).fault
        return fault is not None and fault.code == "StorageFull" and "free space" in fault.resolution

    node.daemon.wait("the reason", is_told, 180)
    # The daemon bears it, a death of its own included.
    node.daemon.kill()
    node.start()
    node.daemon.wait("the reason once more", lambda: node.status() is not None and is_told(), 120)

    node.machine.run("rm", filler)
    assert node.wait_state(ClusterState.READY).ca_hash == authority
    assert "kept" in node.get("configmap")
    node.kubectl("create", "configmap", "later", "--from-literal=a=b")
    assert "later" in node.get("configmap")
