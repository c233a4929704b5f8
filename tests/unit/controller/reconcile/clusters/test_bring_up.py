"""How a cluster comes to be: who starts it, in which order others join, and what it says while it waits."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from eaves.kinds.k3scluster_status import MemberRole
from eaves.testing.clusterworld import World

ABC = ["a", "b", "c"]


def spec(servers: list[str], agents: list[str] | None = None, **fields: Any) -> dict[str, Any]:
    return {
        "version": "v1.34.2+k3s1",
        "servers": {"nodeNames": servers},
        "agents": {"nodeNames": agents or []},
        **fields,
    }


@pytest.mark.parametrize("servers", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("agents", [0, 1, 4])
def test_a_cluster_comes_up(servers: int, agents: int) -> None:
    names = [f"n{number}" for number in range(servers + agents)]
    world = World(spec(names[:servers], names[servers:]), names)
    world.run()
    assert world.status.phase == "Ready"
    assert world.bootstraps == 1
    assert len(world.voters) == servers
    assert world.condition("Ready")[0] == world.condition("APIAvailable")[0] == "True"
    assert (world.status.servers.ready, world.status.agents.ready) == (servers, agents)
    assert world.status.version == "v1.34.2+k3s1"
    assert world.status.cluster_id == world.obj["metadata"]["uid"]
    assert world.status.ca_hash == "c" * 64
    assert (
        world.condition("Degraded")[0]
        == world.condition("Upgrading")[0]
        == world.condition("Progressing")[0]
        == "False"
    )


def test_the_first_server_is_recorded_before_any_server_may_start() -> None:
    world = World(spec(ABC, ["d"]), [*ABC, "d"])
    world.turn()
    assert world.status.first_server == "a"
    assert [name for name, member in world.members.items() if not member.stopped] == ["a"]


def test_servers_join_one_by_one_and_agents_when_the_api_answers() -> None:
    world = World(spec(ABC, ["d"]), [*ABC, "d"])
    seen: list[list[str]] = []
    for _ in range(12):
        world.turn()
        started = [name for name, member in world.members.items() if not member.stopped]
        if not seen or seen[-1] != started:
            seen.append(started)
    assert seen == [["a"], ["a", "b", "d"], ["a", "b", "c", "d"]]


@pytest.mark.parametrize("reachable", list(itertools.product([False, True], repeat=3)))
def test_who_can_be_reached_starts_the_cluster_in_the_order_of_the_spec(reachable: tuple[bool, ...]) -> None:
    world = World(spec(ABC), ABC)
    for name, link in zip(ABC, reachable, strict=True):
        world.boxes[name].has_link = link
    world.turn()
    expected = next((name for name, link in zip(ABC, reachable, strict=True) if link), "")
    assert world.status.first_server == expected
    if not expected:
        assert world.status.phase == "Pending"
        assert world.condition("Progressing")[1] == "NoServerReachable"


def test_an_election_stands_while_the_first_server_cannot_be_reached() -> None:
    world = World(spec(ABC), ABC)
    world.turn()
    world.boxes["a"].has_link = False
    for _ in range(40):
        world.turn()
        assert world.status.first_server == "a"
    world.boxes["a"].has_link = True
    world.run()
    assert (world.status.phase, world.bootstraps) == ("Ready", 1)


def test_another_server_is_elected_when_the_first_is_gone_before_the_cluster_ran() -> None:
    world = World(spec(ABC), ABC)
    world.boxes["a"].is_broken = True
    world.turn()
    world.lose("a")
    world.epoch, world.voters = 0, set()
    world.forget_box("a")
    world.edit(servers={"nodeNames": ["b", "c"]})
    world.run()
    assert world.status.first_server == "b"
    assert world.status.phase == "Ready"


def test_a_first_server_that_is_taken_out_of_the_spec_keeps_its_office_until_it_has_left() -> None:
    world = World(spec(ABC), ABC)
    world.turn()
    world.boxes["a"].has_link = False
    world.edit(servers={"nodeNames": ["b", "c"]})
    for _ in range(10):
        world.turn()
        assert world.status.first_server == "a"
        assert world.condition("Progressing")[1] == "FirstServerLeaving"
    assert world.bootstraps <= 1


def test_nodes_are_chosen_by_selector_and_stay_chosen() -> None:
    names = [f"n{number}" for number in range(6)]
    pools = {
        "servers": {"selector": {"matchLabels": {"site": "17"}}, "count": 3},
        "agents": {"selector": {"matchLabels": {"role": "worker"}}},
    }
    world = World({"version": "v1.34.2+k3s1", **pools}, names)
    for name in names[1:]:
        world.boxes[name].labels = {"site": "17"}
    world.boxes["n0"].labels = {"role": "worker"}
    world.run()
    servers = [name for name, member in world.members.items() if member.role is MemberRole.SERVER]
    assert servers == ["n1", "n2", "n3"]
    assert world.members["n0"].role is MemberRole.AGENT
    # A node that comes before them by name does not push a member out, nor does one that is out of reach for a while lose its place.
    world.add_box("m9", labels={"site": "17"})
    world.boxes["n2"].has_link = False
    world.run()
    assert [name for name, member in world.members.items() if member.role is MemberRole.SERVER] == servers


@pytest.mark.parametrize(
    ("change", "reason", "words"),
    [
        (lambda world: world.releases.clear(), "ReleaseMissing", "kubectl eaves k3s-release import v1.34.2+k3s1"),
        (lambda world: setattr(world.boxes["a"], "architecture", "arm64"), "ArchitectureMissing", "arm64"),
        (lambda world: setattr(world.boxes["a"], "is_approved", False), "NodeNotApproved", "kubectl eaves approve a"),
        (lambda world: setattr(world.boxes["a"], "address", "169.254.1.1"), "AddressMissing", "IPv4 address"),
        (lambda world: world.forget_box("a"), "NodeMissing", "no EdgeNode"),
        (lambda world: world.taken.update(a="other"), "NodeTaken", "K3sCluster other"),
        (lambda world: world.obstacles.append("Secret db is missing"), "ReferenceMissing", "Secret db"),
    ],
)
def test_what_is_missing_is_a_condition_and_mends_by_itself(change: Any, reason: str, words: str) -> None:
    world = World(spec(["a"]), ["a"])
    healthy = World(spec(["a"]), ["a"])
    change(world)
    world.run()
    status, told, message = world.condition("Progressing")
    assert (status, told) == ("True", reason)
    assert words in message
    assert world.status.phase == "Pending"
    assert world.epoch == 0
    assert words in world.status.message
    world.boxes, world.releases, world.taken, world.obstacles = healthy.boxes, healthy.releases, {}, []
    world.run()
    assert world.status.phase == "Ready"


def test_a_node_of_another_cluster_stays_there() -> None:
    world = World({"version": "v1.34.2+k3s1", "servers": {"selector": {}, "count": 1}}, ABC)
    world.taken = {"a": "other"}
    world.run()
    assert list(world.members) == ["b"]


def test_addresses_come_from_the_spec_or_the_interface_and_are_nobody_elses() -> None:
    world = World(
        spec(
            ABC,
            clusterInterface="eth0",
            apiAddress="10.17.0.11",
            addresses=[{"nodeName": "b", "address": "10.9.0.2/24"}],
        ),
        ABC,
    )
    world.turn()
    # The first box reports nothing but the address that the servers share.
    assert [member.address for member in world.status.members] == ["", "10.9.0.2/24", "10.17.0.13/24"]
    assert "a has reported no IPv4 address of uplink eth0" in world.condition("Progressing")[2]


def test_a_server_keeps_the_address_that_etcd_knows_and_an_agent_follows() -> None:
    world = World(spec(["a"], ["b"]), ["a", "b"])
    world.run()
    world.boxes["a"].address, world.boxes["b"].address = "10.17.0.90/24", "10.17.0.91/24"
    world.run()
    assert world.members["a"].address == "10.17.0.11/24"
    assert world.members["b"].address == "10.17.0.91/24"
    assert world.condition("Degraded")[1] == "AddressChanged"
    world.boxes["a"].address = "10.17.0.11/24"
    world.run()
    assert world.status.phase == "Ready"


def test_the_events_tell_the_steps_in_order() -> None:
    world = World(spec(["a"], ["b"]), ["a", "b"])
    world.run()
    assert [note.reason for note in world.notes] == [
        "FirstServerElected",
        "MemberAdded",
        "MemberAdded",
        "ClusterCreated",
        "MemberJoined",
        "MemberJoined",
    ]
