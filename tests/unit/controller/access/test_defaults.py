"""The first roles: what they hold, and that they are given back without taking anything away."""

from __future__ import annotations

import json
from typing import Any

from eaves.controller.access.defaults import AUTOUPDATE, GRANTED, default_bindings, default_roles
from eaves.controller.access.wanting import plan_access, repair
from eaves.kinds.rbac import check_cluster_role, check_cluster_role_binding
from eaves.kube import rbac
from eaves.kube.rbac import Action


def stored() -> dict[str, dict[str, Any]]:
    """The objects of a first start, by kind and name."""
    return {f"{obj['kind']}/{obj['metadata']['name']}": obj for obj in plan_access([])}


def may(role: str, verb: str, group: str, resource: str, subresource: str = "") -> bool:
    rules = rbac.parse_rules(stored()[f"ClusterRole/{role}"]["rules"])
    return any(rbac.allows(rule, Action(verb, group, resource, subresource)) for rule in rules)


def test_all_are_valid() -> None:
    for obj in default_roles():
        assert check_cluster_role(obj, None) == []
    for obj in default_bindings():
        assert check_cluster_role_binding(obj, None) == []


def test_view_sees_apps_and_no_secrets() -> None:
    assert may("view", "list", "eaves.dev", "apps")
    assert may("view", "get", "eaves.dev", "apps", "status")
    assert may("view", "get", "", "pods", "log")
    assert not may("view", "get", "", "secrets")
    assert not may("view", "get", "", "pods", "exec")
    assert not may("view", "get", "eaves.dev", "apps", "console")
    assert not may("view", "patch", "eaves.dev", "apps")


def test_edit_changes_and_talks_and_grants_nothing() -> None:
    assert may("edit", "list", "eaves.dev", "apps")
    assert may("edit", "delete", "eaves.dev", "volumes")
    assert may("edit", "get", "", "secrets")
    assert may("edit", "create", "", "pods", "exec")
    assert may("edit", "get", "eaves.dev", "apps", "vnc")
    assert not may("edit", "update", "eaves.dev", "apps", "status")
    assert not may("edit", "create", rbac.GROUP, "rolebindings")
    assert not may("edit", "create", "eaves.dev", "k3sclusteraccesses")


def test_clusters_and_their_programs_are_for_admin() -> None:
    # Add-ons act as the cluster's administrator, and a release's program as root.
    for resource in ("k3sclusters", "k3sreleases", "k3sclusteraccesses"):
        for verb in ("create", "update", "patch", "delete", "deletecollection"):
            assert not may("edit", verb, "eaves.dev", resource)
            assert may("admin", verb, "eaves.dev", resource)
        assert may("view", "watch", "eaves.dev", resource)
        assert may("edit", "list", "eaves.dev", resource)
    assert may("edit", "create", "eaves.dev", "k3sclusters", "proxy")
    assert not may("view", "get", "eaves.dev", "k3sclusters", "proxy")


def test_admin_grants_in_its_namespace() -> None:
    assert may("admin", "create", rbac.GROUP, "rolebindings")
    assert may("admin", "list", "eaves.dev", "apps")
    assert not may("admin", "create", rbac.GROUP, "clusterrolebindings")
    assert not may("admin", "patch", "eaves.dev", "edgenodes")


def test_a_second_start_changes_nothing() -> None:
    objects = [
        {**obj, "metadata": {**obj["metadata"], "uid": "u", "resourceVersion": "7"}} for obj in stored().values()
    ]
    assert plan_access(objects) == []


def test_what_was_taken_is_given_back_and_what_was_added_stays() -> None:
    wanted = next(role for role in default_roles() if role["metadata"]["name"] == "system:basic-user")
    extra = {"apiGroups": ["x"], "resources": ["y"], "verbs": ["get"]}
    known = {**wanted, "metadata": {"name": "system:basic-user", "uid": "u"}, "rules": [extra]}
    repaired = repair(known, wanted)
    assert repaired["rules"][0] == extra
    assert not rbac.find_missing(rbac.parse_rules(repaired["rules"]), rbac.parse_rules(wanted["rules"]))
    assert repaired["metadata"]["annotations"][AUTOUPDATE] == "true"


CLUSTERS = {"apiGroups": ["eaves.dev"], "resources": ["k3sclusters", "apps"], "verbs": ["get", "patch", "create"]}


def restart(*, granted: str | None, rules: list[dict[str, Any]]) -> dict[str, Any]:
    """``edit`` and its own part after a start, when the part had these rules and this record of what it was granted."""
    objects = stored()
    part = objects["ClusterRole/system:aggregate-to-edit"]
    annotations = {AUTOUPDATE: "true"} | ({} if granted is None else {GRANTED: granted})
    part["metadata"] = {**part["metadata"], "annotations": annotations}
    part["rules"] = [*part["rules"], *rules]
    objects["ClusterRole/edit"]["rules"] = part["rules"]
    after = objects | {f"{obj['kind']}/{obj['metadata']['name']}": obj for obj in plan_access(list(objects.values()))}
    assert plan_access(list(after.values())) == []
    return after


def holds(objects: dict[str, Any], verb: str, resource: str) -> bool:
    rules = rbac.parse_rules(objects["ClusterRole/edit"]["rules"])
    return any(rbac.allows(rule, Action(verb, "eaves.dev", resource)) for rule in rules)


def test_a_right_that_an_older_release_granted_is_taken_back() -> None:
    for granted in (None, json.dumps([CLUSTERS])):
        after = restart(granted=granted, rules=[CLUSTERS])
        assert not holds(after, "patch", "k3sclusters")
        assert holds(after, "patch", "apps")
        assert holds(after, "create", "apps")


def test_a_right_that_an_operator_added_stays() -> None:
    wanted = stored()["ClusterRole/system:aggregate-to-edit"]["metadata"]["annotations"][GRANTED]
    everything = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}
    assert holds(restart(granted=wanted, rules=[CLUSTERS]), "patch", "k3sclusters")
    # A wildcard was never ours.
    assert holds(restart(granted=None, rules=[everything]), "patch", "k3sclusters")
    for nonsense in ("", "[1]", '[{"verbs": 5}]'):
        assert holds(restart(granted=nonsense, rules=[CLUSTERS]), "patch", "k3sclusters")


def test_a_role_that_opted_out_is_left_alone() -> None:
    wanted = default_roles()[0]
    known = {**wanted, "metadata": {"name": "cluster-admin", "annotations": {AUTOUPDATE: "false"}}, "rules": []}
    assert repair(known, wanted) is known


def test_a_binding_to_another_role_becomes_a_new_object() -> None:
    wanted = default_bindings()[0]
    reference = {**wanted["roleRef"], "name": "view"}
    known = {**wanted, "metadata": {**wanted["metadata"], "uid": "u", "resourceVersion": "3"}, "roleRef": reference}
    repaired = repair(known, wanted)
    assert repaired["roleRef"]["name"] == "cluster-admin"
    assert "uid" not in repaired["metadata"]
    assert repaired["metadata"]["resourceVersion"] == "3"
