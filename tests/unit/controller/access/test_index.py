"""Decisions from memory, as roles and bindings come and go."""

from __future__ import annotations

from typing import Any

from eaves.controller.access.index import CACHE_SIZE, AccessIndex
from eaves.kube.rbac import GROUP, Action

READ = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}]
ROLES, CLUSTER_ROLES = f"roles.{GROUP}", f"clusterroles.{GROUP}"
BINDINGS, CLUSTER_BINDINGS = f"rolebindings.{GROUP}", f"clusterrolebindings.{GROUP}"
GET = Action("get", "", "pods", namespace="shop", name="a")


def role(name: str, rules: Any, namespace: str = "") -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": namespace}, "rules": rules}


def binding(name: str, kind: str, role: str, *subjects: dict[str, str], namespace: str = "") -> dict[str, Any]:
    reference = {"apiGroup": GROUP, "kind": kind, "name": role}
    return {"metadata": {"name": name, "namespace": namespace}, "roleRef": reference, "subjects": list(subjects)}


def group(name: str) -> dict[str, str]:
    return {"kind": "Group", "name": name, "apiGroup": GROUP}


def user(name: str) -> dict[str, str]:
    return {"kind": "User", "name": name, "apiGroup": GROUP}


def test_a_role_counts_in_its_namespace_only() -> None:
    index = AccessIndex()
    index.put(ROLES, role("read", READ, "shop"))
    index.put(BINDINGS, binding("b", "Role", "read", user("ann"), namespace="shop"))
    assert index.decide("ann", (), GET).reason == 'RBAC: allowed by RoleBinding "b/shop" of Role "read" to User "ann"'
    assert not index.decide("ann", (), Action("get", "", "pods", namespace="other")).allowed
    assert not index.decide("ann", (), Action("list", "", "pods")).allowed
    assert not index.decide("bob", (), GET).allowed


def test_a_cluster_role_counts_where_it_is_bound() -> None:
    index = AccessIndex()
    index.put(CLUSTER_ROLES, role("read", READ))
    index.put(BINDINGS, binding("b", "ClusterRole", "read", group("staff"), namespace="shop"))
    assert index.decide("ann", ("staff",), GET).allowed
    assert not index.decide("ann", ("staff",), Action("list", "", "pods")).allowed
    index.put(CLUSTER_BINDINGS, binding("c", "ClusterRole", "read", group("ops")))
    verdict = index.decide("ann", ("ops",), Action("list", "", "pods"))
    assert verdict.reason == 'RBAC: allowed by ClusterRoleBinding "c" of ClusterRole "read" to Group "ops"'


def test_service_accounts_are_of_the_bindings_namespace_unless_they_name_one() -> None:
    index = AccessIndex()
    index.put(CLUSTER_ROLES, role("read", READ))
    account = {"kind": "ServiceAccount", "name": "bot"}
    index.put(BINDINGS, binding("b", "ClusterRole", "read", account, namespace="shop"))
    verdict = index.decide("system:serviceaccount:shop:bot", (), GET)
    assert verdict.reason == 'RBAC: allowed by RoleBinding "b/shop" of ClusterRole "read" to ServiceAccount "bot/shop"'
    assert not index.decide("system:serviceaccount:other:bot", (), GET).allowed


def test_a_missing_role_is_told_and_counts_once_it_is_there() -> None:
    index = AccessIndex()
    index.put(CLUSTER_BINDINGS, binding("c", "ClusterRole", "late", user("ann")))
    verdict = index.decide("ann", (), GET)
    assert (verdict.allowed, verdict.reason) == (False, f'RBAC: clusterrole.{GROUP} "late" not found')
    index.put(CLUSTER_ROLES, role("late", READ))
    assert index.decide("ann", (), GET).allowed
    index.drop(CLUSTER_ROLES, ("", "late"))
    assert not index.decide("ann", (), GET).allowed


def test_what_is_taken_back_is_gone_at_once() -> None:
    index = AccessIndex()
    index.put(CLUSTER_ROLES, role("read", READ))
    index.put(CLUSTER_BINDINGS, binding("c", "ClusterRole", "read", user("ann"), user("ann"), group("staff")))
    assert index.decide("ann", ("staff",), GET).allowed
    index.put(CLUSTER_BINDINGS, binding("c", "ClusterRole", "read", user("bob")))
    assert not index.decide("ann", ("staff",), GET).allowed
    assert index.decide("bob", (), GET).allowed
    index.drop(CLUSTER_BINDINGS, ("", "c"))
    assert not index.decide("bob", (), GET).allowed


def test_a_fresh_snapshot_forgets_what_is_not_in_it() -> None:
    index = AccessIndex()
    index.put(CLUSTER_ROLES, role("read", READ))
    index.put(ROLES, role("read", READ, "shop"))
    index.put(CLUSTER_BINDINGS, binding("c", "ClusterRole", "read", user("ann")))
    index.put(BINDINGS, binding("b", "Role", "read", user("bob"), namespace="shop"))
    index.replace(CLUSTER_BINDINGS, [])
    assert not index.decide("ann", (), GET).allowed
    assert index.decide("bob", (), GET).allowed
    index.replace(CLUSTER_ROLES, [])
    assert index.decide("bob", (), GET).allowed
    index.replace(ROLES, [])
    assert not index.decide("bob", (), GET).allowed


def test_remembered_decisions_are_bounded() -> None:
    index = AccessIndex()
    for number in range(CACHE_SIZE + 10):
        index.decide("ann", (), Action("get", "", "pods", name=str(number)))
    assert len(index._verdicts) <= CACHE_SIZE


def test_rules_of_a_caller_are_those_of_both_scopes() -> None:
    index = AccessIndex()
    index.put(CLUSTER_ROLES, role("read", READ))
    index.put(ROLES, role("write", [{"apiGroups": [""], "resources": ["pods"], "verbs": ["delete"]}], "shop"))
    index.put(CLUSTER_BINDINGS, binding("c", "ClusterRole", "read", user("ann")))
    index.put(BINDINGS, binding("b", "Role", "write", user("ann"), namespace="shop"))
    index.put(BINDINGS, binding("x", "Role", "none", user("ann"), namespace="shop"))
    rules, faults = index.rules_of("ann", (), "shop")
    assert [each.verbs for each in rules] == [("get", "list", "watch"), ("delete",)]
    assert faults == [f'role.{GROUP} "none" not found']
