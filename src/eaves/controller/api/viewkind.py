"""Serves kinds that can only be read: views without writes of their own, and kinds that there is nothing of."""

from __future__ import annotations

from eaves.controller.api.app import Answer
from eaves.controller.api.backends import Backend
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
    """The handler of a kind of which the backend has no objects: there is nothing to delete."""

    async def serve(self, request: Request, target: Target) -> Answer:
        if request.verb == Verb.DELETE:
            raise status.not_found(target.group, target.resource, target.name)
        return await super().serve(request, target)
