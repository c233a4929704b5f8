"""Several members of one cluster, against a real K3s or its stand-in: joining, shared address, drain, removal, a dead first server."""

from __future__ import annotations

import json

import pytest

from eaves.node.observed_cluster import ClusterState, MemberStatus
from eaves.testing.cluster_member import ClusterMember
from eaves.testing.daemons import wait_for
from eaves.wire.pb.eaves import cluster_pb2

from .conftest import MakeMember
from .test_membership import as_member

pytestmark = pytest.mark.contract

BUSYBOX = "docker.io/rancher/mirrored-library-busybox:1.37.0"
GUARDED = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: default}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      nodeName: ""
      nodeSelector: {kubernetes.io/hostname: NODE}
      terminationGracePeriodSeconds: 1
      containers: [{name: web, image: IMAGE, imagePullPolicy: Never, command: [sleep, "100000"]}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web, namespace: default}
spec: {minAvailable: 1, selector: {matchLabels: {app: web}}}
"""


def seen_by(leader: ClusterMember, other: ClusterMember) -> MemberStatus:
    status = leader.status()
    members = status.members if status is not None else ()
    return next((one for one in members if one.name == other.machine.name), MemberStatus("", ""))


def test_an_agent_joins_is_drained_within_budgets_and_removed(make_member: MakeMember) -> None:
    server, agent = make_member(), make_member()

    def tell(want: str) -> None:
        members = [as_member(server), as_member(agent, is_server=False, want=want)]
        server.tell(is_leader=True, members=members)

    # The agent is there first and waits for the server to say that it is ready.
    agent.tell(join=server.machine.address, is_worker=True)
    agent.start()
    status = agent.wait_state(ClusterState.WAITING_FOR_SERVER)
    assert status.waiting_for == f"server {server.machine.address}"
    tell("Ready")
    server.start()
    server.wait_state(ClusterState.READY)
    agent.wait_state(ClusterState.READY)
    server.daemon.wait("the agent's Node", lambda: seen_by(server, agent).is_ready, 180)

    # A pod that a budget guards holds the drain up, by name, until the budget lets it go.
    manifest = GUARDED.replace("NODE", agent.machine.name).replace("IMAGE", BUSYBOX)
    server.kubectl("apply", "-f", "-", stdin=manifest)
    server.daemon.wait("the pod", lambda: "1/1" in server.get("deployment", "web"), 180)
    tell("Drained")
    server.daemon.wait("the budget", lambda: "PodDisruptionBudget" in seen_by(server, agent).message, 60)
    assert not seen_by(server, agent).is_drained
    assert "SchedulingDisabled" in server.get("nodes")
    server.kubectl("delete", "pdb", "web")
    server.daemon.wait("the drain", lambda: seen_by(server, agent).is_drained, 120)
    tell("Ready")
    server.daemon.wait("the end of the drain", lambda: "SchedulingDisabled" not in server.get("nodes"), 60)

    # It leaves, and the leader takes its Node out.
    agent.tell_nothing()
    agent.wait_departure()
    tell("Removed")
    server.daemon.wait("removal", lambda: seen_by(server, agent).is_removed, 120)
    assert agent.machine.name not in server.get("nodes")


@pytest.mark.soak
def test_servers_share_an_address_and_a_lost_first_server_makes_no_second_cluster(make_member: MakeMember) -> None:
    servers = [make_member() for _ in range(3)]
    first, second, third = servers
    members = [as_member(server) for server in servers]
    shared = f"{first.machine.address.rpartition('.')[0]}.200"
    for server in servers:
        is_leader = server is second
        server.tell(
            join=first.machine.address, members=members, api_address=shared, is_leader=is_leader, initialized=False
        )
        server.start()
    authorities = {server.wait_state(ClusterState.READY, 600).ca_hash for server in servers}
    assert len(authorities) == 1
    second.daemon.wait("three members of etcd", lambda: (found := second.status()) and found.etcd_members == 3, 120)

    def holders() -> list[ClusterMember]:
        return [
            server for server in servers if f"inet {shared}/" in server.machine.run("ip", "-o", "addr", check=False)
        ]

    wait_for("one holder of the shared address", lambda: len(holders()) == 1, 60)

    # The first server loses its power and its disk; the others go on, and one of them holds the address.
    first.lose_disk()
    wait_for("another holder", lambda: [one for one in holders() if one is not first], 90)
    second.wait_state(ClusterState.READY, 180)
    # Not the leader alone tells of it, since the leader's machine may be the one that is gone.
    third.daemon.wait(
        "the loss to be seen", lambda: seen_by(third, first).id and not seen_by(third, first).is_ready, 180
    )

    # Although its config still names it as the first, it joins what is there.
    second.tell(
        join=third.machine.address,
        members=[as_member(first, want="Removed"), as_member(second), as_member(third)],
        api_address=shared,
        is_leader=True,
    )
    second.daemon.wait("removal", lambda: seen_by(second, first).is_removed, 180)
    second.tell(join=third.machine.address, members=members, api_address=shared, is_leader=True)
    first.tell(join=first.machine.address, members=members, api_address=shared, initialized=False)
    first.start()
    first.wait_state(ClusterState.READY, 600)
    names = {server.machine.name for server in servers}

    def nodes() -> set[str]:
        listed = json.loads(first.get("nodes", "-o", "json"))["items"]
        return {node["metadata"]["name"] for node in listed}

    first.daemon.wait("one cluster with all of them", lambda: nodes() == names, 120)
    assert {found.ca_hash for server in servers if (found := server.status()) is not None} == authorities


@pytest.mark.soak
def test_a_server_that_is_taken_out_unheard_makes_no_second_cluster_and_comes_back(make_member: MakeMember) -> None:
    first, second = make_member(), make_member()
    members = [as_member(first), as_member(second)]
    first.tell(members=members, member_since=1000)
    first.start()
    authority = first.wait_state(ClusterState.READY).ca_hash
    second.tell(join=first.machine.address, members=members, member_since=1000, is_leader=True)
    second.start()
    second.wait_state(ClusterState.READY)
    second.daemon.wait("two members of etcd", lambda: (found := second.status()) and found.etcd_members == 2, 120)

    # It hears nothing of its removal but what etcd tells it, and its config still has it make the cluster.
    leaving = [as_member(first, want="Removed"), as_member(second)]
    second.tell(join=second.machine.address, members=leaving, member_since=1000, is_leader=True)
    second.daemon.wait("removal", lambda: seen_by(second, first).is_removed, 180)
    assert "taken this server out" in first.wait_state(ClusterState.WAITING_FOR_SERVER).message
    first.daemon.kill()
    first.machine.cut_power()
    first.start()
    status = first.wait_state(ClusterState.WAITING_FOR_SERVER, 60)
    assert (status.waiting_for, status.has_data, first.k3s_pid()) == ("its controller", False, 0)
    assert second.get("nodes", "-o", "name").split() == [f"node/{second.machine.name}"]

    # Entered anew by its controller it is another member of the same cluster.
    second.tell(join=second.machine.address, members=members, member_since=1000, is_leader=True)
    first.tell(join=second.machine.address, members=members, member_since=2000)
    assert first.wait_state(ClusterState.READY).ca_hash == authority
    names = {f"node/{node.machine.name}" for node in (first, second)}
    first.daemon.wait("both Nodes", lambda: {*first.get("nodes", "-o", "name").split()} == names, 180)


@pytest.mark.soak
def test_servers_take_another_config_one_by_one_and_a_bad_one_costs_one_server(make_member: MakeMember) -> None:
    servers = [make_member() for _ in range(3)]
    members = [as_member(server) for server in servers]

    def tell(**config: object) -> None:
        for server in servers:
            options = json.dumps(config).encode() if config else b""
            is_leader = server is servers[0]
            server.tell(join=servers[0].machine.address, members=members, is_leader=is_leader, config=options)

    def pids() -> dict[str, int]:
        return {server.machine.name: server.k3s_pid() for server in servers}

    tell()
    for server in servers:
        server.start()
    for server in servers:
        server.wait_state(ClusterState.READY, 600)
    for server in servers:
        server.daemon.wait("all Nodes", lambda s=server: all(seen_by(s, o).is_ready for o in servers), 180)  # type: ignore[misc]

    # Whoever goes first does not come back with it, and the others are told for whom they wait.
    before = pids()
    tell(**{"kube-apiserver-arg": ["no-such-flag=1"]})
    wait_for("one to restart", lambda: pids() != before, 120)
    (broken,) = [server for server in servers if pids()[server.machine.name] != before[server.machine.name]]
    others = [server for server in servers if server is not broken]
    for server in others:
        server.daemon.wait("the loss to be seen", lambda s=server: not seen_by(s, broken).is_ready, 180)  # type: ignore[misc]
        status = server.wait_state(ClusterState.READY)
        assert status.message.endswith(f"when server {broken.machine.name} is ready again")
        assert pids()[server.machine.name] == before[server.machine.name]
    tell()
    broken.wait_state(ClusterState.READY)
    for server in servers:
        server.daemon.wait("all Nodes", lambda s=server: all(seen_by(s, o).is_ready for o in servers), 180)  # type: ignore[misc]
    assert all(pids()[server.machine.name] == before[server.machine.name] for server in others)

    # One that is good goes round, and two serve at any time.
    before = pids()
    tell(**{"etcd-snapshot-retention": 3})

    def has_gone_round() -> bool:
        ready = [server for server in servers if server.is_in(ClusterState.READY)]
        assert len(ready) >= 2
        return len(ready) == 3 and all(pids()[name] not in (0, pid) for name, pid in before.items())

    wait_for("all to have it", has_gone_round, 400)


def test_a_server_without_its_data_waits_rather_than_making_the_cluster_anew(make_member: MakeMember) -> None:
    server = make_member()
    server.tell(initialized=True, orders=cluster_pb2.ClusterOrders())
    server.start()
    status = server.wait_state(ClusterState.WAITING_FOR_SERVER, 60)
    assert "not made anew" in status.message
    assert server.k3s_pid() == 0
