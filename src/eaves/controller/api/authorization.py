"""May this caller do this: the seam behind which RBAC will stand, and the first rule set.

The pipeline asks once a request. The texts are those a kube-apiserver answers, because people and tools know them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from eaves.controller.api.identity import GROUP_AUTHENTICATED, GROUP_MASTERS, Identity
from eaves.controller.api.routing import Target
from eaves.kube import status
from eaves.kube.errors import ApiError

PUBLIC_PATHS = ("/healthz", "/livez", "/readyz", "/version")
DISCOVERY_PATHS = ("/api", "/apis", "/openapi")
_SELF_REVIEWS = frozenset({"selfsubjectreviews", "selfsubjectaccessreviews", "selfsubjectrulesreviews"})
_REVIEW_GROUPS = frozenset({"authentication.k8s.io", "authorization.k8s.io"})


class Attributes(Struct, frozen=True):
    """What is asked: a resource (``target``) or, when that is None, a plain path."""

    identity: Identity
    verb: str
    target: Target | None
    path: str = ""


class Decision(Struct, frozen=True):
    """``reason`` is appended to the refusal, for people."""

    allowed: bool
    reason: str = ""


class ResourceRule(Struct, frozen=True, rename="camel"):
    """Verbs on resources, as a rules review prints them."""

    verbs: Sequence[str]
    api_groups: Sequence[str]
    resources: Sequence[str]


class PathRule(Struct, frozen=True):
    """Verbs on plain paths."""

    verbs: Sequence[str]
    paths: Sequence[str]


class Rules(Struct, frozen=True):
    """What somebody may do in one namespace."""

    resources: Sequence[ResourceRule]
    paths: Sequence[PathRule]


class Authorizer(Protocol):
    """Decides. Implementations must be quick: each request waits for them."""

    async def authorize(self, attributes: Attributes) -> Decision: ...

    async def rules(self, identity: Identity, namespace: str) -> Rules:
        """What ``identity`` may do in ``namespace``."""
        ...


class AdminAuthorizer:
    """Members of ``system:masters`` may do everything, others who are known may look around and ask what they may do."""

    async def authorize(self, attributes: Attributes) -> Decision:
        groups = attributes.identity.groups
        if GROUP_MASTERS in groups:
            return Decision(True)
        if attributes.target is None:
            if attributes.verb in ("get", "head") and _is_below(attributes.path, PUBLIC_PATHS):
                return Decision(True)
            is_known = GROUP_AUTHENTICATED in groups
            return Decision(is_known and attributes.verb == "get" and _is_below(attributes.path, DISCOVERY_PATHS))
        target = attributes.target
        is_self_review = target.group in _REVIEW_GROUPS and target.resource in _SELF_REVIEWS
        return Decision(is_self_review and attributes.verb == "create" and GROUP_AUTHENTICATED in groups)

    async def rules(self, identity: Identity, namespace: str) -> Rules:
        public = PathRule(["get"], [path for base in PUBLIC_PATHS for path in (base, f"{base}/*")])
        if GROUP_MASTERS in identity.groups:
            return Rules([ResourceRule(["*"], ["*"], ["*"])], [PathRule(["*"], ["*"])])
        if GROUP_AUTHENTICATED not in identity.groups:
            return Rules([], [public])
        reviews = ResourceRule(["create"], sorted(_REVIEW_GROUPS), sorted(_SELF_REVIEWS))
        looking = PathRule(["get"], [path for base in DISCOVERY_PATHS for path in (base, f"{base}/*")])
        return Rules([reviews], [public, looking])


async def check_allowed(authorizer: Authorizer, attributes: Attributes) -> None:
    """Raises ApiError 403 with the sentence that kubectl users know."""
    decision = await authorizer.authorize(attributes)
    if not decision.allowed:
        raise refusal(attributes, decision.reason)


def refusal(attributes: Attributes, reason: str) -> ApiError:
    """The 403 for ``attributes``."""
    user = attributes.identity.user
    target = attributes.target
    if target is None:
        sentence = f'User "{user}" cannot {attributes.verb} path "{attributes.path}"'
        return status.forbidden("", "", "", _with(sentence, reason))
    # Access to one namespace object is granted inside it.
    namespace = target.name if (target.group, target.resource) == ("", "namespaces") else target.namespace
    scope = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
    sentence = f'User "{user}" cannot {attributes.verb} resource "{target.resource_path}" in API group "{target.group}" {scope}'
    return status.forbidden(target.group, target.resource, target.name, _with(sentence, reason))


def _with(sentence: str, reason: str) -> str:
    return f"{sentence}: {reason}" if reason else sentence


def _is_below(path: str, bases: Sequence[str]) -> bool:
    return any(path == base or path.startswith(f"{base}/") for base in bases)
