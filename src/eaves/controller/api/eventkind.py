"""Serves ``events.k8s.io/v1 events``: reads are views of the core group's events, writes go to them through the view."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from eaves.controller.api.app import Answer
from eaves.controller.api.backends import View
from eaves.controller.api.bodies import is_apply, load_object, make_patch, make_update
from eaves.controller.api.deleting import Deleter, parse_delete_options
from eaves.controller.api.drafts import Warn, check_object, drop_unknown
from eaves.controller.api.http import Request, Response
from eaves.controller.api.listed import Listed
from eaves.controller.api.listoptions import parse_list_options
from eaves.controller.api.routing import Target
from eaves.controller.api.stored import Readings, render_deleted
from eaves.controller.api.views import store_view
from eaves.controller.api.writeoptions import WriteOptions, check_no_force, parse_write_options
from eaves.controller.api.writing import Change, Writer, check_same
from eaves.controller.documents import decode_object, key_of
from eaves.kinds import event, event_v1
from eaves.kinds.event_v1 import project_event, unproject_event
from eaves.kinds.times import render_time
from eaves.kube import managed, status
from eaves.kube.errors import ApiError
from eaves.kube.resource import Object, Verb
from eaves.store.abc import ObjectStore, StoredObject

_PATCHES = ("application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json")


def make_event_view(store: ObjectStore) -> View:
    """One an event."""

    async def project(stored: StoredObject) -> StoredObject:
        return store_view(event_v1.RESOURCE, project_event(decode_object(stored)), stored)

    return View(event_v1.RESOURCE, event.RESOURCE, store, project)


class EventKind:
    """The kind's handler."""

    resource = event_v1.RESOURCE

    def __init__(
        self,
        view: View,
        readings: Readings,
        writer: Writer,
        deleter: Deleter,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._view = view
        self._readings = readings
        self._writer = writer
        self._deleter = deleter
        self._clock = clock

    async def serve(self, request: Request, target: Target) -> Answer:
        if target.name and await self._view.get(target.namespace, target.name) is None:
            # The writer would say so of the core group's event.
            raise status.not_found(target.group, target.resource, target.name)
        match request.verb:
            case Verb.CREATE:
                return await self._create(request, target)
            case Verb.UPDATE:
                options = parse_write_options("UpdateOptions", request.query, request.header(b"user-agent"))
                obj, remarks = await load_object(request, self.resource, options)
                return await self._change(request, target, make_update(self.resource, obj, remarks), options)
            case Verb.PATCH:
                return await self._patch(request, target)
            case Verb.DELETE:
                return await self._delete(request, target)
            case Verb.DELETE_COLLECTION:
                return await self._delete_collection(request, target)
            case _:
                return await self._readings.serve(self._view, request, target)

    async def _create(self, request: Request, target: Target) -> Response:
        options = parse_write_options("CreateOptions", request.query, request.header(b"user-agent"))
        obj, remarks = await load_object(request, self.resource, options)
        known = drop_unknown(self.resource, obj, options.validation, request.warn, remarks=remarks)
        given = {**unproject_event(known), "metadata": {**known["metadata"], "namespace": target.namespace}}
        if faults := event_v1.check_new_event(given):
            raise status.invalid("", "Event", known["metadata"].get("name") or "", faults)
        # Fields are owned by the names that the writer knows, in this group's version.
        managed.track_create(self.resource, known, options.manager, self._now())
        stored = await self._writer.create(
            event.RESOURCE, target.namespace, unproject_event(known), options, request.warn, is_owned=True
        )
        return self._answer(request, stored, 201)

    async def _patch(self, request: Request, target: Target) -> Response:
        if is_apply(request):
            # Fields would be owned under names that the stored object does not have.
            raise status.unsupported_media_type(request.header(b"content-type"), _PATCHES)
        options = parse_write_options("PatchOptions", request.query, request.header(b"user-agent"))
        check_no_force(options)
        change = make_patch(self.resource, await request.body(), request.header(b"content-type"), options)
        return await self._change(request, target, change, options)

    async def _change(self, request: Request, target: Target, change: Change, options: WriteOptions) -> Response:
        key = key_of(event.RESOURCE, target.namespace, target.name)
        make = self._carry(change, options, request.warn)
        through = msgspec.structs.replace(change, make=make, remarks=(), is_owned=True)
        stored = await self._writer.change(event.RESOURCE, key, through, options, request.warn)
        return self._answer(request, stored)

    async def _delete(self, request: Request, target: Target) -> Response:
        options = parse_delete_options(await request.body(), request.header(b"content-type"), request.query)
        key = key_of(event.RESOURCE, target.namespace, target.name)
        deleted = await self._deleter.delete(event.RESOURCE, key, options)
        if not deleted.is_gone:
            return self._answer(request, deleted.stored)
        return render_deleted(target, deleted.stored.uid)

    async def _delete_collection(self, request: Request, target: Target) -> Response:
        listing = parse_list_options(self.resource, request.query)
        options = parse_delete_options(await request.body(), request.header(b"content-type"), request.query)
        listed = await self._readings.find(self._view, target.namespace or None, listing)
        for shown in listed.items:
            key = key_of(event.RESOURCE, shown.key.namespace, shown.key.name)
            try:
                await self._deleter.delete(event.RESOURCE, key, options)
            except ApiError as error:
                # One that goes away by itself meanwhile is fine.
                if error.reason != "NotFound":
                    raise
        form = self._readings.list_form(self.resource, request)
        return Response(form.render_list(Listed(listed.items, listed.revision)), content_type=form.content_type)

    def _carry(self, change: Change, options: WriteOptions, warn: Warn) -> Callable[[Object], Object]:
        """The change of an event of this group as one of the core group's."""

        def make(current: Object) -> Object:
            old = project_event(current)
            given = change.make(project_event(current))
            check_same(self.resource, given, old, change)
            new = drop_unknown(
                self.resource, given, options.validation, warn, remarks=change.remarks, is_patch=change.is_patch
            )
            check_object(self.resource, new, old, warn)
            if faults := list(event_v1.check_changed_event(unproject_event(new), current)):
                raise status.invalid("", "Event", old["metadata"]["name"], faults)
            managed.track_update(self.resource, new, old, options.manager, self._now())
            return unproject_event(new)

        return make

    def _now(self) -> str:
        return render_time(self._clock())

    def _answer(self, request: Request, stored: StoredObject, code: int = 200) -> Response:
        shown = store_view(self.resource, project_event(decode_object(stored)), stored)
        return self._readings.answer(self.resource, request, shown, code)
