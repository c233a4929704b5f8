"""Serves ``v1 pods``: views of Apps. Deleting one restarts its app, creating one is refused with the App to write instead."""

from __future__ import annotations

import json
from typing import Any

from eaves.controller.api.app import Answer
from eaves.controller.api.backends import Backend, View
from eaves.controller.api.deleting import DeleteOptions, parse_delete_options
from eaves.controller.api.forms import Form
from eaves.controller.api.http import Request, Response
from eaves.controller.api.listed import Listed
from eaves.controller.api.listoptions import parse_list_options
from eaves.controller.api.reading import Reader
from eaves.controller.api.routing import Target
from eaves.controller.api.stored import Readings
from eaves.controller.api.writeoptions import WriteOptions
from eaves.controller.api.writing import Change, Writer
from eaves.controller.documents import decode_object, key_of
from eaves.kinds import app, pod
from eaves.kube import decode, status
from eaves.kube.errors import ApiError
from eaves.kube.resource import Object, Verb
from eaves.store.abc import StoredObject

MANAGER = "pod-deletion"
"""Owns the restart counters that deletions of pods raised."""


class PodKind:
    """The kind's handler."""

    resource = pod.RESOURCE

    def __init__(self, view: View, nodes: Backend, readings: Readings, reader: Reader, writer: Writer) -> None:
        self._view = view
        self._nodes = nodes
        self._readings = readings
        self._reader = reader
        self._writer = writer

    async def serve(self, request: Request, target: Target) -> Answer:
        match request.verb:
            case Verb.CREATE:
                body, _ = decode.decode_object(await request.body(), request.header(b"content-type"))
                raise refuse_create(body, target.namespace)
            case Verb.DELETE:
                return await self._delete(request, target)
            case Verb.DELETE_COLLECTION:
                return await self._delete_collection(request, target)
            case _:
                return await self._readings.serve(self._view, request, target)

    async def serve_status(self, request: Request, target: Target) -> Answer:
        return await self._readings.serve(self._view, request, target)

    async def _delete(self, request: Request, target: Target) -> Response:
        options = parse_delete_options(await request.body(), request.header(b"content-type"), request.query)
        current = await self._view.get(target.namespace, target.name)
        if current is None:
            raise status.not_found("", "pods", target.name)
        await self._restart(request, current, options)
        # A pod that is given time to end is answered with itself, as by a kubelet's API server.
        return self._readings.answer(self.resource, request, current)

    async def _delete_collection(self, request: Request, target: Target) -> Response:
        listing = parse_list_options(self.resource, request.query)
        options = parse_delete_options(await request.body(), request.header(b"content-type"), request.query)
        found = await self._reader.find(self._view, target.namespace or None, listing)
        for current in found.items:
            try:
                await self._restart(request, current, options)
            except ApiError as error:
                if error.reason != "NotFound":
                    raise
        form: Form = self._readings.list_form(self.resource, request)
        return Response(form.render_list(Listed(found.items, found.revision)), content_type=form.content_type)

    async def _check_node(self, current: StoredObject) -> None:
        """Raises ApiError 403 on a cordoned node."""
        name = current.fields.get("spec.nodeName", "")
        node = await self._nodes.get("", name) if name else None
        if node is not None and (decode_object(node).get("spec") or {}).get("unschedulable"):
            raise refuse_restart(current, name)

    async def _restart(self, request: Request, current: StoredObject, options: DeleteOptions) -> None:
        """Raise the restart counter of the pod's app. Raises ApiError 409 when it is another pod by now."""
        wanted = options.preconditions
        if wanted is not None and wanted.uid is not None and wanted.uid != current.uid:
            why = f"Precondition failed: UID in precondition: {wanted.uid}, UID in object meta: {current.uid}"
            raise status.conflict("", "pods", current.key.name, why)
        await self._check_node(current)
        version = wanted.resource_version if wanted is not None else None

        def make(obj: Object) -> Object:
            if version is not None and version != obj["metadata"]["resourceVersion"]:
                raise status.conflict("", "pods", current.key.name)
            spec = obj["spec"]
            return {**obj, "spec": {**spec, "restartCounter": spec.get("restartCounter", 0) + 1}}

        key = key_of(app.RESOURCE, current.key.namespace, current.key.name)
        write = WriteOptions(dry_run=bool(options.dry_run), manager=MANAGER)
        await self._writer.change(app.RESOURCE, key, Change(make), write, request.warn)


def refuse_create(body: Object, namespace: str) -> ApiError:
    """The 405 that shows the App which does what the Pod was to do."""
    metadata, spec = _object(body.get("metadata")), _object(body.get("spec"))
    containers = spec.get("containers")
    container = _object(containers[0]) if isinstance(containers, list) and containers else {}
    wanted: Object = {"nodeName": spec.get("nodeName") or "NODE", "image": container.get("image") or "IMAGE"}
    wanted |= {name: container[name] for name in ("command", "args", "env") if container.get(name)}
    document = {
        "apiVersion": app.RESOURCE.api_version,
        "kind": app.RESOURCE.kind,
        "metadata": {"name": metadata.get("name") or "NAME", "namespace": namespace or "default"},
        "spec": wanted,
    }
    why = f"pods are views of Apps here and cannot be created; write an App instead: {json.dumps(document)}"
    return status.method_not_allowed("", "pods", "create", why)


def _object(value: Any) -> Object:
    """The value when it is an object, else an empty one: what is refused anyway may be of any shape."""
    return value if isinstance(value, dict) else {}


def refuse_restart(current: StoredObject, node_name: str) -> ApiError:
    """On a cordoned node a deletion is most likely a drain, which would restart every app there and move none."""
    why = (
        f"node {node_name} is cordoned and apps stay on the node that they name: deleting pods there would restart them. Set "
        "spec.maintenance of the EdgeNode to stop all its apps, spec.running of an App to stop one, or uncordon the node first"
    )
    return status.forbidden("", "pods", current.key.name, why)
