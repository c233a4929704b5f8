"""What the leader makes of each member's Node."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from eaves.node.clusters.members import (
    CORDONED,
    ETCD_LIMIT_S,
    ETCD_REMOVE,
    ETCD_REMOVED,
    LABELS,
    list_passwords,
    list_vanished,
    plan_member,
)
from eaves.node.clusters.observe import ETCD_LABEL, PodSeen
from eaves.node.desired.cluster_model import ClusterMember, MemberWish

MEMBER = ClusterMember("id", "b", "10.0.0.2", is_server=True)
DRAIN = replace(MEMBER, want=MemberWish.DRAINED)
REMOVE = replace(MEMBER, want=MemberWish.REMOVED)
POD = PodSeen("shop", "web-0", "b", "Running")


def node(
    *, labels: dict[str, str] | None = None, annotations: dict[str, str] | None = None, cordoned: bool = False
) -> dict[str, Any]:
    return {
        "metadata": {"name": "b", "labels": labels or {}, "annotations": annotations or {}},
        "spec": {"unschedulable": True} if cordoned else {},
    }


def test_a_ready_member_is_left_alone() -> None:
    assert plan_member(MEMBER, node(), [POD], has_etcd=True).patch is None


def test_a_drain_cordons_first_and_then_evicts() -> None:
    first = plan_member(DRAIN, node(), [POD], has_etcd=True)
    assert first.patch is not None
    assert first.patch["spec"] == {"unschedulable": True}
    assert first.evict == ()
    then = plan_member(DRAIN, node(cordoned=True), [POD], has_etcd=True)
    assert then.patch is None
    assert then.evict == (POD,)
    assert not then.is_drained
    assert "web-0" in then.waiting_for


@pytest.mark.parametrize(
    "pod",
    [
        replace(POD, is_bound=True),
        replace(POD, phase="Succeeded"),
        replace(POD, phase="Failed"),
        replace(POD, node="a"),
    ],
)
def test_what_belongs_to_the_node_or_has_finished_stays(pod: PodSeen) -> None:
    assert plan_member(DRAIN, node(cordoned=True), [pod], has_etcd=True).is_drained


def test_a_pod_that_is_ending_is_waited_for_and_not_asked_again() -> None:
    plan = plan_member(DRAIN, node(cordoned=True), [replace(POD, is_ending=True)], has_etcd=True)
    assert plan.evict == ()
    assert not plan.is_drained


def test_only_an_own_cordon_is_taken_away() -> None:
    assert plan_member(MEMBER, node(cordoned=True), [], has_etcd=True).patch is None
    plan = plan_member(MEMBER, node(cordoned=True, annotations={CORDONED: "true"}), [], has_etcd=True)
    assert plan.patch == {"metadata": {"annotations": {CORDONED: None}}, "spec": {"unschedulable": None}}


def test_a_removed_server_leaves_etcd_before_its_node_goes() -> None:
    labels = {ETCD_LABEL: "true"}
    first = plan_member(REMOVE, node(labels=labels), [], has_etcd=True)
    assert first.patch == {"metadata": {"annotations": {ETCD_REMOVE: "true"}}}
    assert not first.delete
    waiting = node(labels=labels, annotations={ETCD_REMOVE: "true"})
    assert not plan_member(REMOVE, waiting, [], has_etcd=True, removing_for_s=1).delete
    gone = node(labels=labels, annotations={ETCD_REMOVE: "true", ETCD_REMOVED: "b-1"})
    assert plan_member(REMOVE, gone, [], has_etcd=True, removing_for_s=1).delete
    assert plan_member(REMOVE, waiting, [], has_etcd=True, removing_for_s=ETCD_LIMIT_S).delete


def test_an_agent_and_a_server_without_etcd_go_at_once() -> None:
    assert plan_member(REMOVE, node(), [], has_etcd=True).delete
    assert plan_member(REMOVE, node(labels={ETCD_LABEL: "true"}), [], has_etcd=False).delete


def test_a_node_that_is_not_there_is_removed() -> None:
    plan = plan_member(REMOVE, None, [], has_etcd=True)
    assert plan.is_removed
    assert not plan.delete


def test_labels_are_set_and_those_of_ours_that_went_are_dropped() -> None:
    member = replace(MEMBER, labels={"site": "17"})
    found = plan_member(
        member, node(labels={"zone": "x", "mine": "1"}, annotations={LABELS: "zone"}), [], has_etcd=True
    )
    assert found.patch == {
        "metadata": {"labels": {"site": "17", "zone": None}, "annotations": {LABELS: "site"}},
    }
    settled = node(labels={"site": "17"}, annotations={LABELS: "site"})
    assert plan_member(member, settled, [], has_etcd=True).patch is None


def test_a_drain_and_labels_are_one_patch() -> None:
    plan = plan_member(replace(DRAIN, labels={"site": "17"}), node(), [], has_etcd=True)
    assert plan.patch == {
        "metadata": {"annotations": {CORDONED: "true", LABELS: "site"}, "labels": {"site": "17"}},
        "spec": {"unschedulable": True},
    }


def test_after_a_restore_nodes_of_former_members_go_and_those_of_others_stay() -> None:
    def named(name: str, **annotations: str) -> dict[str, Any]:
        return {"metadata": {"name": name, "annotations": annotations}}

    ours = {LABELS: "eaves.dev/edgenode,eaves.dev/site"}
    nodes = [named("b", **ours), named("gone", **ours), named("by-hand"), named("other", **{LABELS: "tier"})]
    assert list_vanished(nodes, [MEMBER]) == ["gone"]


def test_after_a_restore_no_machine_is_known_by_a_former_password() -> None:
    secrets = [{"metadata": {"name": name}} for name in ("b.node-password.k3s", "k3s-serving", "a.node-password.k3s")]
    assert list_passwords(secrets) == ["a.node-password.k3s", "b.node-password.k3s"]
