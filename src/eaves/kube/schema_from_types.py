"""Schemas from msgspec Structs, so that a kind's fields are written once.

A Struct is an object; ``Annotated[…, Meta(description=…, ge=…, pattern=…, extra_json_schema={"x-kubernetes-list-type": …})]`` documents
and limits a field; a docstring describes the object; a field default that is a scalar and not empty becomes a default of the schema.
"""

from __future__ import annotations

import enum
import inspect
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec
from msgspec import Meta

from eaves.kube.schema import ANY, ListType, MapType, Schema

_SCALARS = {str: "string", int: "integer", float: "number", bool: "boolean"}
_PREFIX = "x-kubernetes-"


def schema_of(kind: type[msgspec.Struct], *, reference: str = "") -> Schema:
    """The schema of a Struct type. ``reference`` names its OpenAPI definition."""
    return _of_struct(kind, Schema(reference=reference))


def replace_fields(schema: Schema, **fields: Schema) -> Schema:
    """The same object schema with some properties exchanged or added."""
    return msgspec.structs.replace(schema, properties={**schema.properties, **fields})


def _of_struct(kind: type[msgspec.Struct], outer: Schema) -> Schema:
    hints = typing.get_type_hints(kind, include_extras=True)
    properties: dict[str, Schema] = {}
    required: list[str] = []
    for field in msgspec.structs.fields(kind):
        child = _of(hints[field.name])
        if field.required:
            required.append(field.encode_name)
        elif (default := _want_default(field.default)) is not None:
            child = msgspec.structs.replace(child, default=default)
        properties[field.encode_name] = child
    description = outer.description or inspect.cleandoc(kind.__doc__ or "")
    return msgspec.structs.replace(
        outer,
        type="object",
        name=kind.__name__,
        properties=properties,
        required=tuple(required),
        description=description,
    )


def _want_default(value: Any) -> Any:
    """Only what a reader of the object would want to see: no empty text, list or object, no zero counters, no unset."""
    if isinstance(value, enum.Enum):
        return value.value or None
    return value if isinstance(value, str | int | float) and value else None


def _of(annotation: Any) -> Schema:
    metas: list[Meta] = []
    while get_origin(annotation) is Annotated:
        annotation, *found = get_args(annotation)
        metas = [meta for meta in found if isinstance(meta, Meta)] + metas
    schema = _of_bare(annotation)
    for meta in metas:
        schema = _add_meta(schema, meta)
    return schema


def _of_bare(annotation: Any) -> Schema:
    if annotation is Any:
        return ANY
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        return _of_union(get_args(annotation))
    if origin in (list, tuple, Sequence, set, frozenset):
        return Schema(type="array", items=_of(get_args(annotation)[0]))
    if origin in (dict, Mapping):
        return Schema(type="object", additional=_of(get_args(annotation)[1]))
    if annotation in _SCALARS:
        return Schema(type=_SCALARS[annotation])
    if annotation is bytes:
        return Schema(type="string", format="byte")
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return _of_struct(annotation, Schema())
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return Schema(type="string", enum=tuple(member.value for member in annotation))
    if annotation is dict:
        return Schema(type="object", preserve_unknown=True)
    raise TypeError(f"no schema for {annotation!r}")


def _of_union(members: Sequence[Any]) -> Schema:
    present = [member for member in members if member is not types.NoneType and member is not msgspec.UnsetType]
    if set(present) == {int, str}:
        return Schema(int_or_string=True)
    if len(present) != 1:
        raise TypeError(f"no schema for a union of {present!r}")
    return msgspec.structs.replace(_of(present[0]), optional=True)


def _add_meta(schema: Schema, meta: Meta) -> Schema:
    if schema.type == "number" and (meta.gt is not None or meta.lt is not None):
        raise TypeError("no schema for a fraction with a bound that it may not reach")
    extra = dict(meta.extra_json_schema or {})
    list_type = extra.get(_PREFIX + "list-type")
    map_type = extra.get(_PREFIX + "map-type")
    changes: dict[str, Any] = {
        "description": meta.description,
        "pattern": meta.pattern,
        "minimum": _first(meta.ge, None if meta.gt is None else meta.gt + 1),
        "maximum": _first(meta.le, None if meta.lt is None else meta.lt - 1),
        "min_length": meta.min_length,
        "max_length": meta.max_length,
        "format": extra.get("format"),
        "default": extra.get("default"),
        "list_type": None if list_type is None else ListType(list_type),
        "list_map_keys": extra.get(_PREFIX + "list-map-keys"),
        "map_type": None if map_type is None else MapType(map_type),
        "int_or_string": extra.get(_PREFIX + "int-or-string"),
        "preserve_unknown": extra.get(_PREFIX + "preserve-unknown-fields"),
        "patch_merge_key": extra.get(_PREFIX + "patch-merge-key"),
        "patch_strategy": extra.get(_PREFIX + "patch-strategy"),
        "reference": extra.get("reference"),
        "nullable": extra.get("nullable"),
    }
    return msgspec.structs.replace(schema, **{name: value for name, value in changes.items() if value is not None})


def _first(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)
