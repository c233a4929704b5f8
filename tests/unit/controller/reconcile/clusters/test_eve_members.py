"""Clusters whose members run EVE: it brings its own K3s, takes no orders, and one device tells of all."""

from __future__ import annotations

from typing import Any

import pytest

from eaves.controller.observe.clusters import MemberView, observe_cluster
from eaves.testing.clusterworld import World
from eaves.wire.pb.info import edge_node_cluster_pb2 as kube
from eaves.wire.pb.info.info_pb2 import ZInfoKubeCluster

ABC = ["a", "b", "c"]
VERSION = "v1.34.2+k3s1"
OF_EVE = "v1.34.3+k3s1"


def site(servers: list[str], agents: list[str], eves: list[str], version: str = OF_EVE, **fields: Any) -> World:
    spec = {"version": VERSION, "servers": {"nodeNames": servers}, "agents": {"nodeNames": agents}, **fields}
    world = World(spec, [*servers, *agents])
    for name in eves:
        world.boxes[name].eve_k3s = version
    return world


def test_devices_of_eve_alone_need_no_release() -> None:
    world = site(ABC, [], ABC)
    world.releases = []
    world.run()
    assert (world.status.phase, world.status.version) == ("Ready", OF_EVE)
    assert world.status.servers.ready == 3
    assert len(world.voters) == 3
    assert {member.version for member in world.members.values()} == {""}
    assert world.condition("Upgrading")[:2] == ("False", "UpToDate")
    assert world.condition("Degraded")[0] == world.condition("Progressing")[0] == "False"


def test_who_needs_no_release_does_not_wait_for_who_does() -> None:
    world = site(["a"], ["d", "e"], ["a", "d"])
    world.releases = []
    world.run()
    assert [name for name, member in world.members.items() if member.ready] == ["a", "d"]
    assert world.condition("Upgrading")[1] == "ReleaseMissing"
    world.releases = World({}, []).releases
    world.run()
    assert (world.status.phase, world.members["e"].running_version) == ("Ready", VERSION)


def test_what_a_member_of_eve_does_not_heed_is_told() -> None:
    world = site(["a"], ["d"], ["a"], config={"node-label": ["tier=edge"]}, disable=["traefik"], backup={"keep": 3})
    world.run()
    status, reason, text = world.condition("SpecSupported")
    assert (status, reason) == ("False", "EVEMembers")
    assert text == (
        f"a ({OF_EVE}) bring K3s with EVE, for which these have no effect:"
        " spec.version, spec.config, spec.disable, spec.backup"
    )
    assert site(["a"], [], []).turn().status.conditions
    other = site(["a"], [], [])
    other.run()
    assert other.condition("SpecSupported")[:2] == ("True", "AllSupported")


def test_a_server_of_eaves_acts_for_the_cluster_beside_those_of_eve() -> None:
    world = site(ABC, [], ["a", "b"], add_ons=[])
    world.run()
    assert (world.status.first_server, world.status.leader) == ("a", "c")
    world.boxes["c"].has_power = world.boxes["c"].has_link = False
    world.losses += 1
    world.run()
    assert world.status.leader in ("a", "b")
    world.boxes["c"].has_power = world.boxes["c"].has_link = True
    world.run()
    assert world.status.leader == "c"


def test_what_a_former_teller_said_last_counts_for_nothing() -> None:
    world = site(ABC, [], ABC)
    world.run()
    world.lose("a")
    world.run()
    assert not world.members["a"].ready
    assert [name for name, member in world.members.items() if member.ready] == ["b", "c"]
    assert world.condition("Degraded")[:2] == ("True", "MembersLost")
    # It comes back and tells nothing new: another was elected meanwhile.
    world.boxes["a"].has_link = True
    world.turn()
    assert not world.members["a"].ready


def test_a_new_version_is_for_members_of_eaves_alone() -> None:
    world = site(["a"], ["d", "e"], ["d"])
    world.run()
    world.edit(version="v1.34.3+k3s1")
    world.run(160)
    assert world.status.phase == "Ready"
    assert {name: member.running_version for name, member in world.members.items()} == dict.fromkeys("ade", OF_EVE)
    assert world.members["d"].version == world.members["d"].next_version == ""


def test_an_agent_newer_than_a_server_of_eve_does_not_join() -> None:
    world = site(["a"], ["d"], ["a"], version="v1.33.5+k3s1")
    world.run()
    assert not world.members["d"].joined
    assert world.condition("Progressing")[1] == "VersionSkew"
    assert "server a runs EVE with K3s v1.33.5+k3s1" in world.condition("Progressing")[2]
    assert "set spec.version to one of v1.33" in world.condition("Progressing")[2]


@pytest.mark.parametrize("eves", [["d"], [*ABC, "d"], ABC])
def test_members_leave(eves: list[str]) -> None:
    world = site(ABC, ["d"], eves)
    world.run()
    world.edit(agents={"nodeNames": []}, servers={"nodeNames": ["a", "b"]})
    world.run(160)
    assert sorted(world.members) == ["a", "b"]
    assert sorted(world.voters) == ["a-1", "b-1"]
    assert world.status.phase == "Ready"


def test_a_dead_server_is_taken_out_by_the_device_that_tells() -> None:
    world = site(ABC, [], ABC)
    world.run()
    world.lose("c")
    world.add_box("d", eve_k3s=OF_EVE)
    world.run()
    world.edit(servers={"nodeNames": ["a", "b", "d"]})
    for _ in range(40):
        world.turn()
    world.forget_box("c")
    world.run()
    assert sorted(world.voters) == ["a-1", "b-1", "d-1"]
    assert (world.status.phase, sorted(world.members)) == ("Ready", ["a", "b", "d"])


