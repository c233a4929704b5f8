"""Access rules: what each allows, what covers what, and the words of a kube-apiserver."""

from __future__ import annotations

import pytest

from eaves.kube import rbac
from eaves.kube.rbac import Action, PolicyRule, Subject

READ_PODS = PolicyRule(("get", "list"), ("",), ("pods",))


def rule(verbs: str, groups: str, resources: str, names: str = "") -> PolicyRule:
    return PolicyRule(*(tuple(text.split()) for text in (verbs, groups, resources, names)))


@pytest.mark.parametrize(
    ("given", "action", "is_allowed"),
    [
        (READ_PODS, Action("get", "", "pods", name="a"), True),
        (READ_PODS, Action("watch", "", "pods"), False),
        (READ_PODS, Action("get", "apps", "pods"), False),
        (READ_PODS, Action("get", "", "pods", "log", name="a"), False),
        (rule("get", "apps", "pods/log"), Action("get", "apps", "pods", "log"), True),
        (rule("get", "apps", "pods/log"), Action("get", "apps", "pods"), False),
        (rule("*", "*", "*"), Action("escalate", "x.y", "anything", "sub"), True),
        (rule("update", "*", "*/scale"), Action("update", "apps", "deployments", "scale"), True),
        (rule("update", "*", "*/scale"), Action("update", "apps", "deployments", "status"), False),
        (rule("update", "*", "*/scale"), Action("update", "apps", "deployments"), False),
        (rule("get", "apps", "pods/*"), Action("get", "apps", "pods", "log"), False),
        (rule("get", "apps", "pods", "a b"), Action("get", "apps", "pods", name="b"), True),
        (rule("get", "apps", "pods", "a b"), Action("get", "apps", "pods", name="c"), False),
        (rule("list", "apps", "pods", "a"), Action("list", "apps", "pods"), False),
        (rule("create", "apps", "pods", "a"), Action("create", "apps", "pods"), False),
        (rule("get", "apps", "*"), Action("get", path="/healthz"), False),
        (PolicyRule(("get",), paths=("/apis/*",)), Action("get", path="/apis/x/v1"), True),
        (PolicyRule(("get",), paths=("/apis/*",)), Action("get", path="/apis"), False),
        (PolicyRule(("get",), paths=("/apis",)), Action("get", path="/apis/"), False),
        (PolicyRule(("*",), paths=("*",)), Action("post", path="/"), True),
        (PolicyRule(("*",), paths=("*",)), Action("get", "", "pods"), False),
        (PolicyRule(("get",), paths=("/a*c",)), Action("get", path="/abc"), False),
    ],
)
def test_a_rule_allows_what_kube_says(given: PolicyRule, action: Action, is_allowed: bool) -> None:
    assert rbac.allows(given, action) is is_allowed


@pytest.mark.parametrize(
    ("held", "wanted", "missing"),
    [
        ([READ_PODS], [READ_PODS], 0),
        ([READ_PODS], [rule("get", "apps", "pods")], 1),
        ([rule("*", "*", "*")], [rule("get list", "a b", "c d/e", "n")], 0),
        ([rule("get", "a", "c"), rule("list", "a", "c")], [rule("get list", "a", "c")], 0),
        ([rule("get", "a", "c", "one two")], [rule("get", "a", "c", "one")], 0),
        ([rule("get", "a", "c", "one")], [rule("get", "a", "c", "one two")], 1),
        ([rule("get", "a", "c", "one")], [rule("get", "a", "c")], 1),
        ([rule("get", "a", "*/scale")], [rule("get", "a", "c/scale d/scale")], 0),
        ([rule("get", "a", "c")], [rule("get", "a", "c/scale")], 1),
        ([rule("get", "a", "c d e")], [rule("*", "a", "c")], 1),
        ([PolicyRule(("get",), paths=("/a/*",))], [PolicyRule(("get",), paths=("/a/b", "/a/*"))], 0),
        ([PolicyRule(("get",), paths=("/a/b",))], [PolicyRule(("get", "post"), paths=("/a/b",))], 1),
    ],
)
def test_what_is_not_held_is_found(held: list[PolicyRule], wanted: list[PolicyRule], missing: int) -> None:
    assert len(rbac.find_missing(held, wanted)) == missing


def test_missing_parts_are_told_together() -> None:
    missing = rbac.find_missing([], [rule("get list", "apps", "deployments"), PolicyRule(("get",), paths=("/x",))])
    assert [rbac.describe_rule(each) for each in rbac.compact(missing)] == [
        '{APIGroups:["apps"], Resources:["deployments"], Verbs:["get" "list"]}',
        '{NonResourceURLs:["/x"], Verbs:["get"]}',
    ]


def test_rules_survive_the_way_through_json() -> None:
    stored = [
        {"apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"], "verbs": ["get"]},
        {"nonResourceURLs": ["/x/*"], "verbs": ["*"]},
    ]
    assert [rbac.render_rule(each) for each in rbac.parse_rules(stored)] == stored


def test_subjects_are_users() -> None:
    assert rbac.user_of(Subject("User", "ann", rbac.GROUP), "ns") == "ann"
    assert rbac.user_of(Subject("ServiceAccount", "bot"), "ns") == "system:serviceaccount:ns:bot"
    assert rbac.user_of(Subject("ServiceAccount", "bot", namespace="other"), "ns") == "system:serviceaccount:other:bot"
    assert rbac.user_of(Subject("ServiceAccount", "bot"), "") == ""
    assert rbac.user_of(Subject("Group", "staff", rbac.GROUP), "ns") == ""


def test_rules_of_several_roles_are_joined_once() -> None:
    one, two = {"verbs": ["get"]}, {"verbs": ["list"]}
    assert rbac.merge_rules([[one, two], [two, one]]) == [one, two]
