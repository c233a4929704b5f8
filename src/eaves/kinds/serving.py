"""Makes the :class:`Resource` of a kind from its Struct."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from eaves.kube.errors import FieldError
from eaves.kube.metadata import with_object_fields
from eaves.kube.resource import (
    ALL_VERBS,
    Column,
    Gvr,
    Object,
    Resource,
    Subresource,
    Verb,
    accept_all,
    keep,
    warn_of_nothing,
)
from eaves.kube.schema import Schema
from eaves.kube.schema_from_types import schema_of
from eaves.kube.tables import age_column, name_column

GROUP, VERSION = "eaves.dev", "v1alpha1"

STATUS = Subresource("status", frozenset({"get", "patch", "update"}))

Validation = Callable[[Object, Object | None], Sequence[FieldError]]


def served_schema(kind: type[msgspec.Struct], reference: str) -> Schema:
    """The schema of a whole object, with metadata in full."""
    return with_object_fields(schema_of(kind, reference=reference))


def eaves_resource(
    kind: type[msgspec.Struct],
    plural: str,
    *,
    namespaced: bool,
    columns: Sequence[Column],
    short_names: Sequence[str] = (),
    categories: Sequence[str] = ("eaves",),
    selectable_fields: Mapping[str, Callable[[Object], str]] | None = None,
    subresources: Sequence[Subresource] = (),
    default: Callable[[Object], None] = keep,
    validate: Validation = accept_all,
    warn: Callable[[Object], Iterable[str]] = warn_of_nothing,
    has_status: bool = True,
) -> Resource:
    """A kind of group eaves.dev with a status subresource, unless it has none, and others. ``columns`` are those between Name and Age."""
    return Resource(
        gvr=Gvr(GROUP, VERSION, plural),
        kind=kind.__name__,
        singular=kind.__name__.lower(),
        namespaced=namespaced,
        schema=served_schema(kind, f"dev.eaves.{VERSION}.{kind.__name__}"),
        columns=(name_column(), *columns, age_column()),
        short_names=tuple(short_names),
        categories=tuple(categories),
        subresources=(*((STATUS,) if has_status else ()), *subresources),
        selectable_fields=selectable_fields or {},
        default=default,
        validate=validate,
        warn=warn,
        has_status=has_status,
        description=inspect.cleandoc(kind.__doc__ or ""),
    )


def core_resource(
    kind: type[msgspec.Struct],
    plural: str,
    *,
    namespaced: bool,
    columns: Sequence[Column],
    group: str = "",
    version: str = "v1",
    group_reference: str = "core",
    short_names: Sequence[str] = (),
    categories: Sequence[str] = (),
    verbs: frozenset[Verb] = ALL_VERBS,
    subresources: Sequence[Subresource] = (),
    selectable_fields: Mapping[str, Callable[[Object], str]] | None = None,
    default: Callable[[Object], None] = keep,
    validate: Validation = accept_all,
    warn: Callable[[Object], Iterable[str]] = warn_of_nothing,
    has_status: bool = False,
    status_has_metadata: bool = False,
    has_free_names: bool = False,
    zero_fields: Mapping[str, object] | None = None,
    unowned: Sequence[str] = (),
    has_generation: bool = True,
    stored_as: Gvr | None = None,
    other_forms: Mapping[str, Mapping[str, str]] | None = None,
    creates_on_update: bool = False,
    needs_version: bool = False,
) -> Resource:
    """A kind of Kubernetes itself. ``columns`` are all columns."""
    return Resource(
        gvr=Gvr(group, version, plural),
        kind=kind.__name__,
        singular=kind.__name__.lower(),
        namespaced=namespaced,
        schema=served_schema(kind, f"io.k8s.api.{group_reference}.{version}.{kind.__name__}"),
        columns=tuple(columns),
        short_names=tuple(short_names),
        categories=tuple(categories),
        verbs=verbs,
        subresources=tuple(subresources),
        selectable_fields=selectable_fields or {},
        default=default,
        validate=validate,
        warn=warn,
        has_status=has_status,
        status_has_metadata=status_has_metadata,
        is_custom=False,
        has_free_names=has_free_names,
        zero_fields=zero_fields or {},
        unowned=frozenset(f"f:{name}" for name in unowned),
        has_generation=has_generation,
        stored_as=stored_as,
        other_forms=other_forms or {},
        creates_on_update=creates_on_update,
        needs_version=needs_version,
        description=inspect.cleandoc(kind.__doc__ or ""),
    )


def text_at(*keys: str) -> Callable[[Object], str]:
    """A selectable field: the text at a path, empty when there is none; booleans as true and false."""

    def value(obj: Object) -> str:
        found: object = obj
        for key in keys:
            found = found.get(key) if isinstance(found, dict) else None
        if isinstance(found, bool):
            return "true" if found else "false"
        return "" if found is None else str(found)

    return value
