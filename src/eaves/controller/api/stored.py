"""Serves a kind that is stored: all verbs, and its status subresource, by the readers and writers that all kinds share."""

from __future__ import annotations

from eaves.controller.api.app import Answer
from eaves.controller.api.applying import Applier, load_configuration
from eaves.controller.api.backends import Backend
from eaves.controller.api.bodies import is_apply, load_object, make_patch, make_update
from eaves.controller.api.deleting import Deleter, parse_delete_options
from eaves.controller.api.forms import Form, Forms
from eaves.controller.api.http import Request, Response, Stream
from eaves.controller.api.listed import Listed
from eaves.controller.api.listoptions import ListOptions, parse_list_options, parse_watch_options
from eaves.controller.api.reading import Reader
from eaves.controller.api.routing import Target
from eaves.controller.api.watching import Watcher
from eaves.controller.api.writeoptions import check_no_force, load_write_options
from eaves.controller.api.writing import MAIN, STATUS, Writer
from eaves.controller.documents import key_of
from eaves.kube import encode, status
from eaves.kube.resource import Resource, Verb
from eaves.store.abc import StoredObject


class Readings:
    """Get, list and watch over any backend."""

    def __init__(self, reader: Reader, watcher: Watcher, forms: Forms) -> None:
        self._reader = reader
        self._watcher = watcher
        self._forms = forms

    async def serve(self, backend: Backend, request: Request, target: Target) -> Answer:
        is_watch, is_list = request.verb == Verb.WATCH, request.verb == Verb.LIST
        form = self._forms.choose(
            backend.resource, request.header(b"accept"), request.query, is_watch=is_watch, is_list=is_list
        )
        if request.verb == Verb.GET:
            return await self._reader.get(backend, target, request.query, form)
        namespace = target.namespace or None
        query = request.query
        if is_watch:
            if target.name:
                # The old form /watch/…/NAME.
                query = {**query, "fieldSelector": f"metadata.name={target.name}"}
            chunks = await self._watcher.watch(backend, namespace, parse_watch_options(backend.resource, query), form)
            return Stream(chunks)
        return await self._reader.list(backend, namespace, parse_list_options(backend.resource, query), form)

    async def find(self, backend: Backend, namespace: str | None, options: ListOptions) -> Listed:
        """The objects of a list, not rendered."""
        return await self._reader.find(backend, namespace, options)

    def answer(self, resource: Resource, request: Request, stored: StoredObject, code: int = 200) -> Response:
        """The outcome of a write in the form that the client wants."""
        form = self._forms.choose(resource, request.header(b"accept"), request.query)
        return Response(form.render_object(stored), code, form.content_type)

    def list_form(self, resource: Resource, request: Request) -> Form:
        """The form of a list that was not asked for by a read: what a deletion found."""
        return self._forms.choose(resource, request.header(b"accept"), request.query, is_list=True)


class StoredKind:
    """One stored kind."""

    def __init__(
        self, backend: Backend, readings: Readings, writer: Writer, deleter: Deleter, applier: Applier
    ) -> None:
        self.resource = backend.resource
        self._backend = backend
        self._readings = readings
        self._writer = writer
        self._deleter = deleter
        self._applier = applier

    async def serve(self, request: Request, target: Target) -> Answer:
        match request.verb:
            case Verb.CREATE:
                return await self._create(request, target)
            case Verb.UPDATE:
                return await self._update(request, target, MAIN)
            case Verb.PATCH:
                return await self._patch(request, target, MAIN)
            case Verb.DELETE:
                return await self._delete(request, target)
            case Verb.DELETE_COLLECTION:
                return await self._delete_collection(request, target)
            case _:
                return await self._readings.serve(self._backend, request, target)

    async def serve_status(self, request: Request, target: Target) -> Answer:
        """The status subresource: reads give the whole object, writes change its status alone."""
        match request.verb:
            case Verb.UPDATE:
                return await self._update(request, target, STATUS)
            case Verb.PATCH:
                return await self._patch(request, target, STATUS)
            case _:
                return await self._readings.serve(self._backend, request, target)

    async def _create(self, request: Request, target: Target) -> Response:
        options = load_write_options("CreateOptions", request)
        obj, remarks = await load_object(request, self.resource, options)
        stored = await self._writer.create(self.resource, target.namespace, obj, options, request.warn, remarks=remarks)
        return self._readings.answer(self.resource, request, stored, 201)

    async def _update(self, request: Request, target: Target, subresource: str) -> Response:
        options = load_write_options("UpdateOptions", request)
        obj, remarks = await load_object(request, self.resource, options)
        change = make_update(self.resource, obj, remarks, subresource)
        key = key_of(self.resource, target.namespace, target.name)
        if self.resource.creates_on_update and subresource == MAIN:
            stored, is_new = await self._writer.put(self.resource, key, obj, change, options, request.warn)
            return self._readings.answer(self.resource, request, stored, 201 if is_new else 200)
        stored = await self._writer.change(self.resource, key, change, options, request.warn)
        return self._readings.answer(self.resource, request, stored)

    async def _patch(self, request: Request, target: Target, subresource: str) -> Response:
        options = load_write_options("PatchOptions", request)
        key = key_of(self.resource, target.namespace, target.name)
        body = await request.body()
        if is_apply(request):
            wanted = await load_configuration(self.resource, key, body, options, request.warn, subresource)
            stored, is_new = await self._applier.apply(self.resource, key, wanted, options, request.warn, subresource)
            return self._readings.answer(self.resource, request, stored, 201 if is_new else 200)
        check_no_force(options)
        change = make_patch(self.resource, body, request.header(b"content-type"), options, subresource)
        stored = await self._writer.change(self.resource, key, change, options, request.warn)
        return self._readings.answer(self.resource, request, stored)

    async def _delete(self, request: Request, target: Target) -> Response:
        options = parse_delete_options(await request.body(), request.header(b"content-type"), request.query)
        key = key_of(self.resource, target.namespace, target.name)
        deleted = await self._deleter.delete(self.resource, key, options)
        if not deleted.is_gone or self.resource.gvr.resource == "serviceaccounts":
            return self._readings.answer(self.resource, request, deleted.stored)
        return render_deleted(target, deleted.stored.uid)

    async def _delete_collection(self, request: Request, target: Target) -> Response:
        listing = parse_list_options(self.resource, request.query)
        options = parse_delete_options(await request.body(), request.header(b"content-type"), request.query)
        found = await self._deleter.delete_collection(self.resource, target.namespace or None, listing, options)
        form = self._readings.list_form(self.resource, request)
        revision = max((stored.revision for stored in found), default=0)
        return Response(form.render_list(Listed(found, revision)), content_type=form.content_type)


def render_deleted(target: Target, uid: str) -> Response:
    """The Status that says an object is gone."""
    document = status.render_success(target.group, target.resource, target.name, uid)
    return Response(encode.encode_json(document))
