"""May this caller do this: the seam between the pipeline and access rules, and the authorizer by roles and bindings.

The pipeline asks once a request. The texts are those a kube-apiserver answers, because people and tools know them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from eaves.controller.access.following import AccessFollower
from eaves.controller.api.identity import GROUP_MASTERS, Identity
from eaves.controller.api.routing import Target
from eaves.kube import status
from eaves.kube.errors import ApiError
from eaves.kube.rbac import Action, PolicyRule


class Attributes(Struct, frozen=True):
    """What is asked: a resource (``target``) or, when that is None, a plain path."""

    identity: Identity
    verb: str
    target: Target | None
    path: str = ""


class Decision(Struct, frozen=True):
    """``reason`` says by what it is allowed, or is appended to the refusal, for people."""

    allowed: bool
    reason: str = ""


class Rules(Struct, frozen=True):
    """What somebody may do in one namespace."""

    resources: Sequence[PolicyRule]
    paths: Sequence[PolicyRule]
    faults: Sequence[str] = ()
    """Why more might be allowed: roles of his bindings that do not exist."""


class Authorizer(Protocol):
    """Decides. Implementations must be quick: each request waits for them."""

    async def authorize(self, attributes: Attributes) -> Decision: ...

    async def rules(self, identity: Identity, namespace: str) -> Rules:
        """What ``identity`` may do in ``namespace``."""
        ...


_ALLOWED = Decision(True)


class RbacAuthorizer:
    """Members of ``system:masters`` may do everything; others what roles and bindings give them."""

    def __init__(self, access: AccessFollower) -> None:
        self._access = access

    async def authorize(self, attributes: Attributes) -> Decision:
        identity = attributes.identity
        if GROUP_MASTERS in identity.groups:
            return _ALLOWED
        await self._want_ready()
        verdict = self._access.index.decide(identity.user, identity.groups, action_of(attributes))
        return Decision(verdict.allowed, verdict.reason)

    async def rules(self, identity: Identity, namespace: str) -> Rules:
        await self._want_ready()
        found, faults = self._access.index.rules_of(identity.user, identity.groups, namespace)
        rules = list(dict.fromkeys(found))
        return Rules([rule for rule in rules if rule.resources], [rule for rule in rules if rule.paths], faults)

    async def _want_ready(self) -> None:
        """Raises ApiError 503 when roles cannot be read."""
        if not self._access.is_ready and not await self._access.wait_ready():
            raise status.service_unavailable("roles and bindings are not read yet; try again")


def action_of(attributes: Attributes) -> Action:
    """What is asked, in the terms of access rules."""
    target = attributes.target
    if target is None:
        return Action(attributes.verb, path=attributes.path)
    space = scope_of(target)
    return Action(attributes.verb, target.group, target.resource, target.subresource, space, target.name)


def scope_of(target: Target) -> str:
    """The namespace whose bindings count. Access to one namespace object is granted inside it."""
    return target.name if (target.group, target.resource) == ("", "namespaces") else target.namespace


async def check_allowed(authorizer: Authorizer, attributes: Attributes) -> None:
    """Raises ApiError 403 with the sentence that kubectl users know."""
    decision = await authorizer.authorize(attributes)
    if not decision.allowed:
        raise refusal(attributes, decision.reason)


def refusal(attributes: Attributes, reason: str) -> ApiError:
    """The 403 for ``attributes``."""
    error = _make_refusal(attributes, reason)
    # The text has words of the client's, which no browser must take for a page.
    error.headers["X-Content-Type-Options"] = "nosniff"
    return error


def _make_refusal(attributes: Attributes, reason: str) -> ApiError:
    user = attributes.identity.user
    target = attributes.target
    if target is None:
        sentence = f'User "{user}" cannot {attributes.verb} path "{attributes.path}"'
        return status.forbidden("", "", "", _with(sentence, reason))
    namespace = scope_of(target)
    scope = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
    sentence = f'User "{user}" cannot {attributes.verb} resource "{target.resource_path}" in API group "{target.group}" {scope}'
    return status.forbidden(target.group, target.resource, target.name, _with(sentence, reason))


def _with(sentence: str, reason: str) -> str:
    return f"{sentence}: {reason}" if reason else sentence
