"""What the conditions and events tell of etcd and of add-ons."""

from __future__ import annotations

from typing import Any

import msgspec

from eaves.controller.compile.clusteraddons import want_add_on
from eaves.controller.reconcile.clusters.draft import Draft
from eaves.controller.reconcile.clusters.upkeep import judge_backup
from eaves.kinds.k3scluster_spec import AddOn
from eaves.kinds.k3scluster_status import AddOnStatus, ClusterSnapshot
from eaves.kinds.times import render_time
from eaves.kit.cron import find_next
from eaves.testing.clusterworld import World

CHART = {"name": "shop", "helm": {"chart": "oci://registry.example/shop", "version": "1.0.0"}}


def made(**fields: Any) -> World:
    world = World({"version": "v1.34.2+k3s1", "servers": {"nodeNames": ["a", "b", "c"]}, **fields}, ["a", "b", "c"])
    world.run()
    assert world.status.phase == "Ready"
    return world


def told(add_on: object, state: str, message: str = "") -> AddOnStatus:
    digest = want_add_on(msgspec.convert(add_on, AddOn)).digest
    return AddOnStatus(name="shop", state=state, digest=digest, message=message)


def test_etcd_is_healthy_when_all_members_are() -> None:
    world = made()
    assert world.condition("EtcdHealthy") == ("True", "AllMembersHealthy", "3 of 3 members are healthy")
    world.lose("c")
    world.run()
    status, reason, message = world.condition("EtcdHealthy")
    assert (status, reason) == ("False", "MembersUnhealthy")
    assert "2 of 3" in message
    assert message.endswith("c")


def over_a_database(*servers: str) -> World:
    named = {"servers": {"nodeNames": [*servers]}, "datastore": "External", "datastoreSecretRef": {"name": "db"}}
    world = World({"version": "v1.34.2+k3s1", **named}, [*servers])
    world.run()
    return world


def test_a_cluster_without_etcd_tells_where_its_state_is() -> None:
    world = over_a_database("a")
    assert world.condition("EtcdHealthy") == ("Unknown", "NoEtcd", "the cluster keeps its state in datastore External")
    reason = "EmbeddedEtcd is a part of the servers"
    assert made().condition("DatastoreHealthy") == ("Unknown", "NotExternal", reason)


def test_an_external_datastore_is_healthy_when_it_answers_the_servers() -> None:
    world = over_a_database("a", "b")
    assert world.condition("DatastoreHealthy") == ("True", "Answering", "the datastore answers a, b")
    world.boxes["b"].is_broken = True
    world.run()
    status, reason, message = world.condition("DatastoreHealthy")
    assert (status, reason) == ("False", "NotAnsweringAll")
    assert message.startswith("not every server works with the datastore: b")
    world.boxes["a"].is_broken = True
    world.run()
    assert world.condition("DatastoreHealthy")[:2] == ("False", "NotAnswering")
    for name in ("a", "b"):
        world.lose(name)
    world.run()
    assert world.condition("DatastoreHealthy")[:2] == ("Unknown", "NoContact")


def test_a_scheduled_snapshot_that_does_not_come_is_told() -> None:
    world = made(backup={"schedule": "0 2 * * *", "keep": 7})
    day, hour = 86_400.0, 3600.0
    due_at = find_next("0 2 * * *", world.now)
    by_hand = ClusterSnapshot(name="b", taken_at=render_time(due_at + 20 * hour), shipped=True)
    nightly = ClusterSnapshot(name="a", taken_at=render_time(due_at + 60), shipped=True, scheduled=True)

    def judge(now: float, *snapshots: ClusterSnapshot) -> tuple[tuple[str, str], float | None]:
        draft = Draft(msgspec.structs.replace(world.inputs(), now=now))
        fact = judge_backup(draft, snapshots)
        return (fact.status, fact.reason), draft.look_again_s

    assert judge(due_at + 5 * hour) == (("Unknown", "NoSnapshotYet"), None)
    assert judge(due_at + 5 * hour, nightly) == (("True", "SnapshotTaken"), day - 4 * hour)
    assert judge(due_at + day + hour / 2, by_hand, nightly) == (("True", "SnapshotTaken"), hour / 2)
    assert judge(due_at + day + hour, by_hand, nightly) == (("False", "Overdue"), None)
    assert judge(due_at + day + hour, by_hand) == (("True", "SnapshotTaken"), None)
    # One that was taken by a clock that was months ahead hides nothing.
    ahead = ClusterSnapshot(name="c", taken_at=render_time(due_at + 300 * day), shipped=True, scheduled=True)
    assert judge(due_at + day + hour, ahead, nightly) == (("False", "Overdue"), None)


def test_add_ons_are_told_in_their_present_form_alone() -> None:
    world = made()
    assert world.condition("AddOnsReady")[:2] == ("True", "NoAddOns")
    world.edit(addOns=[CHART])
    world.run()
    assert world.condition("AddOnsReady")[:2] == ("False", "AddOnsNotReady")
    assert msgspec.to_builtins(world.status)["addOns"] == [
        {"name": "shop", "state": "Pending", "message": "waits for server a to get it"}
    ]
    world.add_ons = (told(CHART, "Ready"),)
    world.run()
    assert world.condition("AddOnsReady") == ("True", "AllReady", "1 of 1 add-ons are ready")
    newer = {**CHART, "helm": {**CHART["helm"], "version": "2.0.0"}}  # type: ignore[dict-item]  # it is a map
    world.edit(addOns=[newer])
    world.run()
    assert "waits for server a to get it" in world.condition("AddOnsReady")[2]
    assert world.status.add_ons[0].state == "Pending"
    world.add_ons = (told(newer, "Ready"),)
    world.run()
    assert world.condition("AddOnsReady")[0] == "True"
    assert [note.reason for note in world.notes if note.reason.startswith("AddOn")] == ["AddOnReady"] * 2


def test_an_add_on_that_fails_is_told_once_with_its_reason() -> None:
    world = made(addOns=[CHART])
    world.add_ons = (told(CHART, "Failed", "failed: chart not found"),)
    world.run()
    assert world.condition("AddOnsReady") == (
        "False",
        "AddOnFailed",
        "0 of 1 add-ons are ready; shop: failed: chart not found",
    )
    (note,) = [note for note in world.notes if note.reason == "AddOnFailed"]
    assert note.message == "add-on shop: failed: chart not found"
    # The cluster itself is well.
    assert world.status.phase == "Ready"


def test_an_add_on_that_goes_is_told_of_until_it_is_gone() -> None:
    world = made(addOns=[CHART])
    world.add_ons = (told(CHART, "Ready"),)
    world.run()
    world.edit(addOns=[])
    world.run()
    assert [(entry.name, entry.state) for entry in world.status.add_ons] == [("shop", "Removing")]
    assert world.condition("AddOnsReady")[:2] == ("False", "AddOnsNotReady")
    world.add_ons = ()
    world.run()
    assert world.status.add_ons == []
    assert world.notes[-1].reason == "AddOnRemoved"
