"""Serves kinds that can only be read: views without writes of their own, and kinds that there is nothing of."""

from __future__ import annotations

from eaves.controller.api.app import Answer
from eaves.controller.api.backends import Backend
from eaves.controller.api.bodies import is_apply
from eaves.controller.api.http import Request
from eaves.controller.api.routing import Target
from eaves.controller.api.stored import Readings
from eaves.kube import status
from eaves.kube.resource import Verb


class ViewKind:
    """The handler."""

    def __init__(self, view: Backend, readings: Readings) -> None:
        self.resource = view.resource
        self._view = view
        self._readings = readings

    async def serve(self, request: Request, target: Target) -> Answer:
        return await self._readings.serve(self._view, request, target)


class AbsentKind(ViewKind):
    """The handler of a kind of which the backend has no objects: there is nothing to delete, nor to patch."""

    async def serve(self, request: Request, target: Target) -> Answer:
        if self.resource.deprecation:
            request.warn(self.resource.deprecation)
        if request.verb == Verb.PATCH and is_apply(request):
            # It would make one, unlike the other patches.
            gvr = self.resource.gvr
            raise status.method_not_allowed(gvr.group, gvr.resource, Verb.PATCH, self.resource.instead)
        if request.verb in (Verb.DELETE, Verb.PATCH):
            raise status.not_found(target.group, target.resource, target.name)
        return await super().serve(request, target)
