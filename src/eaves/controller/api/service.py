"""Finds who serves a resource path: the kind's handler, or that of its subresource."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from eaves.controller.api.app import Answer
from eaves.controller.api.http import Request
from eaves.controller.api.routing import Target
from eaves.kube import status
from eaves.kube.resource import Gvr, Resource, Verb


class KindHandler(Protocol):
    """Serves one kind, without its subresources."""

    @property
    def resource(self) -> Resource: ...

    async def serve(self, request: Request, target: Target) -> Answer:
        """Answer ``request.verb``, which is one of the resource's verbs."""
        ...


SubresourceHandler = Callable[[Request, Target], Awaitable[Answer]]
"""Serves one subresource of one object, for the verbs that the kind lists for it."""


class ResourceService:
    """All kinds by their group, version and resource."""

    def __init__(
        self, kinds: Mapping[Gvr, KindHandler], subresources: Mapping[tuple[Gvr, str], SubresourceHandler]
    ) -> None:
        self._kinds = kinds
        self._subresources = subresources

    def knows(self, request: Request) -> bool:
        target = request.target
        if target is None:
            return False
        gvr = Gvr(target.group, target.version, target.resource)
        kind = self._kinds.get(gvr)
        if kind is None or (target.namespace and not kind.resource.namespaced):
            return False
        return not target.subresource or (gvr, target.subresource) in self._subresources

    async def serve(self, request: Request) -> Answer:
        """Raises ApiError 405 for a verb that the kind does not have, 400 for a path that does not fit it."""
        target = request.target
        assert target is not None
        gvr = Gvr(target.group, target.version, target.resource)
        kind = self._kinds[gvr]
        if target.subresource:
            return await self._serve_subresource(request, target, kind.resource)
        _check_verb(kind.resource, request.verb)
        if request.verb in (Verb.UPDATE, Verb.PATCH) and not target.name:
            raise status.bad_request("name must be provided")
        if kind.resource.namespaced and not target.namespace and (target.name or request.verb == "create"):
            raise status.bad_request("an object of a namespaced kind is reached below its namespace")
        return await kind.serve(request, target)

    async def _serve_subresource(self, request: Request, target: Target, resource: Resource) -> Answer:
        verbs = next((sub.verbs for sub in resource.subresources if sub.name == target.subresource), frozenset())
        if request.verb not in verbs:
            raise _not_allowed(resource, request.verb)
        return await self._subresources[resource.gvr, target.subresource](request, target)


def _check_verb(resource: Resource, verb: str) -> None:
    if verb not in resource.verbs:
        raise _not_allowed(resource, verb)


def _not_allowed(resource: Resource, verb: str) -> Exception:
    why = "the server does not allow this method on the requested resource"
    return status.method_not_allowed(resource.gvr.group, resource.gvr.resource, verb, why)
