"""As whom callers act inside a cluster."""

from __future__ import annotations

from typing import Any

from eaves.controller.access.clusters import map_caller
from eaves.controller.api.identity import Identity
from eaves.kinds.k3sclusteraccess import K3sClusterAccess, decode

KNOWN = "system:authenticated"


def access(*rules: dict[str, Any]) -> K3sClusterAccess:
    spec = {"clusterRef": {"name": "shop"}, "rules": list(rules)}
    return decode({"metadata": {"name": "a", "namespace": "stores"}, "spec": spec})


def test_groups_of_every_rule_that_names_the_caller() -> None:
    rules = access(
        {"users": ["ann"], "clusterGroups": ["one", "two"]},
        {"groups": ["ops"], "clusterGroups": ["two", "three"]},
        {"users": ["bob"], "clusterGroups": ["system:masters"]},
    )
    mapped = map_caller(Identity("ann", ("ops", KNOWN), "u", {"k": ("v",)}), "id", [rules])
    assert mapped is not None
    assert (mapped.cluster, mapped.user, mapped.groups) == ("id", "ann", ("one", "two", "three"))
    assert (mapped.uid, mapped.extra) == ("u", {"k": ("v",)})


def test_whom_nothing_names_is_nobody_there() -> None:
    assert map_caller(Identity("eve", (KNOWN,)), "id", [access({"users": ["ann"], "clusterGroups": ["x"]})]) is None
    assert map_caller(Identity("eve", (KNOWN,)), "id", []) is None


def test_own_groups_count_only_by_rules() -> None:
    mapped = map_caller(Identity("ann", ("ops", KNOWN)), "id", [access({"groups": [KNOWN], "clusterGroups": ["view"]})])
    assert mapped is not None
    assert mapped.groups == ("view",)


def test_administrators_are_administrators_there() -> None:
    mapped = map_caller(Identity("admin", ("system:masters",)), "id", [])
    assert mapped is not None
    assert mapped.groups == ("system:masters",)


def test_service_accounts_are_named_by_namespace_and_do_not_become_the_clusters_own() -> None:
    rule = {"serviceAccounts": [{"name": "bot"}, {"name": "ci", "namespace": "build"}], "clusterGroups": ["deploy"]}
    rules = [access(rule)]
    for user in ("system:serviceaccount:stores:bot", "system:serviceaccount:build:ci"):
        mapped = map_caller(Identity(user, (KNOWN,)), "id", rules)
        assert mapped is not None
        assert mapped.user == f"eaves:{user}"
    assert map_caller(Identity("system:serviceaccount:build:bot", (KNOWN,)), "id", rules) is None
