"""Finds who serves a resource path: the kind's handler, or that of its subresource."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from eaves.controller.api.app import NOT_FOUND, Answer
from eaves.controller.api.faults import error_response
from eaves.controller.api.forms import LIST_SHAPES, OBJECT_SHAPES
from eaves.controller.api.http import Request, Response
from eaves.controller.api.routing import Target
from eaves.kube import negotiate, status
from eaves.kube.resource import Gvr, Resource, Verb


class KindHandler(Protocol):
    """Serves one kind, without its subresources."""

    @property
    def resource(self) -> Resource: ...

    async def serve(self, request: Request, target: Target) -> Answer:
        """Answer ``request.verb``, which is one of the resource's verbs."""
        ...


_WRITES = frozenset({Verb.CREATE, Verb.UPDATE, Verb.PATCH, Verb.DELETE, Verb.DELETE_COLLECTION})
_WITH_OBJECTS = frozenset({"status", "finalize", "token"})
"""Subresources that answer writes with an object; others are streams."""

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
        if kind is None or not _is_place(kind.resource, target):
            return False
        return not target.subresource or (gvr, target.subresource) in self._subresources

    def refuse(self, target: Target) -> Response:
        """Groups of Kubernetes itself answer a Status, custom ones plain text, besides for a subresource of a known kind."""
        kind = self._kinds.get(Gvr(target.group, target.version, target.resource))
        if kind is not None and kind.resource.is_custom and target.subresource and _is_place(kind.resource, target):
            return error_response(status.not_found(target.group, target.resource, target.name))
        version = (target.group, target.version)
        if any(gvr[:2] == version and not each.resource.is_custom for gvr, each in self._kinds.items()):
            return error_response(status.unknown_resource())
        return NOT_FOUND

    async def serve(self, request: Request) -> Answer:
        """Raises ApiError 405 for a verb that the kind does not have at this path."""
        target = request.target
        assert target is not None
        gvr = Gvr(target.group, target.version, target.resource)
        kind = self._kinds[gvr]
        if target.subresource:
            return await self._serve_subresource(request, target, kind.resource)
        if kind.resource.is_custom and not _has_place(kind.resource, request.verb, target):
            return NOT_FOUND
        if request.method == "HEAD" and not kind.resource.is_custom:
            raise status.path_not_allowed()
        _check_verb(kind.resource, request.verb)
        _check_path(kind.resource, request.verb, target)
        _check_acceptable(request)
        return await kind.serve(request, target)

    async def _serve_subresource(self, request: Request, target: Target, resource: Resource) -> Answer:
        verbs = next((sub.verbs for sub in resource.subresources if sub.name == target.subresource), frozenset())
        if request.verb not in verbs:
            raise _not_allowed(resource, request.verb)
        if target.subresource in _WITH_OBJECTS:
            _check_acceptable(request)
        return await self._subresources[resource.gvr, target.subresource](request, target)


def _check_acceptable(request: Request) -> None:
    """A write whose outcome could not be told is not done. Raises ApiError 406."""
    if request.verb in _WRITES:
        is_list = request.verb == Verb.DELETE_COLLECTION
        negotiate.negotiate(request.header(b"accept"), LIST_SHAPES if is_list else OBJECT_SHAPES)


def _is_place(resource: Resource, target: Target) -> bool:
    """Whether objects of the kind are at such a path: below a namespace or not. All namespaces together can be listed."""
    if resource.verbs == {Verb.CREATE}:
        # What is only asked and never kept has one path.
        return bool(target.namespace) == resource.namespaced and not target.name
    return not target.namespace if not resource.namespaced else bool(target.namespace) or not target.name


def _check_path(resource: Resource, verb: str, target: Target) -> None:
    """Raises ApiError 400 or 405 when the verb needs another path: one with a name, without one, or in a namespace."""
    if verb in (Verb.UPDATE, Verb.PATCH) and not target.name:
        if resource.is_custom:
            raise status.bad_request("name must be provided")
        raise _not_allowed(resource, verb)
    if verb == Verb.CREATE and target.name and not resource.is_custom:
        raise _not_allowed(resource, verb)
    if not _has_place(resource, verb, target):
        raise _not_allowed(resource, verb)


def _has_place(resource: Resource, verb: str, target: Target) -> bool:
    """Objects of all namespaces together can be read and nothing else."""
    return not resource.namespaced or bool(target.namespace) or verb in (Verb.LIST, Verb.WATCH)


def _check_verb(resource: Resource, verb: str) -> None:
    if verb not in resource.verbs:
        raise _not_allowed(resource, verb)


def _not_allowed(resource: Resource, verb: str) -> Exception:
    if resource.is_custom or resource.instead:
        return status.method_not_allowed(resource.gvr.group, resource.gvr.resource, verb, resource.instead)
    return status.path_not_allowed()
