"""A node's membership against a real K3s or its stand-in: made, kept, joined, changed, left."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import time
from pathlib import Path

import pytest

from eaves.node import pids
from eaves.node.observed_cluster import AddOnState, ClusterState
from eaves.testing.cluster_member import CLUSTER_ID, START_LIMIT_S, ClusterMember
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


def list_add_ons(node: ClusterMember) -> list[tuple[str, AddOnState]]:
    """Names and states, as the leader tells them."""
    status = node.status()
    return [(one.name, one.state) for one in status.add_ons] if status is not None else []


def is_alive(pid: int) -> bool:
    """One that has ended stays in the table until its parent, which may be the init of the host, asks how."""
    return pids.is_process(pid)


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
    node.daemon.wait("labels", lambda: "17" in node.get("nodes", "-L", "site"), 30)
    assert "edge" in node.get("nodes", "-L", "tier")
    assert node.k3s_log()

    # The daemon dies, K3s goes on, the next daemon takes it over.
    pid = node.k3s_pid()
    node.daemon.kill()
    assert is_alive(pid)
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
    node.tell(is_leader=True, members=members, add_ons=[add_on("a", ""), add_on("b", MAP % "three")])
    node.daemon.wait("removal", lambda: "one" not in (names := node.get("cm")) and "two" not in names, 120)
    assert "three" in node.get("cm")

    # It leaves: nothing of it stays, and nothing else goes.
    own = [*node.daemon.wait("its first pods", lambda: list_shims(node), 180), node.k3s_pid()]
    assert all(is_alive(one) for one in own)
    node.tell_nothing()
    node.wait_departure()
    assert list_traces(node) == []
    assert node.machine.address in node.machine.run("ip", "-o", "addr", "show", "eth0")
    assert not [one for one in own if is_alive(one)]


@pytest.mark.soak
def test_a_leader_takes_away_what_it_never_placed(make_member: MakeMember) -> None:
    node = make_member()
    members = [as_member(node)]
    first, second = add_on("a", MAP % "one"), add_on("b", MAP % "two")
    node.tell(is_leader=True, members=members, add_ons=[first, second])
    node.start()
    ready = [("a", AddOnState.READY), ("b", AddOnState.READY)]
    node.daemon.wait("both to be ready", lambda: list_add_ons(node) == ready, START_LIMIT_S)
    node.tell(is_leader=True, members=members, add_ons=[add_on("a", ""), second])
    node.daemon.wait("the end of one", lambda: list_add_ons(node) == ready[1:], 120)
    assert "one" not in node.get("cm")
    # The same comes back, which K3s would take for applied, had it a record of it still.
    node.tell(is_leader=True, members=members, add_ons=[first, second])
    node.daemon.wait("its return", lambda: list_add_ons(node) == ready, 120)
    assert "one" in node.get("cm")

    # A leader that has no file of what others placed, as after the loss of the former one, tells of it and removes it when told.
    for file in node.root.glob("data/server/manifests/eaves-*"):
        file.unlink()
    node.tell(is_leader=True, members=members)
    removing = [("a", AddOnState.REMOVING), ("b", AddOnState.REMOVING)]
    node.daemon.wait("both to be found", lambda: list_add_ons(node) == removing, 120)
    assert {"configmap/one", "configmap/two"} <= set(node.get("cm", "-o", "name").split())
    node.tell(is_leader=True, members=members, add_ons=[add_on("a", ""), add_on("b", "")])
    node.daemon.wait("the end of both", lambda: list_add_ons(node) == [], 120)
    assert not {"configmap/one", "configmap/two"} & set(node.get("cm", "-o", "name").split())
    assert "/eaves-" not in node.get("addons", "-n", "kube-system", "-o", "name")


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


def list_shims(node: ClusterMember) -> list[int]:
    """Processes that keep the pods of its containerd."""
    found = []
    for pid in find_processes("-namespace", "k8s.io"):
        with contextlib.suppress(OSError):
            found += [pid] if is_same_network(pid, node.machine.pid) else []
    return found


def is_same_network(pid: int, other: int) -> bool:
    return Path(f"/proc/{pid}/ns/net").readlink() == Path(f"/proc/{other}/ns/net").readlink()


def list_traces(node: ClusterMember) -> list[str]:
    """What is left of K3s on a machine that had none before."""
    left = [link for link in ("cni0", "flannel") if link in node.machine.run("ip", "-o", "link")]
    left += ["iptables"] if "KUBE-" in node.machine.run("iptables-save", check=False) else []
    left += ["mounts"] if str(node.root) in node.machine.run("cat", "/proc/self/mountinfo") else []
    for path in ("/run/k3s", "/run/flannel", "/var/lib/kubelet", "/var/lib/cni", "/etc/rancher/node", "/var/log/pods"):
        found = node.machine.path(path)
        left += [path] if found.exists() and any(found.iterdir()) else []
    return left + ([str(node.root)] if node.root.exists() else [])


def find_processes(*arguments: str) -> list[int]:
    """Who has all of these words on its command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                found += [int(entry.name)] if all(argument in words for argument in arguments) else []
    return found


def test_the_public_fields_alone_make_a_cluster_that_a_reset_removes(make_member: MakeMember) -> None:
    node = make_member()
    node.tell_as_eve()
    node.start()
    status = node.wait_state(ClusterState.READY)
    assert status.node_name == node.machine.name
    # The server that others join tells of the cluster, since nobody named a leader.
    node.daemon.wait(
        "the Node", lambda: (found := node.status()) and [one.name for one in found.nodes] == [node.machine.name], 120
    )
    (node.folder / "teardown").touch()
    wait_for("the end of the teardown", lambda: not node.daemon.is_running, 120, node.daemon.tail)
    assert list_traces(node) == []


def test_a_daemon_that_dies_at_any_moment_of_the_bring_up_ends_with_one_k3s(make_member: MakeMember) -> None:
    node = make_member()
    node.tell(is_leader=True, members=[as_member(node)])
    for delay_s in (0.3, 0.8, 1.2, 1.6, 2.5, 6.0):
        node.start()
        until = time.monotonic() + delay_s
        wait_for("the moment", lambda until=until: time.monotonic() > until, 30)  # type: ignore[misc]  # bound now
        node.daemon.kill()
    node.start()
    node.wait_state(ClusterState.READY)
    assert len(find_processes("server", f"{node.root}/config.yaml")) == 1
    assert len(find_processes(f"{node.folder}/run/k3s/{CLUSTER_ID}")) == 1
    node.tell_nothing()
    node.wait_departure()
    assert list_traces(node) == []
