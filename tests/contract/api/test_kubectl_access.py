"""The real kubectl on roles and bindings: create, get, describe, reconcile, and what it says of what one may do."""

from __future__ import annotations

import time

import pytest

from eaves.testing.kubectl import Kubectl

pytestmark = pytest.mark.contract


def test_roles_are_created_shown_and_described(kubectl: Kubectl, space: str) -> None:
    here = ("-n", space)
    kubectl.ok("create", "role", "look", *here, "--verb=get,list", "--resource=pods,pods/log,apps.eaves.dev")
    kubectl.ok("create", "rolebinding", "ann-looks", *here, "--role=look", "--user=ann", "--serviceaccount=default:bot")
    shown = kubectl.ok("get", "role,rolebinding", *here, "-o", "wide").out
    assert "Role/look" in shown
    assert "default/bot" in shown
    described = kubectl.ok("describe", "role", "look", *here).out
    assert "apps.eaves.dev" in described
    assert "pods/log" in described
    bound = kubectl.ok("describe", "rolebinding", "ann-looks", *here).out
    assert "ServiceAccount  bot   default" in bound
    kubectl.ok("delete", "rolebinding/ann-looks", "role/look", *here)


def test_cluster_roles_and_their_bindings(kubectl: Kubectl, space: str) -> None:
    kubectl.ok("create", "clusterrole", f"{space}-health", "--verb=get", "--non-resource-url=/healthz,/readyz/*")
    kubectl.ok("create", "clusterrole", f"{space}-sum", "--aggregation-rule", f"team={space}")
    kubectl.ok("create", "clusterrolebinding", space, f"--clusterrole={space}-health", "--group=ops")
    assert "CREATED AT" in kubectl.ok("get", "clusterroles").out
    assert f"ClusterRole/{space}-health" in kubectl.ok("get", "clusterrolebinding", space).out
    assert "/readyz/*" in kubectl.ok("describe", "clusterrole", f"{space}-health").out
    kubectl.ok("label", "clusterrole", f"{space}-health", f"team={space}")
    deadline = time.monotonic() + 60
    while "/readyz/*" not in kubectl.ok("get", "clusterrole", f"{space}-sum", "-o", "yaml").out:
        assert time.monotonic() < deadline, "the aggregated role does not get its rules"
    kubectl.ok("delete", "clusterrolebinding", space)
    kubectl.ok("delete", "clusterrole", f"{space}-health", f"{space}-sum")


def test_reconcile_gives_back_what_is_missing(kubectl: Kubectl, space: str) -> None:
    role = f"""
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: team, namespace: {space}}}
rules: [{{apiGroups: [""], resources: [configmaps], verbs: [get, list]}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: team, namespace: {space}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: team}}
subjects: [{{apiGroup: rbac.authorization.k8s.io, kind: Group, name: team}}]
"""
    kubectl.ok("auth", "reconcile", "-f", "-", stdin=role)
    kubectl.ok("patch", "role", "team", "-n", space, "--type=merge", "-p", '{"rules": []}')
    assert "configmaps" in kubectl.ok("auth", "reconcile", "-f", "-", "-o", "yaml", stdin=role).out
    # Another role for the same binding is a new binding, since the reference cannot change.
    other = role.replace("kind: Role, name: team", "kind: ClusterRole, name: view")
    kubectl.ok("auth", "reconcile", "-f", "-", stdin=other)
    assert "ClusterRole/view" in kubectl.ok("get", "rolebinding", "team", "-n", space).out


def test_can_i_asks_for_oneself_and_as_others(kubectl: Kubectl, space: str) -> None:
    kubectl.ok("create", "rolebinding", "view", "-n", space, "--clusterrole=view", "--user=ann")
    as_ann = ("-n", space, "--as", "ann")
    deadline = time.monotonic() + 60
    while kubectl.run("auth", "can-i", "list", "apps.eaves.dev", *as_ann).out.strip() != "yes":
        assert time.monotonic() < deadline, "the binding does not count"
    assert kubectl.run("auth", "can-i", "get", "secrets", *as_ann).out.strip() == "no"
    assert kubectl.run("auth", "can-i", "list", "apps.eaves.dev", "--as", "ann", "-n", "default").out.strip() == "no"
    assert kubectl.run("auth", "can-i", "get", "/healthz", "--as", "ann").out.strip() == "yes"
    assert kubectl.run("auth", "can-i", "*", "*").out.strip() == "yes"
    listed = kubectl.ok("auth", "can-i", "--list", *as_ann).out
    assert "apps.eaves.dev" in listed
    assert "selfsubjectreviews.authentication.k8s.io" in listed
    who = kubectl.ok("auth", "whoami", "--as", "ann", "--as-group", "ops", "--as-uid", "u-1").out
    for word in ("ann", "ops", "u-1", "system:authenticated"):
        assert word in who


def test_refusals_are_those_that_kubectl_users_know(kubectl: Kubectl, space: str) -> None:
    said = kubectl.fails("get", "apps.eaves.dev", "-n", space, "--as", "nobody")
    assert f'User "nobody" cannot list resource "apps" in API group "eaves.dev" in the namespace "{space}"' in said
    said = kubectl.fails("create", "role", "x", "-n", space, "--verb=get", "--resource=pods", "--as", "nobody")
    assert 'cannot create resource "roles" in API group "rbac.authorization.k8s.io"' in said


def test_tokens_of_service_accounts(kubectl: Kubectl, space: str) -> None:
    kubectl.ok("create", "serviceaccount", "bot", "-n", space)
    kubectl.ok("create", "rolebinding", "bot", "-n", space, "--clusterrole=view", f"--serviceaccount={space}:bot")
    token = kubectl.ok("create", "token", "bot", "-n", space, "--duration=10m").out.strip()
    # A credential on the command line overrides the file's.
    as_bot = ("--token", token)
    deadline = time.monotonic() + 60
    while kubectl.run("get", "apps.eaves.dev", "-n", space, *as_bot).code:
        assert time.monotonic() < deadline, "the binding does not count"
    assert f"system:serviceaccount:{space}:bot" in kubectl.ok("auth", "whoami", *as_bot).out
    assert "Forbidden" in kubectl.fails("get", "secrets", "-n", space, *as_bot)
    assert "must be logged in" in kubectl.fails("get", "apps.eaves.dev", "-n", space, "--token", token[:-4] + "AAAA")
