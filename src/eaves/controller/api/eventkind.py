"""Serves ``events.k8s.io/v1 events``: reads are views of the core group's events, writes go to them through the view."""

from __future__ import annotations

from eaves.controller.api.app import Answer
from eaves.controller.api.applying import Applier, load_configuration
from eaves.controller.api.backends import View
from eaves.controller.api.bodies import is_apply, load_object, make_patch, make_update
from eaves.controller.api.deleting import Deleter, parse_delete_options
from eaves.controller.api.eventwriting import EventWriter
from eaves.controller.api.http import Request, Response
from eaves.controller.api.listed import Listed
from eaves.controller.api.listoptions import parse_list_options
from eaves.controller.api.routing import Target
from eaves.controller.api.stored import Readings, render_deleted
from eaves.controller.api.views import store_view
from eaves.controller.api.writeoptions import check_no_force, load_write_options
from eaves.controller.documents import decode_object, key_of
from eaves.kinds import event, event_v1
from eaves.kinds.event_v1 import project_event
from eaves.kube.errors import ApiError
from eaves.kube.resource import Verb
from eaves.store.abc import Key, ObjectStore, StoredObject


def make_event_view(store: ObjectStore) -> View:
    """One an event."""

    async def project(stored: StoredObject) -> StoredObject:
        return store_view(event_v1.RESOURCE, project_event(decode_object(stored)), stored)

    return View(event_v1.RESOURCE, event.RESOURCE, store, project)


class EventKind:
    """The kind's handler."""

    resource = event_v1.RESOURCE

    def __init__(self, view: View, readings: Readings, writer: EventWriter, applier: Applier, deleter: Deleter) -> None:
        """``applier`` is one over ``writer``."""
        self._view = view
        self._readings = readings
        self._writer = writer
        self._applier = applier
        self._deleter = deleter

    async def serve(self, request: Request, target: Target) -> Answer:
        try:
            return await self._serve(request, target)
        except ApiError as error:
            raise _say_of_group(error) from error

    async def _serve(self, request: Request, target: Target) -> Answer:
        match request.verb:
            case Verb.CREATE:
                return await self._create(request, target)
            case Verb.UPDATE:
                return await self._update(request, target)
            case Verb.PATCH:
                return await self._patch(request, target)
            case Verb.DELETE:
                return await self._delete(request, target)
            case Verb.DELETE_COLLECTION:
                return await self._delete_collection(request, target)
            case _:
                return await self._readings.serve(self._view, request, target)

    async def _create(self, request: Request, target: Target) -> Response:
        options = load_write_options("CreateOptions", request)
        obj, remarks = await load_object(request, self.resource, options)
        stored = await self._writer.create(self.resource, target.namespace, obj, options, request.warn, remarks=remarks)
        return self._answer(request, stored, 201)

    async def _update(self, request: Request, target: Target) -> Response:
        options = load_write_options("UpdateOptions", request)
        obj, remarks = await load_object(request, self.resource, options)
        change = make_update(self.resource, obj, remarks)
        stored, is_new = await self._writer.put(self.resource, _key(target), obj, change, options, request.warn)
        return self._answer(request, stored, 201 if is_new else 200)

    async def _patch(self, request: Request, target: Target) -> Response:
        options = load_write_options("PatchOptions", request)
        body = await request.body()
        if is_apply(request):
            wanted = await load_configuration(self.resource, _key(target), body, options, request.warn)
            stored, is_new = await self._applier.apply(self.resource, _key(target), wanted, options, request.warn)
            return self._answer(request, stored, 201 if is_new else 200)
        check_no_force(options)
        change = make_patch(self.resource, body, request.header(b"content-type"), options)
        stored = await self._writer.change(self.resource, _key(target), change, options, request.warn)
        return self._answer(request, stored)

    async def _delete(self, request: Request, target: Target) -> Response:
        options = parse_delete_options(await request.body(), request.header(b"content-type"), request.query)
        deleted = await self._deleter.delete(event.RESOURCE, _key(target), options)
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

    def _answer(self, request: Request, stored: StoredObject, code: int = 200) -> Response:
        shown = store_view(self.resource, project_event(decode_object(stored)), stored)
        return self._readings.answer(self.resource, request, shown, code)


def _key(target: Target) -> Key:
    return key_of(event.RESOURCE, target.namespace, target.name)


def _say_of_group(error: ApiError) -> ApiError:
    """A refusal that names the event as one of the group by which it was asked for."""
    details, plural = error.status_details or {}, event.RESOURCE.gvr.resource
    if details.get("kind") != plural or details.get("group"):
        return error
    group = event_v1.GROUP
    message = error.message.replace(f"{plural} ", f"{plural}.{group} ", 1)
    details = {**details, "group": group}
    return ApiError(error.status_code, error.reason, message, details=details, headers=error.headers)
