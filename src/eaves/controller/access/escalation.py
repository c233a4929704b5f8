"""Nobody grants what he does not have: guards of writes of roles and bindings.

As a kube-apiserver does: a role may be written by who holds all of it or may ``escalate`` it, a binding by who holds all of its role or
may ``bind`` it. A role's rules are read from the store and not from the index, since the role may have been written a moment ago.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from eaves.controller.access.following import AccessFollower
from eaves.controller.api.authorization import Attributes, Authorizer, check_allowed
from eaves.controller.api.identity import GROUP_MASTERS, Identity
from eaves.controller.api.routing import Target
from eaves.controller.documents import decode_object, key_of
from eaves.kinds import rbac as kinds
from eaves.kube import rbac, status
from eaves.kube.rbac import PolicyRule
from eaves.kube.resource import Object, Resource, Verb
from eaves.store.abc import ObjectStore

THREAD_FROM_RULES = 200
"""Roles with so many rules are compared in a thread; a comparison takes a microsecond for each pair."""
_BINDINGS = (kinds.ROLE_BINDING, kinds.CLUSTER_ROLE_BINDING)


class EscalationGuard:
    """Asked by the writer before an object is stored: whether it may be made, and whether a role or binding gives too much."""

    def __init__(self, store: ObjectStore, access: AccessFollower, authorizer: Authorizer) -> None:
        self._store = store
        self._access = access
        self._authorizer = authorizer

    async def check(
        self, identity: Identity, resource: Resource, new: Object, old: Object | None, *, is_named: bool = True
    ) -> None:
        """Raises ApiError 403, and 404 for the role of a binding. Without ``is_named`` the request's path names no object, so that a
        right to roles of some names does not count, as with any other create.
        """
        if old is None and is_named:
            # By a patch or an update, which the right to those does not allow.
            target = Target(*resource.gvr, new["metadata"].get("namespace", ""), new["metadata"]["name"])
            await check_allowed(self._authorizer, Attributes(identity, Verb.CREATE, target))
        if resource not in kinds.RESOURCES or GROUP_MASTERS in identity.groups:
            return
        if resource in _BINDINGS:
            await self._check_binding(identity, resource, new, old)
        else:
            await self._check_role(identity, resource, new, old, is_named=is_named)

    async def _check_role(
        self, identity: Identity, resource: Resource, new: Object, old: Object | None, *, is_named: bool
    ) -> None:
        if old is not None and all(new.get(part) == old.get(part) for part in ("rules", "aggregationRule")):
            return
        meta = new["metadata"]
        space, name = meta.get("namespace", ""), meta["name"]
        if await self._may(identity, "escalate", resource, space, name if is_named else ""):
            return
        await self._check_held(identity, resource, new, rbac.parse_rules(new.get("rules")))
        if new.get("aggregationRule") is not None and self._find_missing(identity, "", rbac.EVERYTHING)[0]:
            why = "must have cluster-admin privileges to use the aggregationRule"
            raise status.forbidden(rbac.GROUP, resource.gvr.resource, name, why)

    async def _check_binding(self, identity: Identity, resource: Resource, new: Object, old: Object | None) -> None:
        if old is not None and all(new.get(part) == old.get(part) for part in ("roleRef", "subjects")):
            return
        space, reference = new["metadata"].get("namespace", ""), new["roleRef"]
        role = kinds.ROLE if reference["kind"] == "Role" else kinds.CLUSTER_ROLE
        if await self._may(identity, "bind", role, space, reference["name"]):
            return
        found = await self._store.get(key_of(role, space, reference["name"]))
        if found is None:
            raise status.not_found(rbac.GROUP, role.gvr.resource, reference["name"])
        await self._check_held(identity, resource, new, rbac.parse_rules(decode_object(found).get("rules")))

    async def _may(self, identity: Identity, verb: str, role: Resource, namespace: str, name: str) -> bool:
        gvr = role.gvr
        target = Target(gvr.group, "*", gvr.resource, namespace, name)
        return (await self._authorizer.authorize(Attributes(identity, verb, target))).allowed

    async def _check_held(
        self, identity: Identity, resource: Resource, new: Object, wanted: Sequence[PolicyRule]
    ) -> None:
        space = new["metadata"].get("namespace", "")
        if len(wanted) < THREAD_FROM_RULES:
            missing, faults = self._find_missing(identity, space, wanted)
        else:
            missing, faults = await asyncio.to_thread(self._find_missing, identity, space, wanted)
        if not missing:
            return
        listed = "\n".join(sorted({rbac.describe_rule(rule) for rule in rbac.compact(missing)}))
        why = (
            f'user "{identity.user}" (groups={rbac.quote_all(identity.groups)}) is attempting to grant RBAC permissions not '
            f"currently held:\n{listed}"
        )
        if faults:
            why += f"; resolution errors: [{', '.join(faults)}]"
        raise status.forbidden(rbac.GROUP, resource.gvr.resource, new["metadata"]["name"], why)

    def _find_missing(
        self, identity: Identity, namespace: str, wanted: Sequence[PolicyRule]
    ) -> tuple[Sequence[PolicyRule], Sequence[str]]:
        held, faults = self._access.index.rules_of(identity.user, identity.groups, namespace)
        return rbac.find_missing(held, wanted), faults
