"""How objects look in an answer: as JSON, as a table, as metadata alone, or any of these as YAML.

One :class:`Form` is made a request. The JSON form sends the bytes the store has; the others decode. Event lines are kept for a
moment in an :class:`EventCache`, so that a write is rendered once for all who watch in the same form.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Protocol

import msgspec
import yaml

from eaves.controller.api.listed import Listed
from eaves.controller.api.routing import Query
from eaves.controller.documents import decode_object
from eaves.kube import encode, negotiate, status, tables
from eaves.kube.errors import ApiError, CauseType, FieldError
from eaves.kube.resource import Object, Resource
from eaves.store.abc import StoredObject

INITIAL_EVENTS_END = "k8s.io/initial-events-end"
_BOOKMARK = "BOOKMARK"
CACHED_EVENTS = 1024

OBJECT_SHAPES = (negotiate.As.OBJECT, negotiate.As.TABLE, negotiate.As.METADATA)
LIST_SHAPES = (negotiate.As.OBJECT, negotiate.As.TABLE, negotiate.As.METADATA_LIST)


class Form(Protocol):
    """Renders objects, lists and events."""

    @property
    def content_type(self) -> str: ...

    def render_object(self, stored: StoredObject) -> bytes: ...

    def render_list(self, listed: Listed) -> bytes: ...

    def render_event(self, kind: str, stored: StoredObject) -> bytes:
        """One line of a watch, with its newline."""
        ...

    def render_bookmark(self, revision: int, *, is_initial_end: bool = False) -> bytes: ...


class EventCache:
    """Rendered event lines by (form, event type, revision); old ones make room for new ones."""

    def __init__(self, size: int = CACHED_EVENTS) -> None:
        self._size = size
        self._lines: dict[tuple[str, str, int], bytes] = {}

    def want(self, form: str, kind: str, revision: int, render: Callable[[], bytes]) -> bytes:
        key = (form, kind, revision)
        line = self._lines.get(key)
        if line is None:
            if len(self._lines) >= self._size:
                self._lines.pop(next(iter(self._lines)))
            line = self._lines[key] = render()
        return line


class JsonForm:
    """The objects as they are stored."""

    content_type = negotiate.JSON

    def __init__(self, resource: Resource) -> None:
        self._resource = resource

    def render_object(self, stored: StoredObject) -> bytes:
        return stored.value

    def render_list(self, listed: Listed) -> bytes:
        resource = self._resource
        items = [stored.value for stored in listed.items]
        if not resource.is_custom:
            items = encode.strip_kind(items, resource.api_version, resource.kind)
        return encode.encode_list(
            resource.api_version,
            resource.list_kind,
            items,
            listed.revision,
            next_token=listed.continuation,
            remaining=listed.remaining,
            says_end=resource.is_custom,
        )

    def render_event(self, kind: str, stored: StoredObject) -> bytes:
        return b'{"type":"%s","object":%s}\n' % (kind.encode(), stored.value)

    def render_bookmark(self, revision: int, *, is_initial_end: bool = False) -> bytes:
        resource = self._resource
        obj = {
            "kind": resource.kind,
            "apiVersion": resource.api_version,
            **_bookmark_metadata(revision, is_initial_end),
        }
        return _render_event(_BOOKMARK, obj)


class MetadataForm:
    """The objects' metadata alone."""

    content_type = negotiate.JSON

    def __init__(self, cache: EventCache, resource: Resource, version: str = "v1") -> None:
        self._cache = cache
        self._name = f"metadata {version} {resource.store_name}"
        self._version = version

    def render_object(self, stored: StoredObject) -> bytes:
        return encode.encode_json(tables.render_partial(decode_object(stored), self._version))

    def render_list(self, listed: Listed) -> bytes:
        objects = (decode_object(stored) for stored in listed.items)
        return encode.encode_json(tables.render_partial_list(objects, _list_metadata(listed), self._version))

    def render_event(self, kind: str, stored: StoredObject) -> bytes:
        def render() -> bytes:
            return _render_event(kind, tables.render_partial(decode_object(stored), self._version))

        return self._cache.want(self._name, kind, stored.revision, render)

    def render_bookmark(self, revision: int, *, is_initial_end: bool = False) -> bytes:
        bookmark = tables.render_partial(_bookmark_metadata(revision, is_initial_end), self._version)
        return _render_event(_BOOKMARK, bookmark)


