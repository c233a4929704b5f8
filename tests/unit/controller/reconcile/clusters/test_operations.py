"""Upgrades, orders and restores, step by step and through losses."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from eaves.controller.observe.clusters import MemberReport
from eaves.kinds.k3scluster_status import MemberRole
from eaves.kinds.k3scluster_status import MemberWish as Wish
from eaves.testing.clusterworld import World

ABC = ["a", "b", "c"]
NEW = "v1.34.3+k3s1"


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


def watch_versions(world: World, turns: int = 120) -> list[str]:
    """Names in the order in which they got another version."""
    order: list[str] = []
    before = {name: member.version for name, member in world.members.items()}
    for _ in range(turns):
        world.turn()
        for name, member in world.members.items():
            if member.version != before.get(name, member.version):
                order.append(name)
                before[name] = member.version
    return order


@pytest.mark.parametrize("version", [NEW, "v1.35.0+k3s1"])
@pytest.mark.parametrize("drain", [True, False])
def test_servers_get_a_version_one_by_one_the_leader_last_then_agents(version: str, drain: bool) -> None:
    world = made(ABC, ["d", "e"], upgrade={"drain": drain})
    world.edit(version=version)
    assert watch_versions(world) == ["b", "c", "a", "d", "e"]
    assert (world.status.phase, world.status.version) == ("Ready", version)
    assert all(box.version == version for box in world.boxes.values())
    assert any(note.reason == "MemberDraining" for note in world.notes) is drain
    assert world.condition("Upgrading")[:2] == ("False", "UpToDate")


def test_a_cluster_of_one_node_is_upgraded_without_a_drain() -> None:
    world = made(["a"])
    world.edit(version=NEW)
    assert watch_versions(world) == ["a"]
    assert world.status.version == NEW
    assert not any(note.reason == "MemberDraining" for note in world.notes)


@pytest.mark.parametrize("most", [1, 2, 3])
def test_so_many_agents_at_a_time(most: int) -> None:
    agents = [f"w{number}" for number in range(6)]
    world = made(["a"], agents, upgrade={"maxUnavailable": most})
    world.edit(version=NEW)
    highest = 0
    for _ in range(120):
        world.turn()
        touched = [
            member
            for member in world.members.values()
            if member.role is MemberRole.AGENT
            and (member.want is Wish.DRAINED or (member.version == NEW and member.running_version != NEW))
        ]
        highest = max(highest, len(touched))
    assert highest == most
    assert world.status.version == NEW


def test_an_upgrade_stops_at_the_member_that_does_not_get_well_and_goes_on_when_it_does() -> None:
    world = made(ABC, ["d"])
    world.boxes["b"].is_broken = False
    world.edit(version=NEW)
    for _ in range(40):
        world.turn()
        if world.members["b"].version == NEW:
            world.boxes["b"].is_broken = True
            break
    for _ in range(100):
        world.turn()
    assert [name for name, member in world.members.items() if member.version == NEW] == ["b"]
    assert world.status.phase == "Degraded"
    assert world.condition("Degraded")[1] == "HealthTimeout"
    assert "b is not ready 10m after it got v1.34.3+k3s1" in world.condition("Degraded")[2]
    assert any(note.reason == "HealthTimeout" for note in world.notes)
    world.boxes["b"].is_broken = False
    world.run(160)
    assert (world.status.phase, world.status.version) == ("Ready", NEW)


def touched(world: World) -> list[str]:
    return [
        name
        for name, member in world.members.items()
        if member.want is not Wish.READY or member.version != "v1.34.2+k3s1"
    ]


def test_nobody_is_drained_before_all_servers_have_fetched_the_version() -> None:
    world = made(ABC, ["d"])
    world.boxes["c"].cannot_fetch = "image k3s: the disk is full"
    world.edit(version=NEW)
    world.run()
    assert touched(world) == []
    assert {member.next_version for member in world.members.values()} == {NEW}
    assert world.condition("Upgrading") == (
        "True",
        "Fetching",
        f"waits for the download of {NEW} to c (image k3s: the disk is full)",
    )
    assert world.condition("Ready")[0] == "True"
    world.boxes["c"].cannot_fetch = ""
    world.run(160)
    assert (world.status.phase, world.status.version) == ("Ready", NEW)
    assert {member.next_version for member in world.members.values()} == {""}


def test_an_agent_that_cannot_fetch_the_version_keeps_no_other_waiting() -> None:
    world = made(["a"], ["d", "e"])
    world.boxes["d"].cannot_fetch = "image k3s: 404"
    world.edit(version=NEW)
    world.run(160)
    assert {name: member.version for name, member in world.members.items()} == {"a": NEW, "d": "v1.34.2+k3s1", "e": NEW}
    assert world.members["d"].want is Wish.READY
    assert "d (image k3s: 404)" in world.condition("Upgrading")[2]
    world.boxes["d"].cannot_fetch = ""
    world.run(160)
    assert world.status.phase == "Ready"


def test_a_member_out_of_the_controllers_reach_is_not_drained_for_what_it_cannot_hear_of() -> None:
    world = made(ABC, ["d"])
    world.boxes["c"].has_link = False
    world.edit(version=NEW)
    world.run()
    assert touched(world) == []
    assert "c (the node is out of contact)" in world.condition("Upgrading")[2]
    world.boxes["c"].has_link = True
    world.run(160)
    assert world.status.phase == "Ready"


def test_a_version_that_is_wanted_no_more_is_fetched_no_more() -> None:
    world = made(ABC)
    for box in world.boxes.values():
        box.cannot_fetch = "slow"
    world.edit(version="v1.35.0+k3s1")
    world.run()
    world.edit(version=NEW)
    world.run()
    assert {member.next_version for member in world.members.values()} == {NEW}
    world.edit(version="v1.34.2+k3s1")
    world.run()
    assert {member.next_version for member in world.members.values()} == {""}
    assert (world.status.phase, touched(world)) == ("Ready", [])


def test_another_version_after_the_drain_is_fetched_before_it_is_given() -> None:
    world = made(ABC)
    world.boxes["b"].pods_stuck = True
    world.edit(version=NEW)
    for _ in range(10):
        world.turn()
    assert world.members["b"].want is Wish.DRAINED
    world.boxes["b"].cannot_fetch = "slow"
    world.edit(version="v1.35.0+k3s1")
    world.boxes["b"].pods_stuck = False
    world.run()
    assert world.members["b"].drained
    assert world.members["b"].version == "v1.34.2+k3s1"
    assert world.condition("Upgrading")[1:] == (
        "Fetching",
        "waits for the download of v1.35.0+k3s1 to b (slow)",
    )
    world.boxes["b"].cannot_fetch = ""
    world.run(200)
    assert (world.status.phase, world.status.version) == ("Ready", "v1.35.0+k3s1")


@pytest.mark.parametrize("version", ["v1.36.0+k3s1", "v1.34.1+k3s1"])
def test_what_may_not_follow_is_not_fetched_either(version: str) -> None:
    world = made(ABC)
    world.releases = [*world.releases, type(world.releases[0])(version, version, frozenset({"amd64"}))]
    world.edit(version=version)
    world.run()
    assert {member.next_version for member in world.members.values()} == {""}


def test_a_server_that_is_cut_off_amid_its_upgrade_stops_it_and_goes_on_when_it_is_back() -> None:
    world = made(ABC, ["d"])
    world.edit(version=NEW)
    while world.members["b"].version != NEW:
        world.turn()
    world.boxes["b"].has_link = world.boxes["b"].is_running = False
    world.losses += 1
    for _ in range(100):
        world.turn()
    assert [name for name, member in world.members.items() if member.version == NEW] == ["b"]
    assert world.condition("Degraded")[:2] == ("True", "HealthTimeout")
    assert f"b is not ready 10m after it got {NEW}: the node is out of contact" in world.condition("Degraded")[2]
    assert world.has_api
    world.boxes["b"].has_link = True
    world.run(200)
    assert (world.status.phase, world.status.version) == ("Ready", NEW)


def test_an_agent_that_is_cut_off_amid_its_upgrade_keeps_no_other_waiting_and_catches_up() -> None:
    world = made(["a"], ["d", "e"])
    world.edit(version=NEW)
    while world.members["d"].want is not Wish.DRAINED and world.members["d"].version != NEW:
        world.turn()
    world.boxes["d"].has_link = world.boxes["d"].is_running = False
    world.run(200)
    assert world.boxes["e"].version == NEW
    assert world.members["e"].want is Wish.READY
    world.boxes["d"].has_link = True
    world.run(200)
    assert (world.status.phase, world.boxes["d"].version) == ("Ready", NEW)
    assert world.members["d"].want is Wish.READY


@pytest.mark.parametrize("away", range(1, 40, 4))
def test_an_upgrade_goes_on_after_the_controller_was_away(away: int) -> None:
    world = made(ABC, ["d"])
    world.edit(version=NEW)
    for _ in range(away):
        world.turn()
    # Members go on with what they were told; hours later another controller knows nothing but the object.
    for _ in range(20):
        world.act_alone()
    world.now += 7200
    world.run(200)
    assert (world.status.phase, world.status.version) == ("Ready", NEW)
    assert {member.want for member in world.members.values()} == {Wish.READY}


def test_a_drain_that_does_not_end_stops_the_upgrade_with_the_reason() -> None:
    world = made(ABC)
    world.boxes["b"].pods_stuck = True
    world.edit(version=NEW)
    for _ in range(90):
        world.turn()
    assert world.condition("Degraded")[1] == "DrainBlocked"
    assert world.boxes["b"].version == "v1.34.2+k3s1"
    world.boxes["b"].pods_stuck = False
    world.run(160)
    assert world.status.version == NEW


@pytest.mark.parametrize(
    ("version", "reason"),
    [("v1.36.0+k3s1", "VersionSkew"), ("v1.34.1+k3s1", "VersionSkew"), ("v1.34.9+k3s1", "ReleaseMissing")],
)
def test_what_may_not_follow_is_not_begun(version: str, reason: str) -> None:
    world = made(ABC)
    if reason == "VersionSkew":
        world.releases = [*world.releases, type(world.releases[0])(version, version, frozenset({"amd64"}))]
    world.edit(version=version)
    world.run()
    assert world.condition("Upgrading")[:2] == ("False", reason)
    assert all(box.version == "v1.34.2+k3s1" for box in world.boxes.values())
    assert world.has_api


def test_a_paused_upgrade_finishes_what_it_began_and_goes_on_when_it_may() -> None:
    world = made(ABC)
    world.edit(version=NEW)
    while not any(member.want is Wish.DRAINED for member in world.members.values()):
        world.turn()
    world.edit(upgrade={"paused": True})
    world.run()
    assert sum(1 for box in world.boxes.values() if box.version == NEW) == 1
    assert world.condition("Upgrading")[1] == "Paused"
    world.edit(upgrade={"paused": False})
    world.run()
    assert world.status.version == NEW


def test_an_upgrade_waits_for_a_server_that_is_down_and_not_for_an_agent_out_of_reach() -> None:
    world = made(ABC, ["d", "e"])
    world.boxes["d"].has_link = world.boxes["d"].has_power = False
    world.boxes["c"].has_power = world.boxes["c"].has_link = False
    world.losses += 1
    world.edit(version=NEW)
    world.run()
    assert world.condition("Upgrading")[1] == "MemberNotReady"
    assert "c" in world.condition("Upgrading")[2]
    world.boxes["c"].has_power = world.boxes["c"].has_link = True
    world.run(160)
    assert world.boxes["e"].version == NEW
    assert world.condition("Upgrading")[1] == "MembersBehind"
    world.boxes["d"].has_link = world.boxes["d"].has_power = True
    world.run()
    assert (world.status.phase, world.boxes["d"].version) == ("Ready", NEW)


def test_a_minor_is_not_begun_while_an_agent_is_a_minor_behind() -> None:
    world = made(["a"], ["d"])
    world.boxes["d"].has_link = world.boxes["d"].has_power = False
    world.edit(version="v1.35.0+k3s1")
    world.run()
    assert world.boxes["a"].version == "v1.35.0+k3s1"
    world.releases = [*world.releases, type(world.releases[0])("x", "v1.36.0+k3s1", frozenset({"amd64"}))]
    world.edit(version="v1.36.0+k3s1")
    world.run()
    assert world.condition("Upgrading")[:2] == ("False", "VersionSkew")


def test_an_agent_that_is_down_is_not_left_two_minors_behind() -> None:
    world = made(["a"], ["d", "e"])
    world.boxes["d"].has_power = False
    world.losses += 1
    # The device itself is in contact, its K3s alone is down: it tells no version.
    world.edit(version="v1.35.0+k3s1")
    world.run()
    assert world.boxes["a"].version == "v1.35.0+k3s1"
    world.releases = [*world.releases, type(world.releases[0])("x", "v1.36.0+k3s1", frozenset({"amd64"}))]
    world.boxes["d"].last = msgspec.structs.replace(world.boxes["d"].last or MemberReport(), version="", state="Failed")
    world.edit(version="v1.36.0+k3s1")
    world.run()
    assert world.condition("Upgrading")[:2] == ("False", "VersionSkew")
    assert world.boxes["a"].version == "v1.35.0+k3s1"


def test_a_version_that_never_ran_may_be_taken_back() -> None:
    world = made(ABC)
    world.edit(version=NEW)
    while world.members["b"].version != NEW:
        world.turn()
    # It cannot even start: nothing of it ran.
    world.boxes["b"].cannot_start = NEW
    for _ in range(60):
        world.turn()
    assert world.condition("Degraded")[1] == "HealthTimeout"
    world.edit(version="v1.34.2+k3s1")
    world.run(160)
    assert (world.status.phase, world.status.version) == ("Ready", "v1.34.2+k3s1")


def test_a_first_server_that_has_started_does_not_change_its_mind_backwards() -> None:
    world = World({"version": "v1.35.0+k3s1", "servers": {"nodeNames": ["a"]}}, ["a"])
    world.boxes["a"].is_broken = True
    world.run()
    assert world.boxes["a"].version == "v1.35.0+k3s1"
    world.edit(version="v1.34.2+k3s1")
    world.run()
    assert world.boxes["a"].version == "v1.35.0+k3s1"
    assert world.condition("Upgrading")[1] == "VersionSkew"
    world.edit(version="v1.35.0+k3s1")
    world.boxes["a"].is_broken = False
    world.run()
    assert world.status.phase == "Ready"


def test_a_member_that_joins_during_an_upgrade_gets_what_fits() -> None:
    world = made(ABC)
    world.edit(version=NEW)
    for _ in range(6):
        world.turn()
    world.add_box("d")
    world.add_box("e")
    world.edit(agents={"nodeNames": ["d", "e"]})
    world.run(160)
    assert world.status.phase == "Ready"
    assert all(box.version == NEW for box in world.boxes.values())


def test_a_snapshot_on_order_is_taken_once_even_when_the_leader_changes() -> None:
    world = made(ABC, backup={"schedule": "0 2 * * *"})
    world.edit(operations={"snapshot": 1})
    world.run()
    assert (world.snapshots, world.status.done.snapshot) == (1, 1)
    world.boxes["a"].has_link = False
    world.run()
    assert world.status.leader == "b"
    assert world.snapshots == 1
    world.edit(operations={"snapshot": 3})
    world.run()
    assert (world.snapshots, world.status.done.snapshot) == (2, 3)


def test_certificates_are_renewed_one_member_after_the_other() -> None:
    world = made(ABC, ["d"])
    world.edit(operations={"rotateCertificates": 1})
    ordered: list[str] = []
    for _ in range(60):
        world.turn()
        ordered += [name for name, m in world.members.items() if m.ordered.rotate_certificates and name not in ordered]
    assert ordered == ["a", "b", "c", "d"]
    assert world.status.done.rotate_certificates == 1
    assert world.status.phase == "Ready"


def test_certificates_that_expire_soon_are_renewed_by_themselves_and_not_again_and_again() -> None:
    world = made(ABC)
    for box in world.boxes.values():
        box.expires_at = world.now + 20 * 86_400
    world.run()
    assert world.status.automatic_rotations == 1
    assert world.status.done.rotate_certificates == 1
    assert all(box.expires_at > world.now + 300 * 86_400 for box in world.boxes.values())
    world.edit(operations={"rotateCertificates": 1})
    world.run()
    assert world.status.done.rotate_certificates == 2


def test_the_token_is_changed_on_the_leader_first_and_then_everywhere() -> None:
    world = made(ABC, ["d"])
    world.edit(operations={"rotateToken": 1})
    ordered: list[str] = []
    for _ in range(60):
        outcome = world.turn()
        assert outcome.tokens == {0, 1} or world.status.done.rotate_token == 1
        ordered += [name for name, m in world.members.items() if m.ordered.rotate_token and name not in ordered]
    assert ordered == ["a", "b", "c", "d"]
    assert {box.token for box in world.boxes.values()} == {1}
    assert world.status.done.rotate_token == 1
    world.add_box("e")
    world.edit(agents={"nodeNames": ["d", "e"]})
    world.run()
    assert world.members["e"].joined_after.rotate_token == 1
    assert world.boxes["e"].token == 0, "an order from before it joined is not for it"


def test_a_restore_stops_everybody_restores_one_and_brings_the_others_back() -> None:
    world = made(ABC, ["d"], backup={})
    world.edit(operations={"restore": {"snapshot": "nightly", "counter": 1}})
    world.run()
    assert (world.status.phase, world.restores, world.status.done.restore) == ("Ready", 1, 1)
    assert len(world.voters) == 3
    assert {box.epoch for box in world.boxes.values() if box.role is MemberRole.SERVER} == {world.epoch}
    assert any(note.reason == "Restored" for note in world.notes)


@pytest.mark.parametrize("first", ["a", "b"])
def test_a_restore_on_blank_hardware(first: str) -> None:
    world = made(ABC, backup={})
    for name in ABC:
        world.replace_box(name)
    world.voters, world.known = set(), {}
    if first == "b":
        world.boxes["a"].has_link = False
    world.run()
    assert world.status.phase != "Ready"
    world.edit(operations={"restore": {"snapshot": "shop/nightly", "counter": 1}})
    world.run(160)
    world.boxes["a"].has_link = True
    world.run(160)
    assert (world.status.phase, world.restores, len(world.voters)) == ("Ready", 1, 3)
    assert {member.id for member in world.status.members} == {f"{name}-1x" for name in ABC}


def test_a_server_out_of_reach_during_a_restore_drops_its_state_when_it_comes_back() -> None:
    world = made(ABC, backup={})
    world.boxes["c"].has_link = world.boxes["c"].has_power = False
    world.losses += 1
    world.edit(operations={"restore": {"snapshot": "nightly", "counter": 1}})
    world.run()
    assert world.status.done.restore == 1
    assert len(world.voters) == 2
    world.boxes["c"].has_link = world.boxes["c"].has_power = True
    world.run()
    assert (world.status.phase, len(world.voters)) == ("Ready", 3)
    assert world.boxes["c"].epoch == world.epoch


def test_a_new_cluster_starts_from_a_snapshot() -> None:
    spec = {
        "version": "v1.34.2+k3s1",
        "servers": {"nodeNames": ABC},
        "backup": {},
        "operations": {"restore": {"snapshot": "old/nightly", "counter": 1}},
    }
    world = World(spec, ABC)
    world.run()
    assert (world.status.phase, world.restores, world.bootstraps, len(world.voters)) == ("Ready", 1, 0, 3)
