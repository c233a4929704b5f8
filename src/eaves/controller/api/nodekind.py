"""Serves ``v1 nodes``: reads are views of EdgeNodes, writes go to the EdgeNode through the view.

A write is made on the Node as the client sees it, and what may be changed there (labels, annotations, taints, unschedulable) is
carried back; versions are the EdgeNode's, so optimistic locks hold. Deleting a Node deletes its EdgeNode.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from eaves.controller.api.app import Answer
from eaves.controller.api.applying import Applier, load_configuration
from eaves.controller.api.backends import View
from eaves.controller.api.bodies import is_apply, load_object, make_patch, make_update
from eaves.controller.api.deleting import Deleter, parse_delete_options
from eaves.controller.api.drafts import Warn, check_object, drop_unknown
from eaves.controller.api.http import Request, Response
from eaves.controller.api.routing import Target
from eaves.controller.api.stored import Readings, render_deleted
from eaves.controller.api.views import store_view
from eaves.controller.api.writeoptions import WriteOptions, check_no_force, parse_write_options
from eaves.controller.api.writing import Change, Writer
from eaves.controller.documents import decode_object, key_of
from eaves.kinds import edgenode, node
from eaves.kinds.node import UNSCHEDULABLE_TAINT, project_node, unproject_node
from eaves.kube import status
from eaves.kube.resource import Object, Verb
from eaves.store.abc import Key, StoredObject

_APPLIED_METADATA = ("name", "labels", "annotations")
_APPLIED_SPEC = ("taints", "unschedulable")


class NodeKind:
    """The kind's handler."""

    resource = node.RESOURCE

    def __init__(
        self,
        view: View,
        readings: Readings,
        writer: Writer,
        deleter: Deleter,
        applier: Applier,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._view = view
        self._readings = readings
        self._writer = writer
        self._deleter = deleter
        self._applier = applier
        self._clock = clock

    async def serve(self, request: Request, target: Target) -> Answer:
        match request.verb:
            case Verb.UPDATE:
                return await self._update(request, target)
            case Verb.PATCH:
                return await self._patch(request, target)
            case Verb.DELETE:
                return await self._delete(request, target)
            case _:
                return await self._readings.serve(self._view, request, target)

    async def serve_status(self, request: Request, target: Target) -> Answer:
        return await self._readings.serve(self._view, request, target)

    async def _update(self, request: Request, target: Target) -> Response:
        options = parse_write_options("UpdateOptions", request.query, request.header(b"user-agent"))
        obj, remarks = await load_object(request, self.resource, options)
        return await self._change(request, target, make_update(self.resource, obj, remarks), options)

    async def _patch(self, request: Request, target: Target) -> Response:
        options = parse_write_options("PatchOptions", request.query, request.header(b"user-agent"))
        body = await request.body()
        if is_apply(request):
            return await self._apply(request, target, body, options)
        check_no_force(options)
        change = make_patch(self.resource, body, request.header(b"content-type"), options)
        return await self._change(request, target, change, options)

    async def _change(self, request: Request, target: Target, change: Change, options: WriteOptions) -> Response:
        key = await self._find(target)
        through = msgspec.structs.replace(change, make=self._carry(change, options, request.warn), remarks=())
        stored = await self._writer.change(edgenode.RESOURCE, key, through, options, request.warn)
        return self._answer(request, stored)

    async def _apply(self, request: Request, target: Target, body: bytes, options: WriteOptions) -> Response:
        key = await self._find(target)
        node_key = key_of(self.resource, "", target.name)
        configuration = await load_configuration(self.resource, node_key, body, options, request.warn)
        wanted = _carry_configuration(configuration)
        stored, _ = await self._applier.apply(edgenode.RESOURCE, key, wanted, options, request.warn)
        return self._answer(request, stored)

    async def _delete(self, request: Request, target: Target) -> Response:
        options = parse_delete_options(await request.body(), request.header(b"content-type"), request.query)
        deleted = await self._deleter.delete(edgenode.RESOURCE, await self._find(target), options)
        if not deleted.is_gone:
            return self._answer(request, deleted.stored)
        return render_deleted(target, deleted.stored.uid)

    async def _find(self, target: Target) -> Key:
        """Key of the EdgeNode. Raises ApiError 404 in terms of nodes."""
        if await self._view.get("", target.name) is None:
            raise status.not_found("", "nodes", target.name)
        return key_of(edgenode.RESOURCE, "", target.name)

    def _carry(self, change: Change, options: WriteOptions, warn: Warn) -> Callable[[Object], Object]:
        """The change of a Node as a change of its EdgeNode."""

        def make(current: Object) -> Object:
            shown = project_node(current, self._clock())
            given = change.make(project_node(current, self._clock()))
            new = drop_unknown(
                self.resource, given, options.validation, warn, remarks=change.remarks, is_patch=change.is_patch
            )
            new["metadata"] = {**shown["metadata"], **new["metadata"]}
            check_object(self.resource, new, shown, warn)
            return unproject_node(new, current)

        return make

    def _answer(self, request: Request, stored: StoredObject) -> Response:
        shown = store_view(self.resource, project_node(decode_object(stored), self._clock()), stored)
        return self._readings.answer(self.resource, request, shown)


def _carry_configuration(configuration: Object) -> Object:
    """The part of a Node's applied configuration that an EdgeNode has, under the same field names."""
    metadata, spec = configuration["metadata"], configuration.get("spec") or {}
    wanted: Object = {
        "apiVersion": edgenode.RESOURCE.api_version,
        "kind": edgenode.RESOURCE.kind,
        "metadata": {name: metadata[name] for name in _APPLIED_METADATA if name in metadata},
    }
    fields = {name: spec[name] for name in _APPLIED_SPEC if name in spec}
    if "taints" in fields:
        # The taint of a cordoned node is a view of spec.unschedulable.
        fields["taints"] = [taint for taint in fields["taints"] if taint.get("key") != UNSCHEDULABLE_TAINT]
    if fields:
        wanted["spec"] = fields
    return wanted
