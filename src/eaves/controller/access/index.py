"""All roles and bindings in memory, by whom they are for: a request is decided by a few look-ups. No I/O.

:class:`AccessIndex` is told of every object by :mod:`eaves.controller.access.following`, and asked by the API's authorizer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from eaves.kinds import rbac as kinds
from eaves.kube import rbac
from eaves.kube.rbac import Action, PolicyRule, Subject
from eaves.kube.resource import Object

CACHE_SIZE = 8192
"""Decisions remembered until a role or binding changes."""
_ROLES = {kinds.ROLE.store_name: "Role", kinds.CLUSTER_ROLE.store_name: "ClusterRole"}
_BINDINGS = {kinds.ROLE_BINDING.store_name: "RoleBinding", kinds.CLUSTER_ROLE_BINDING.store_name: "ClusterRoleBinding"}

Place = tuple[str, str]
"""(namespace, name); the namespace is empty in cluster scope."""


class Verdict(Struct, frozen=True):
    """``reason`` says by which binding, or which roles are missing."""

    allowed: bool
    reason: str = ""


class Binding(Struct, frozen=True):
    """One RoleBinding or ClusterRoleBinding."""

    place: Place
    role_kind: str
    role_name: str
    subjects: tuple[Subject, ...]

    @property
    def role(self) -> Place:
        return (self.place[0] if self.role_kind == "Role" else "", self.role_name)


class Grant(Struct, frozen=True):
    """What one binding gives to one caller. ``rules`` None: the role does not exist."""

    binding: Binding
    subject: Subject
    rules: tuple[PolicyRule, ...] | None


class AccessIndex:
    """Roles and bindings, and decisions by them."""

    def __init__(self) -> None:
        self._roles: dict[Place, tuple[PolicyRule, ...]] = {}
        self._bindings: dict[Place, Binding] = {}
        self._by_user: dict[Place, set[Place]] = {}
        """Bindings by (namespace, user name)."""
        self._by_group: dict[Place, set[Place]] = {}
        self._grants: dict[tuple[str, tuple[str, ...], str], tuple[Grant, ...]] = {}
        self._verdicts: dict[tuple[str, tuple[str, ...], Action], Verdict] = {}

    def replace(self, resource: str, objects: Iterable[Object]) -> None:
        """All objects of one resource (its store name), in place of those known."""
        is_scoped = resource in (kinds.ROLE.store_name, kinds.ROLE_BINDING.store_name)
        known: Mapping[Place, Any] = self._roles if resource in _ROLES else self._bindings
        for place in [place for place in known if bool(place[0]) == is_scoped]:
            self.drop(resource, place)
        for obj in objects:
            self.put(resource, obj)

    def put(self, resource: str, obj: Object) -> None:
        """A new or changed object."""
        meta = obj["metadata"]
        place = (meta.get("namespace") or "", meta["name"])
        self.drop(resource, place)
        if resource in _ROLES:
            self._roles[place] = rbac.parse_rules(obj.get("rules"))
            return
        reference = obj["roleRef"]
        subjects = msgspec.convert(obj.get("subjects") or (), tuple[Subject, ...])
        binding = Binding(place, reference["kind"], reference["name"], subjects)
        self._bindings[place] = binding
        for table, key in self._keys(binding):
            table.setdefault(key, set()).add(place)

    def drop(self, resource: str, place: Place) -> None:
        """An object that is gone."""
        self._grants.clear()
        self._verdicts.clear()
        if resource in _ROLES:
            self._roles.pop(place, None)
            return
        binding = self._bindings.pop(place, None)
        for table, key in self._keys(binding) if binding is not None else ():
            # A binding may name somebody twice.
            places = table.get(key, set())
            places.discard(place)
            if not places:
                table.pop(key, None)

    def role_rules(self, kind: str, namespace: str, name: str) -> tuple[PolicyRule, ...] | None:
        """The rules of a role; None when there is no such one."""
        return self._roles.get((namespace if kind == "Role" else "", name))

    def decide(self, user: str, groups: Sequence[str], action: Action) -> Verdict:
        """Whether ``user`` may do it by any of his bindings."""
        key = (user, tuple(groups), action)
        verdict = self._verdicts.get(key)
        if verdict is None:
            verdict = self._decide(user, key[1], action)
            if len(self._verdicts) >= CACHE_SIZE:
                self._verdicts.clear()
            self._verdicts[key] = verdict
        return verdict

    def rules_of(self, user: str, groups: Sequence[str], namespace: str) -> tuple[list[PolicyRule], list[str]]:
        """Everything that he may do in a namespace, and what is wrong with his bindings."""
        grants = self.grants_of(user, tuple(groups), namespace)
        rules = [rule for grant in grants for rule in grant.rules or ()]
        return rules, _faults(grants)

    def grants_of(self, user: str, groups: tuple[str, ...], namespace: str) -> tuple[Grant, ...]:
        """Cluster-wide ones first, as a kube-apiserver looks at them."""
        key = (user, groups, namespace)
        grants = self._grants.get(key)
        if grants is None:
            scopes = ("", namespace) if namespace else ("",)
            grants = tuple(grant for scope in scopes for grant in self._find_grants(user, groups, scope))
            if len(self._grants) >= CACHE_SIZE:
                self._grants.clear()
            self._grants[key] = grants
        return grants

    def _decide(self, user: str, groups: tuple[str, ...], action: Action) -> Verdict:
        grants = self.grants_of(user, groups, action.namespace if action.resource else "")
        for grant in grants:
            if any(rbac.allows(rule, action) for rule in grant.rules or ()):
                return Verdict(True, f"RBAC: allowed by {_describe(grant)}")
        faults = _faults(grants)
        return Verdict(False, f"RBAC: {_list_faults(faults)}" if faults else "")

    def _keys(self, binding: Binding) -> Iterable[tuple[dict[Place, set[Place]], Place]]:
        """From where a binding is found."""
        scope = binding.place[0]
        for subject in binding.subjects:
            if subject.kind == "Group":
                yield self._by_group, (scope, subject.name)
            elif user := rbac.user_of(subject, scope):
                yield self._by_user, (scope, user)

    def _find_grants(self, user: str, groups: tuple[str, ...], scope: str) -> Iterable[Grant]:
        places = set(self._by_user.get((scope, user), ()))
        for group in groups:
            places |= self._by_group.get((scope, group), set())
        for place in sorted(places):
            binding = self._bindings[place]
            for subject in binding.subjects:
                is_his = subject.name in groups if subject.kind == "Group" else rbac.user_of(subject, place[0]) == user
                if is_his:
                    yield Grant(binding, subject, self._roles.get(binding.role))
                    break


def _describe(grant: Grant) -> str:
    """``RoleBinding "b/ns" of Role "r" to Group "g"``, in a kube-apiserver's words."""
    binding = grant.binding
    namespace, name = binding.place
    what = f'RoleBinding "{name}/{namespace}"' if namespace else f'ClusterRoleBinding "{name}"'
    whom = rbac.describe_subject(grant.subject, namespace)
    return f'{what} of {binding.role_kind} "{binding.role_name}" to {whom}'


def _faults(grants: Iterable[Grant]) -> list[str]:
    missing = [grant.binding for grant in grants if grant.rules is None]
    texts = (f'{binding.role_kind.lower()}.{rbac.GROUP} "{binding.role_name}" not found' for binding in missing)
    return list(dict.fromkeys(texts))


def _list_faults(faults: Sequence[str]) -> str:
    return faults[0] if len(faults) == 1 else f"[{', '.join(faults)}]"
