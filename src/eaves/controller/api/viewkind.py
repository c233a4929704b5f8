"""Serves a kind that can only be read: a view without writes of its own."""

from __future__ import annotations

from eaves.controller.api.app import Answer
from eaves.controller.api.backends import Backend
from eaves.controller.api.http import Request
from eaves.controller.api.routing import Target
from eaves.controller.api.stored import Readings


class ViewKind:
    """The handler."""

    def __init__(self, view: Backend, readings: Readings) -> None:
        self.resource = view.resource
        self._view = view
        self._readings = readings

    async def serve(self, request: Request, target: Target) -> Answer:
        return await self._readings.serve(self._view, request, target)