class TableForm:
    """Rows of printed columns, for ``kubectl get``. On a watch only the first event has the columns."""

    content_type = negotiate.JSON

    def __init__(
        self, cache: EventCache, resource: Resource, include: str, clock: Callable[[], float], version: str = "v1"
    ) -> None:
        self._cache = cache
        self._name = f"table {version} {include} {resource.store_name}"
        self._version = version
        self._resource = resource
        self._include = include
        self._clock = clock
        self._has_columns = False

    def render_object(self, stored: StoredObject) -> bytes:
        metadata = {"resourceVersion": str(stored.revision)}
        return encode.encode_json(self._render([decode_object(stored)], metadata))

    def render_list(self, listed: Listed) -> bytes:
        objects = (decode_object(stored) for stored in listed.items)
        return encode.encode_json(self._render(objects, _list_metadata(listed)))

    def render_event(self, kind: str, stored: StoredObject) -> bytes:
        def render() -> bytes:
            metadata = {"resourceVersion": str(stored.revision)}
            return _render_event(kind, self._render_once([decode_object(stored)], metadata))

        return self._cache.want(self._name, kind, stored.revision, render) if self._has_columns else render()

    def render_bookmark(self, revision: int, *, is_initial_end: bool = False) -> bytes:
        metadata: Object = _bookmark_metadata(revision, is_initial_end)["metadata"]
        table = self._render_once([], {"resourceVersion": str(revision)})
        # A client finds the annotation in the one row's object.
        cells: list[object] = ["" for _ in self._resource.columns]
        table["rows"] = [{"cells": cells, "object": tables.render_partial({"metadata": metadata}, self._version)}]
        return _render_event(_BOOKMARK, table)

    def _render_once(self, objects: Iterable[Object], metadata: Object) -> Object:
        table = self._render(objects, metadata, columns=not self._has_columns)
        self._has_columns = True
        return table

    def _render(self, objects: Iterable[Object], metadata: Object, *, columns: bool = True) -> Object:
        return tables.render_table(
            self._resource,
            objects,
            self._clock(),
            metadata,
            include=self._include,
            columns=columns,
            version=self._version,
        )


class YamlForm:
    """Another form's documents written as YAML. There is no YAML watch."""

    content_type = negotiate.YAML

    def __init__(self, inner: Form) -> None:
        self._inner = inner

    def render_object(self, stored: StoredObject) -> bytes:
        return render_yaml(self._inner.render_object(stored))

    def render_list(self, listed: Listed) -> bytes:
        return render_yaml(self._inner.render_list(listed))

    def render_event(self, kind: str, stored: StoredObject) -> bytes:
        raise status.not_acceptable([negotiate.JSON])

    def render_bookmark(self, revision: int, *, is_initial_end: bool = False) -> bytes:
        raise status.not_acceptable([negotiate.JSON])


class Forms:
    """Makes the form that a request asks for."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._cache = EventCache()
        self._clock = clock

    def choose(
        self, resource: Resource, accept: str, query: Query, *, is_watch: bool = False, is_list: bool = False
    ) -> Form:
        """For an object, a list or a watch. Raises ApiError 406 for what cannot be rendered, 400 for a bad ``includeObject``."""
        wanted = negotiate.negotiate(accept, LIST_SHAPES if is_list else OBJECT_SHAPES)
        form: Form
        match wanted.shape:
            case negotiate.As.TABLE:
                form = TableForm(self._cache, resource, _parse_include(query), self._clock, wanted.version)
            case negotiate.As.METADATA | negotiate.As.METADATA_LIST:
                form = MetadataForm(self._cache, resource, wanted.version)
            case _:
                form = JsonForm(resource)
        if wanted.media_type != negotiate.YAML:
            return form
        if is_watch:
            raise status.not_acceptable([negotiate.JSON])
        return YamlForm(form)


def render_error_event(error: ApiError) -> bytes:
    """The ERROR line that ends a watch."""
    return _render_event("ERROR", status.render_status(error))


def render_yaml(document: bytes) -> bytes:
    """The same in YAML, its keys sorted as Kubernetes sorts them."""
    return yaml.dump(msgspec.json.decode(document), Dumper=yaml.CSafeDumper, allow_unicode=True).encode()


def _render_event(kind: str, obj: Object) -> bytes:
    return encode.encode_json({"type": kind, "object": obj}) + b"\n"


def _list_metadata(listed: Listed) -> Object:
    metadata: Object = {"resourceVersion": str(listed.revision)}
    if listed.continuation:
        metadata["continue"] = listed.continuation
    if listed.remaining is not None:
        metadata["remainingItemCount"] = listed.remaining
    return metadata


def _bookmark_metadata(revision: int, is_initial_end: bool) -> Object:
    metadata: Object = {"resourceVersion": str(revision)}
    if is_initial_end:
        metadata["annotations"] = {INITIAL_EVENTS_END: "true"}
    return {"metadata": metadata}


def _parse_include(query: Query) -> str:
    include = query.get("includeObject", "") or "Metadata"
    if include not in ("None", "Metadata", "Object"):
        fault = FieldError(
            "includeObject", CauseType.INVALID, "must be 'Metadata', 'Object', 'None', or empty", include
        )
        raise status.bad_request(f"Unable to convert to Table as requested: {status.render_field_error(fault)}")
    return include
