"""Members come and go: drained, taken out of the cluster, gone; a dead one is replaced under the same role."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from eaves.controller.observe.clusters import MemberReport, MemberView
from eaves.controller.reconcile.clusters.plan import plan
from eaves.kinds.k3scluster import FORGET_ANNOTATION
from eaves.kinds.k3scluster_status import MemberRole
from eaves.kinds.k3scluster_status import MemberWish as Wish
from eaves.testing.clusterworld import World

ABC = ["a", "b", "c"]


def made(servers: list[str], agents: list[str] | None = None, **fields: Any) -> World:
    spec = {
        "version": "v1.34.2+k3s1",
        "servers": {"nodeNames": servers},
        "agents": {"nodeNames": agents or []},
        **fields,
    }
    world = World(spec, [*servers, *(agents or [])])
    world.run()
    assert world.status.phase == "Ready"
    return world


def wishes(world: World, name: str) -> list[Wish | None]:
    """What is wanted of a member, each once, until nothing changes."""
    seen: list[Wish | None] = []
    for _ in range(30):
        world.turn()
        member = world.members.get(name)
        want = member.want if member is not None else None
        if not seen or seen[-1] != want:
            seen.append(want)
    return seen


def test_an_agent_leaves_in_order_and_takes_everything_away() -> None:
    world = made(["a"], ["b", "c"])
    world.edit(agents={"nodeNames": ["c"]})
    assert wishes(world, "b") == [Wish.DRAINED, Wish.REMOVED, Wish.LEFT, None]
    assert "b" not in world.known
    assert world.boxes["b"].has_left
    assert world.status.phase == "Ready"
    assert [note.reason for note in world.notes[-4:]] == [
        "MemberDraining",
        "MemberRemoving",
        "MemberLeaving",
        "MemberLeft",
    ]


@pytest.mark.parametrize("gone", ABC)
def test_a_server_leaves_and_the_cluster_goes_on(gone: str) -> None:
    world = made(ABC)
    world.edit(servers={"nodeNames": [name for name in ABC if name != gone]})
    world.run()
    assert world.status.phase == "Ready"
    assert len(world.voters) == 2
    assert world.boxes[gone].has_left
    assert world.status.first_server != gone
    assert world.status.leader != gone


@pytest.mark.parametrize("leaves", ABC)
def test_the_leader_dies_while_another_server_is_taken_out(leaves: str) -> None:
    world = made(ABC)
    world.edit(servers={"nodeNames": [name for name in ABC if name != leaves]})
    for _ in range(20):
        # Told to the controller, and not yet to the leader.
        world.obj = {**world.obj, "status": msgspec.to_builtins(plan(world.inputs()).status)}
        if world.members[leaves].want is Wish.REMOVED:
            break
        world.turn()
    leader = world.status.leader
    assert leader != leaves
    world.lose(leader)
    world.run()
    # Two of three go on, since etcd keeps the one that is to leave until two others are there; and it says for what it waits.
    assert world.has_api
    assert world.status.leader not in (leader, leaves)
    assert len(world.voters) == 3
    status, _, message = world.condition("Progressing")
    assert status == "True"
    assert f"{leaves} is being taken out" in message
    assert world.condition("Degraded")[0] == "True"
    world.boxes[leader].has_power = world.boxes[leader].has_link = True
    world.run()
    assert world.status.phase == "Ready"
    assert (len(world.voters), world.bootstraps, world.boxes[leaves].has_left) == (2, 1, True)


def test_three_servers_become_one_and_one_becomes_five() -> None:
    world = made(ABC)
    world.edit(servers={"nodeNames": ["c"]})
    world.run()
    assert (world.status.phase, len(world.voters)) == ("Ready", 1)
    for name in ("d", "e"):
        world.add_box(name)
    world.edit(servers={"nodeNames": ["a", "b", "c", "d", "e"]})
    world.run()
    assert (world.status.phase, len(world.voters), world.bootstraps) == ("Ready", 5, 1)


def test_the_only_server_is_exchanged_by_one_that_joins_before() -> None:
    world = made(["a"])
    world.add_box("b")
    world.edit(servers={"nodeNames": ["b"]})
    world.run()
    assert (world.status.phase, world.status.first_server, list(world.members)) == ("Ready", "b", ["b"])
    assert world.bootstraps == 1


def test_servers_over_an_external_datastore_come_and_go() -> None:
    world = made(ABC, ["d"], datastore="External", datastoreSecretRef={"name": "db"})
    world.edit(servers={"nodeNames": ["b", "c"]})
    world.run()
    assert (world.status.phase, sorted(world.members)) == ("Ready", ["b", "c", "d"])
    assert world.status.first_server in ("b", "c")


def test_the_last_server_stays_while_its_successor_does_not_come() -> None:
    world = made(["a"])
    world.add_box("b", has_link=False)
    world.edit(servers={"nodeNames": ["b"]})
    world.run()
    assert world.members["a"].want is Wish.READY
    assert world.condition("Progressing")[1] in ("LastServer", "ServerJoining")
    assert world.has_api


def test_a_dead_server_is_replaced_under_the_same_role() -> None:
    pools = {"selector": {"matchLabels": {"site": "17"}}, "count": 3}
    world = World({"version": "v1.34.2+k3s1", "servers": pools}, [*ABC, "d"])
    for box in world.boxes.values():
        box.labels = {"site": "17"}
    world.run()
    assert sorted(world.members) == ABC
    world.lose("a")
    world.run()
    assert world.status.phase == "Degraded"
    assert world.condition("Degraded")[1] == "MembersLost"
    assert sorted(world.members) == ABC, "a node that is silent keeps its place"
    world.edit(replace=["a"])
    world.run()
    assert sorted(world.members) == ["a", "b", "c", "d"], "it takes K3s away when it is heard of again"
    world.forget_box("a")
    world.run()
    assert sorted(world.members) == ["b", "c", "d"]
    assert (world.status.phase, len(world.voters)) == ("Ready", 3)


def test_deleting_the_edgenode_of_a_dead_server_gives_its_place_to_another() -> None:
    pools = {"selector": {"matchLabels": {"site": "17"}}, "count": 3}
    world = World({"version": "v1.34.2+k3s1", "servers": pools}, [*ABC, "d"])
    for box in world.boxes.values():
        box.labels = {"site": "17"}
    world.run()
    world.lose("b")
    world.forget_box("b")
    world.run()
    assert (world.status.phase, sorted(world.members)) == ("Ready", ["a", "c", "d"])


@pytest.mark.parametrize("name", ["a", "b", "d"])
def test_new_hardware_under_the_same_name_joins_anew(name: str) -> None:
    world = made(ABC, ["d"])
    world.replace_box(name)
    world.run()
    assert world.status.phase == "Ready"
    assert world.members[name].id == f"{name}-1x"
    assert world.known[name] == f"{name}-1x"
    assert len(world.voters) == 3


@pytest.mark.parametrize("name", ABC)
def test_a_server_that_lost_its_disk_is_taken_out_and_joins_again(name: str) -> None:
    world = made(ABC)
    world.losses += 1
    world.boxes[name].epoch, world.boxes[name].is_running = 0, False
    world.run()
    assert (world.status.phase, len(world.voters), world.bootstraps) == ("Ready", 3, 1)
    assert any(note.reason == "MemberRemoving" and name in note.message for note in world.notes)


def test_the_only_server_without_its_disk_waits_for_a_restore() -> None:
    world = made(["a"])
    world.losses += 1
    world.boxes["a"].epoch, world.boxes["a"].is_running = 0, False
    world.voters = set()
    world.run()
    assert world.condition("Degraded")[1] == "DataLost"
    assert world.bootstraps == 1


def test_without_quorum_nobody_is_taken_out_and_the_reason_is_said() -> None:
    world = made(ABC)
    world.lose("a")
    world.lose("b")
    world.edit(servers={"nodeNames": ["c"]})
    world.run()
    assert world.condition("Degraded")[1] == "NoServerAvailable"
    assert len(world.voters) == 3


def test_a_server_is_not_taken_out_when_the_rest_would_lose_quorum() -> None:
    world = made(ABC)
    world.lose("a")
    world.edit(servers={"nodeNames": ["a", "b"]})
    world.run()
    assert world.condition("Degraded")[1] == "NoQuorum"
    assert len(world.voters) == 3
    assert world.has_api


def test_a_drain_that_a_budget_holds_up_is_waited_for_and_told() -> None:
    world = made(["a"], ["b", "c"])
    world.boxes["b"].pods_stuck = True
    world.edit(agents={"nodeNames": ["c"]})
    for _ in range(80):
        world.turn()
    assert world.members["b"].want is Wish.DRAINED
    assert world.condition("Degraded")[1] == "DrainBlocked"
    world.boxes["b"].pods_stuck = False
    world.run()
    assert "b" not in world.members


def test_a_member_out_of_reach_leaves_when_it_comes_back() -> None:
    world = made(["a"], ["b"])
    world.boxes["b"].has_link = False
    world.run()
    assert world.members["b"].message == "the node is out of contact"
    world.edit(agents={"nodeNames": []})
    world.run()
    assert world.members["b"].want is Wish.LEFT
    assert world.status.phase == "Updating"
    assert "delete its EdgeNode if it is gone for good" in world.condition("Progressing")[2]
    world.boxes["b"].has_link = True
    world.run()
    assert (world.status.phase, list(world.members)) == ("Ready", ["a"])


def test_a_server_becomes_an_agent() -> None:
    world = made(ABC)
    world.edit(servers={"nodeNames": ["a"]}, agents={"nodeNames": ["b", "c"]})
    world.run()
    assert world.status.phase == "Ready"
    assert {name: member.role for name, member in world.members.items()} == {
        "a": MemberRole.SERVER,
        "b": MemberRole.AGENT,
        "c": MemberRole.AGENT,
    }


def test_the_leadership_goes_to_a_server_that_can_act_and_stays_there() -> None:
    world = made(ABC)
    assert world.status.leader == "a"
    world.boxes["a"].has_link = False
    world.run()
    assert world.status.leader == "b"
    world.boxes["a"].has_link = True
    world.run()
    assert world.status.leader == "b"
    for box in world.boxes.values():
        box.has_link = False
    world.run()
    assert world.status.leader == "b"
    assert world.condition("APIAvailable")[0] == "Unknown"


@pytest.mark.parametrize("links", [(True, True, True), (False, True, True), (False, False, False)])
def test_a_deleted_cluster_waits_until_its_members_have_left(links: tuple[bool, ...]) -> None:
    world = made(ABC)
    for name, link in zip(ABC, links, strict=True):
        world.boxes[name].has_link = link
    world.delete()
    world.run()
    missing = [name for name, link in zip(ABC, links, strict=True) if not link]
    assert list(world.members) == missing
    assert world.is_held is bool(missing)
    assert world.status.phase == "Deleting"
    for name in missing:
        assert name in world.condition("Progressing")[2]
        world.boxes[name].has_link = True
    world.run()
    assert not world.is_held
    assert all(box.has_left for box in world.boxes.values())


def test_a_deletion_waits_no_more_for_who_is_gone_for_good() -> None:
    world = made(ABC)
    for name in ("a", "b"):
        world.lose(name)
    world.delete()
    world.run()
    assert world.is_held
    world.forget_box("a")
    world.run()
    assert world.is_held
    world.obj["metadata"]["annotations"] = {FORGET_ANNOTATION: "b"}
    world.run()
    assert not world.is_held


@pytest.mark.parametrize("is_whole", [True, False])
def test_servers_have_heard_that_they_keep_their_data_before_they_leave(*, is_whole: bool) -> None:
    world = made(ABC, ["d"])
    for name in ("b", "d"):
        world.boxes[name].has_link = False
    world.edit(deletionPolicy="KeepData", **({} if is_whole else {"servers": {"nodeNames": ["a", "c"]}}))
    if is_whole:
        world.delete()
    world.run()
    assert world.members["b"].want is not Wish.LEFT
    if is_whole:
        # An agent has nothing to keep, and those that have heard it are gone.
        assert {name: member.want for name, member in world.members.items()} == {"b": Wish.READY, "d": Wish.LEFT}
        assert "b has to know first that its data are to be kept" in str(world.obj["status"]["conditions"])
    for name in ("b", "d"):
        world.boxes[name].has_link = True
    world.run()
    assert world.boxes["b"].has_left
    assert world.is_held is not is_whole


def test_a_cluster_that_never_ran_is_deleted() -> None:
    world = World({"version": "v1.34.2+k3s1", "servers": {"nodeNames": ABC}}, ABC)
    world.turn()
    world.delete()
    world.run()
    assert not world.is_held


def test_a_server_that_dies_is_noticed_by_the_others_before_the_controller_misses_its_device() -> None:
    world = made(ABC, ["d"])
    leader = world.status.leader
    world.lose(leader)
    world.boxes[leader].is_presumed = True
    for _ in range(3):
        world.turn()
    assert not world.members[leader].ready
    assert world.status.servers.ready == 2
    assert world.condition("Degraded")[1] == "MembersLost"
    assert world.status.leader != leader
    # Nobody is upgraded while one server is down, although its device is not missed yet.
    world.edit(version="v1.34.3+k3s1")
    for _ in range(5):
        world.turn()
    assert {member.version for member in world.members.values()} == {"v1.34.2+k3s1"}
    world.boxes[leader].has_power = world.boxes[leader].has_link = True
    world.run(200)
    assert world.status.phase == "Ready"


def test_what_a_dead_server_said_last_of_others_counts_for_nothing_against_the_living() -> None:
    world = made(ABC)
    # Before it died, b saw c down for a moment.
    world.boxes["c"].is_running = False
    world.boxes["b"].last = msgspec.structs.replace(
        world.boxes["b"].last or MemberReport(), views={"c-1": MemberView(ready=False), "a-1": MemberView(ready=True)}
    )
    world.lose("b")
    world.boxes["b"].is_presumed = True
    for _ in range(4):
        world.turn()
    assert {name: member.ready for name, member in world.members.items()} == {"a": True, "b": False, "c": True}