def test_a_deleted_cluster_goes_when_configs_have_none() -> None:
    world = site(["a"], ["d"], ["a", "d"])
    world.run()
    world.delete()
    world.run()
    assert not world.is_held


@pytest.mark.parametrize("order", ["snapshot", "rotateCertificates", "rotateToken"])
def test_orders_that_eve_does_not_take_hold_nothing_up(order: str) -> None:
    world = site(["a"], ["d"], ["a", "d"])
    world.run()
    world.edit(operations={order: 1})
    world.run()
    assert world.status.phase == "Ready"
    assert f"spec.operations.{order}" in world.condition("SpecSupported")[2]


def test_certificates_are_renewed_beside_members_of_eve() -> None:
    world = site(["a"], ["d"], ["d"])
    world.run()
    world.edit(operations={"rotateCertificates": 1})
    world.run()
    assert world.status.done.rotate_certificates == 1


def test_no_restore_is_begun_that_a_member_would_not_take_part_in() -> None:
    world = site(["a", "b"], [], ["b"])
    world.run()
    world.edit(operations={"restore": {"snapshot": "nightly", "counter": 1}})
    world.run()
    assert (world.status.phase, world.restores) == ("Ready", 0)
    assert "spec.operations.restore (of the whole cluster)" in world.condition("SpecSupported")[2]


# --- What a device needs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "is_able"), [("16.0.0-k-amd64", True), ("16.0.0-kvm-amd64", False), ("16.0.0", True)]
)
def test_only_the_flavour_with_kubernetes_is_a_member(version: str, is_able: bool) -> None:
    world = site(["a"], [], ["a"])
    world.boxes["a"].eve_version = version
    world.run()
    assert (world.status.phase == "Ready") is is_able
    if not is_able:
        assert world.condition("Progressing")[1] == "EVEWithoutKubernetes"
        assert "give it one of flavour k" in world.status.message


def test_a_selector_passes_over_devices_without_kubernetes() -> None:
    world = World(
        {"version": VERSION, "servers": {"selector": {"matchLabels": {"site": "shop"}}, "count": 1}}, ["a", "b"]
    )
    for box in world.boxes.values():
        box.labels, box.eve_k3s = {"site": "shop"}, OF_EVE
    world.boxes["a"].eve_version = "16.0.0-kvm-amd64"
    world.run()
    assert (world.status.first_server, world.status.phase) == ("b", "Ready")


def test_the_cluster_gets_no_address_by_which_eve_reaches_its_controller() -> None:
    world = site(["a"], [], ["a"])
    world.boxes["a"].is_management = True
    world.run()
    assert world.condition("Progressing")[1] == "AddressNeeded"
    assert "its address 10.17.0.11/24 for management is in it" in world.status.message
    assert world.members["a"].stopped
    world.edit(addresses=[{"nodeName": "a", "address": "10.17.0.2/28"}])
    world.run()
    assert world.members["a"].stopped
    world.edit(addresses=[{"nodeName": "a", "address": "10.244.7.11/24"}])
    world.run()
    assert (world.status.phase, world.members["a"].address) == ("Ready", "10.244.7.11/24")


def test_nobody_is_a_member_before_it_told_what_it_runs() -> None:
    """An EVE device would start with a config that is made for a node of Eaves."""
    world = site(["a"], [], ["a"], addresses=[{"nodeName": "a", "address": "10.244.7.11/24"}])
    world.boxes["a"].has_told = False
    world.run()
    assert world.condition("Progressing")[1] == "AddressMissing"
    assert "node a has not told yet what it runs" in world.status.message
    assert (world.members["a"].address, world.status.first_server) == ("", "")
    world.boxes["a"].has_told = True
    world.run()
    assert world.status.phase == "Ready"


@pytest.mark.parametrize("datastore", ["SQLite", "External"])
def test_a_server_of_eve_keeps_no_state_elsewhere(datastore: str) -> None:
    fields: dict[str, Any] = {"datastore": datastore}
    if datastore == "External":
        fields["datastoreSecretRef"] = {"name": "db"}
    world = site(["a"], [], ["a"], **fields)
    world.run()
    assert world.condition("Progressing")[1] == "DatastoreUnsupported"
    assert not world.bootstraps


# --- What a device tells -----------------------------------------------------------------------------------------------------------


def told(*nodes: tuple[str, str, int, bool]) -> ZInfoKubeCluster:
    info = ZInfoKubeCluster(cluster_id="shop")
    for name, device_id, admission, ready in nodes:
        node = info.nodes.add(name=name, node_id=device_id, role_server=True, api_server_sersion=OF_EVE)
        node.admission_status = admission  # type: ignore[assignment]  # the enum's number
        node.conditions.add(type=kube.KUBE_NODE_CONDITION_TYPE_READY, set=ready)
    return info


def test_the_former_single_node_of_a_device_is_not_the_cluster() -> None:
    report = observe_cluster(told(("b", "b-1", kube.NODE_ADMISSION_JOINING, True)))
    assert not report.api_ready
    assert not report.has_data
    assert not report.views


def test_all_nodes_are_told_by_device_or_by_name() -> None:
    report = observe_cluster(
        told(
            ("a", "a-1", kube.NODE_ADMISSION_JOINED, True),
            ("b", "b-1", kube.NODE_ADMISSION_JOINED, False),
            ("d", "", kube.NODE_ADMISSION_JOINING, True),
        )
    )
    assert report.api_ready
    assert report.views == {
        "a-1": MemberView(ready=True, version=OF_EVE),
        "b-1": MemberView(ready=False, version=OF_EVE),
        "d": MemberView(ready=True, version=OF_EVE),
    }
