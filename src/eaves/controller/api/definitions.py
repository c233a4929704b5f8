"""Serves ``customresourcedefinitions``: reads of what the kinds are. Nothing is stored."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

from eaves.controller.api.app import Answer
from eaves.controller.api.bodies import load_object
from eaves.controller.api.http import Request
from eaves.controller.api.routing import Target
from eaves.controller.api.stored import Readings
from eaves.controller.api.viewkind import ViewKind
from eaves.controller.api.writeoptions import load_write_options
from eaves.controller.documents import decode_object, encode_document, key_of
from eaves.kinds import definition, namespace
from eaves.kube import status
from eaves.kube.resource import Resource, Verb
from eaves.store.abc import Change, ObjectStore, Page, Progress, StoredObject

_REVISION = 1
_UNKNOWN = "1970-01-01T00:00:00Z"


class DefinitionBackend:
    """Definitions of the custom ones of ``resources``. They never change, so that a watch of them only tells how far it is."""

    resource = definition.RESOURCE

    def __init__(self, resources: Sequence[Resource], store: ObjectStore) -> None:
        self._resources = resources
        self._store = store
        self._rendered: dict[str, StoredObject] = {}

    async def get(self, _namespace: str, name: str) -> StoredObject | None:
        return (await self._want()).get(name)

    async def list(
        self,
        _namespace: str | None,
        *,
        limit: int = 0,
        after: tuple[str, str] | None = None,
        revision: int | None = None,
        labels: Mapping[str, str] | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> Page:
        # The store has none of them and says of which version that is true.
        empty = await self._store.list(self.resource.store_name, limit=1, revision=revision)
        found = [item for name, item in (await self._want()).items() if after is None or name > after[1]]
        shown = found[:limit] if limit else found
        if len(shown) == len(found):
            return Page(shown, empty.revision, None)
        return Page(shown, empty.revision, ("", shown[-1].key.name), len(found) - len(shown))

    def watch(self, _namespace: str | None, *, after: int, progress: bool = False) -> AsyncIterator[Change | Progress]:
        return self._store.watch(self.resource.store_name, after=after, progress=progress)

    async def _want(self) -> Mapping[str, StoredObject]:
        """By name, in order. The kinds have been there since the first start, as the first namespace has."""
        if not self._rendered:
            first = await self._store.get(key_of(namespace.RESOURCE, "", "default"))
            created = decode_object(first)["metadata"]["creationTimestamp"] if first is not None else _UNKNOWN
            for obj in definition.render_definitions(self._resources, created):
                document = encode_document(self.resource, obj)
                key = key_of(self.resource, "", obj["metadata"]["name"])
                self._rendered[key.name] = StoredObject(
                    key, document.uid, _REVISION, document.join(_REVISION), document.labels, document.fields
                )
        return self._rendered


class DefinitionKind(ViewKind):
    """The handler."""

    def __init__(self, backend: DefinitionBackend, readings: Readings) -> None:
        super().__init__(backend, readings)
        self._backend = backend

    async def serve(self, request: Request, target: Target) -> Answer:
        """Raises ApiError 409 for a create of what is there, as charts that bring their definitions expect; 403 for any other."""
        if request.verb != Verb.CREATE:
            return await super().serve(request, target)
        obj, _ = await load_object(request, self.resource, load_write_options("CreateOptions", request))
        name, plural = obj["metadata"].get("name") or "", self.resource.gvr.resource
        if await self._backend.get("", name) is not None:
            raise status.already_exists(definition.GROUP, plural, name)
        why = "which kinds there are is a matter of the controller's version; none can be added"
        raise status.forbidden(definition.GROUP, plural, name, why)
