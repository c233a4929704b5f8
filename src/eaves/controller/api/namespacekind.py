"""Serves ``namespaces/NAME/finalize``, by which whoever held a namespace lets it go."""

from __future__ import annotations

from eaves.controller.api.app import Answer
from eaves.controller.api.bodies import load_object
from eaves.controller.api.http import Request
from eaves.controller.api.routing import Target
from eaves.controller.api.stored import Readings
from eaves.controller.api.writeoptions import parse_write_options
from eaves.controller.api.writing import FINALIZE, Change, Writer
from eaves.controller.documents import key_of
from eaves.kinds import namespace
from eaves.kube.resource import Object


class NamespaceFinalizer:
    """The subresource's handler."""

    def __init__(self, readings: Readings, writer: Writer) -> None:
        self._readings = readings
        self._writer = writer

    async def serve(self, request: Request, target: Target) -> Answer:
        resource = namespace.RESOURCE
        options = parse_write_options("UpdateOptions", request.query, request.header(b"user-agent"))
        body, _ = await load_object(request, resource, options)
        finalizers = (body.get("spec") or {}).get("finalizers") or []

        def make(current: Object) -> Object:
            return {**current, "spec": {**(current.get("spec") or {}), "finalizers": finalizers}}

        key = key_of(resource, "", target.name)
        stored = await self._writer.change(resource, key, Change(make, FINALIZE), options, request.warn)
        return self._readings.answer(resource, request, stored)
