"""Role-based access control as a kube-apiserver decides it: rules and what is asked in, yes or no out. Pure.

What is granted to whom is kept by :mod:`eaves.controller.access`; this module knows one rule at a time, whether rules cover other rules
(so that nobody hands out what they do not have), and the words for it. Facts: k8s.io/kubernetes ``plugin/pkg/auth/authorizer/rbac`` and
``pkg/apis/rbac/v1``, k8s.io/component-helpers ``auth/rbac/validation``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct, field

GROUP = "rbac.authorization.k8s.io"
ALL = "*"
SERVICE_ACCOUNT_PREFIX = "system:serviceaccount:"


class PolicyRule(Struct, frozen=True, rename="camel", omit_defaults=True):
    """Verbs on resources or on plain paths. Empty ``resource_names`` mean every name."""

    verbs: tuple[str, ...] = ()
    api_groups: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    resource_names: tuple[str, ...] = ()
    paths: tuple[str, ...] = field(name="nonResourceURLs", default=())


class Action(Struct, frozen=True):
    """What somebody wants to do: a verb on a resource, or on ``path`` when ``resource`` is empty."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    """Empty for the whole cluster."""
    name: str = ""
    path: str = ""


class Subject(Struct, frozen=True, rename="camel", omit_defaults=True):
    """Whom a binding is for."""

    kind: str
    name: str
    api_group: str = ""
    namespace: str = ""


EVERYTHING = (
    PolicyRule((ALL,), (ALL,), (ALL,)),
    PolicyRule((ALL,), paths=(ALL,)),
)
"""What ``cluster-admin`` may."""


def parse_rules(values: Any) -> tuple[PolicyRule, ...]:
    """The rules of a stored role."""
    return msgspec.convert(values or (), tuple[PolicyRule, ...])


def render_rule(rule: PolicyRule) -> dict[str, Any]:
    """The rule as JSON types, its lists in the order in which kubectl prints them."""
    built: dict[str, Any] = msgspec.to_builtins(rule)
    return {key: list(value) for key, value in built.items()}


def allows(rule: PolicyRule, action: Action) -> bool:
    """Whether one rule permits an action."""
    if ALL not in rule.verbs and action.verb not in rule.verbs:
        return False
    if not action.resource:
        return any(_matches_path(pattern, action.path) for pattern in rule.paths)
    if ALL not in rule.api_groups and action.group not in rule.api_groups:
        return False
    if not _matches_resource(rule.resources, action.resource, action.subresource):
        return False
    return not rule.resource_names or action.name in rule.resource_names


def find_missing(held: Sequence[PolicyRule], wanted: Iterable[PolicyRule]) -> tuple[PolicyRule, ...]:
    """Those parts of ``wanted`` that ``held`` does not cover, each about one verb on one thing; empty when it covers all."""
    return tuple(
        part for rule in wanted for part in _break_down(rule) if not any(_covers_part(own, part) for own in held)
    )


def subtract(rules: Iterable[PolicyRule], taken: Iterable[PolicyRule]) -> tuple[PolicyRule, ...]:
    """``rules`` without what is in ``taken``, parts as :func:`find_missing` answers them. A rule that has none of it stays as it is, and
    one that covers a part by a wildcard keeps that.
    """
    gone = frozenset(taken)
    found: list[PolicyRule] = []
    for rule in rules:
        parts = tuple(_break_down(rule))
        left = [part for part in parts if part not in gone]
        found.extend((rule,) if len(left) == len(parts) else compact(left))
    return tuple(found)


def compact(parts: Iterable[PolicyRule]) -> tuple[PolicyRule, ...]:
    """Rules about the same resource with their verbs joined, in the order in which resources first appear; others as they are."""
    joined: dict[object, PolicyRule] = {}
    for position, part in enumerate(parts):
        is_simple = len(part.resources) == len(part.api_groups) == 1 and not part.paths
        key: object = (part.api_groups, part.resources, part.resource_names) if is_simple else position
        known = joined.get(key)
        verbs = part.verbs if known is None else tuple(dict.fromkeys((*known.verbs, *part.verbs)))
        joined[key] = msgspec.structs.replace(part, verbs=verbs)
    return tuple(joined.values())


def describe_rule(rule: PolicyRule) -> str:
    """``{APIGroups:[""], Resources:["pods"], Verbs:["get"]}``."""
    named = (
        ("APIGroups", rule.api_groups),
        ("Resources", rule.resources),
        ("NonResourceURLs", rule.paths),
        ("ResourceNames", rule.resource_names),
        ("Verbs", rule.verbs),
    )
    return "{" + ", ".join(f"{name}:{quote_all(values)}" for name, values in named if values) + "}"


def quote_all(values: Iterable[str]) -> str:
    """``["a" "b"]``, as Go prints a list of texts."""
    return "[" + " ".join(json.dumps(value, ensure_ascii=False) for value in values) + "]"


def user_of(subject: Subject, namespace: str) -> str:
    """The user name that a subject is about, empty for a group. ``namespace`` is the binding's, for accounts that name none."""
    match subject.kind:
        case "User":
            return subject.name
        case "ServiceAccount":
            space = subject.namespace or namespace
            return f"{SERVICE_ACCOUNT_PREFIX}{space}:{subject.name}" if space else ""
        case _:
            return ""


def describe_subject(subject: Subject, namespace: str) -> str:
    """``Group "staff"``, ``ServiceAccount "name/namespace"``."""
    if subject.kind == "ServiceAccount":
        return f'{subject.kind} "{subject.name}/{subject.namespace or namespace}"'
    return f'{subject.kind} "{subject.name}"'


def merge_rules(collections: Iterable[Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """The rules of several roles one after another, equal ones once: what an aggregated role has."""
    merged: list[dict[str, Any]] = []
    for rules in collections:
        merged.extend(dict(rule) for rule in rules if rule not in merged)
    return merged


def _matches_resource(patterns: Sequence[str], resource: str, subresource: str) -> bool:
    if ALL in patterns:
        return True
    if not subresource:
        return resource in patterns
    return f"{resource}/{subresource}" in patterns or f"*/{subresource}" in patterns


def _matches_path(pattern: str, path: str) -> bool:
    return pattern in (ALL, path) or (pattern.endswith(ALL) and path.startswith(pattern.rstrip(ALL)))


def _break_down(rule: PolicyRule) -> Iterator[PolicyRule]:
    for verb in rule.verbs:
        for group in rule.api_groups:
            for resource in rule.resources:
                if not rule.resource_names:
                    yield PolicyRule((verb,), (group,), (resource,))
                for name in rule.resource_names:
                    yield PolicyRule((verb,), (group,), (resource,), (name,))
    for path in rule.paths:
        for verb in rule.verbs:
            yield PolicyRule((verb,), paths=(path,))


def _covers_part(own: PolicyRule, part: PolicyRule) -> bool:
    if ALL not in own.verbs and part.verbs[0] not in own.verbs:
        return False
    if part.paths:
        return any(_matches_path(pattern, part.paths[0]) for pattern in own.paths)
    if ALL not in own.api_groups and part.api_groups[0] not in own.api_groups:
        return False
    resource, _, subresource = part.resources[0].partition("/")
    if not _matches_resource(own.resources, resource, subresource):
        return False
    return not own.resource_names or (bool(part.resource_names) and part.resource_names[0] in own.resource_names)
