"""A node's membership against a real K3s or its stand-in: made, kept, joined, changed, left."""

from __future__ import annotations

import hashlib
import os
import signal
from pathlib import Path

import pytest

from eaves.node.observed_cluster import AddOnState, ClusterState
from eaves.testing.cluster_member import CLUSTER_ID, ClusterMember
from eaves.testing.daemons import wait_for
from eaves.wire.pb.eaves import cluster_pb2

from .conftest import MakeMember

pytestmark = pytest.mark.contract

MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, namespace: default}\ndata: {a: b}\n"


def add_on(name: str, manifest: str) -> cluster_pb2.ClusterAddOn:
    return cluster_pb2.ClusterAddOn(name=name, digest=hashlib.sha256(manifest.encode()).hexdigest(), manifest=manifest)


def as_member(node: ClusterMember, *, is_server: bool = True, want: str = "Ready") -> cluster_pb2.ClusterMember:
    return cluster_pb2.ClusterMember(
        id=node.machine.name,
        name=node.machine.name,
        address=node.machine.address,
        is_server=is_server,
        want=want,
        labels={"site": "17"},
    )


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_a_lone_server_from_its_first_start_to_its_departure(make_member: MakeMember) -> None:
    node = make_member()
    members = [as_member(node)]
    node.tell(is_leader=True, members=members, node_labels={"tier": "edge"})
    node.start()
    status = node.wait_state(ClusterState.READY)
    assert status.is_api_ready
    assert status.version == node.release.version
    assert len(status.ca_hash) == 64
    assert status.has_data
    assert "join-token" not in Path(f"/proc/{node.k3s_pid()}/cmdline").read_text()
    node.daemon.wait(
        "the leader's report", lambda: (found := node.status()) and found.nodes and found.nodes[0].is_ready, 120
    )
    node.daemon.wait("labels", lambda: "17" in node.kubectl("get", "nodes", "-L", "site"), 30)
    assert "edge" in node.kubectl("get", "nodes", "-L", "tier")
    assert node.k3s_log()

    # The daemon dies, K3s goes on, the next daemon takes it over.
    pid = node.k3s_pid()
    node.daemon.kill()
    assert is_alive(pid)
    (node.folder / "status.json").unlink()
    node.start()
    node.wait_state(ClusterState.READY)
    assert node.k3s_pid() == pid

    # K3s dies and is started again.
    os.kill(pid, signal.SIGKILL)
    node.daemon.wait("another K3s", lambda: node.k3s_pid() not in (0, pid), 60)
    assert node.wait_state(ClusterState.READY).restarts == 1

    # Add-ons come, change and go with the config.
    first, second = MAP % "one", f"{MAP % 'two'}---\n{MAP % 'three'}"
    node.tell(is_leader=True, members=members, add_ons=[add_on("a", first), add_on("b", second)])
    node.daemon.wait(
        "add-ons",
        lambda: (found := node.status()) and [one.state for one in found.add_ons] == [AddOnState.READY] * 2,
        120,
    )
    node.tell(is_leader=True, members=members, add_ons=[add_on("b", MAP % "three")])
    node.daemon.wait("removal", lambda: "one" not in (names := node.kubectl("get", "cm")) and "two" not in names, 120)
    assert "three" in node.kubectl("get", "cm")

    # It leaves: nothing of it stays, and nothing else goes.
    shims = node.machine.run("sh", "-c", "ps ax | grep -c [c]ontainerd-shim", check=False)
    assert shims.strip() != "0"
    node.tell_nothing()
    node.daemon.wait("departure", lambda: node.status() is None, 120)
    assert not node.root.exists()
    links = node.machine.run("ip", "-o", "link")
    assert "cni0" not in links
    assert "flannel" not in links
    assert "eth0" in links
    assert node.machine.address in node.machine.run("ip", "-o", "addr")
    assert "KUBE-" not in node.machine.run("iptables-save", check=False)
    assert str(node.root) not in node.machine.run("cat", "/proc/self/mountinfo")
    for path in ("/run/k3s", "/run/flannel", "/var/lib/kubelet", "/etc/rancher/node"):
        assert not node.machine.path(path).exists() or not list(node.machine.path(path).iterdir()), path
    assert not is_alive(pid)


def test_a_config_that_cannot_be_understood_changes_nothing(make_member: MakeMember) -> None:
    node = make_member()
    node.tell()
    node.start()
    node.wait_state(ClusterState.READY)
    pid = node.k3s_pid()
    node.tell(version="latest")
    node.daemon.wait("notice", lambda: "no version of K3s" in node.daemon.tail(), 30)
    node.daemon.kill()
    os.kill(pid, signal.SIGKILL)
    wait_for("the end", lambda: not is_alive(pid), 30)
    node.start()
    node.daemon.wait("another K3s", lambda: node.k3s_pid() not in (0, pid), 60)
    node.wait_state(ClusterState.READY)
    assert (node.folder / "state" / "k3s" / CLUSTER_ID).exists()
