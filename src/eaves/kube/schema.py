"""Structural schema of a kind: what its fields are, and the walks over an object that need it.

The same tree serves validation, pruning of unknown fields, defaults, OpenAPI documents, strategic merge patch and server-side
apply. Messages are those of a kube-apiserver that serves the kind as a custom resource.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any

from msgspec import Struct

from eaves.kube.errors import CauseType, FieldError
from eaves.kube.resource import Object
from eaves.kube.trees import copy_tree


class ListType(StrEnum):
    ATOMIC = "atomic"
    SET = "set"
    MAP = "map"


class MapType(StrEnum):
    GRANULAR = "granular"
    ATOMIC = "atomic"


class Schema(Struct, frozen=True):
    """One node of the tree. ``type`` is object, array, string, integer, number, boolean, or empty for any value."""

    type: str = ""
    format: str = ""
    description: str = ""
    properties: Mapping[str, Schema] = {}
    additional: Schema | None = None
    """Values of a map (``additionalProperties``)."""
    items: Schema | None = None
    required: Sequence[str] = ()
    enum: Sequence[str] = ()
    pattern: str = ""
    minimum: float | None = None
    maximum: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    nullable: bool = False
    int_or_string: bool = False
    preserve_unknown: bool = False
    default: Any = None
    """None = no default (null is no default of any field here)."""
    list_type: ListType = ListType.ATOMIC
    list_map_keys: Sequence[str] = ()
    map_type: MapType = MapType.GRANULAR
    patch_merge_key: str = ""
    """Strategic merge: lists of objects merge by this key; with ``patch_strategy`` ``merge`` and no key, lists of scalars."""
    patch_strategy: str = ""
    reference: str = ""
    """Name of the OpenAPI definition that it is rendered as; empty = in place."""

    def child(self, key: str) -> Schema | None:
        """Schema of a map's value or an object's field, None when unknown."""
        return self.properties.get(key) or self.additional


ANY = Schema(preserve_unknown=True)


def join_path(path: str, key: str) -> str:
    """Appends a field to a path: ``spec`` + ``image`` → ``spec.image``."""
    return f"{path}.{key}" if path else key


# --- Unknown fields ------------------------------------------------------------------------------------------------------------


def find_unknown(schema: Schema, value: Any, path: str = "") -> Iterator[str]:
    """Paths of fields that the schema does not know, in document order."""
    if isinstance(value, dict):
        if schema.preserve_unknown:
            known = {key: item for key, item in value.items() if key in schema.properties}
            yield from _find_in_fields(schema, known, path)
        elif schema.additional is not None:
            for key, item in value.items():
                yield from find_unknown(schema.additional, item, join_path(path, key))
        else:
            yield from _find_in_fields(schema, value, path)
    elif isinstance(value, list) and schema.items is not None:
        for index, item in enumerate(value):
            yield from find_unknown(schema.items, item, f"{path}[{index}]")


def _find_in_fields(schema: Schema, value: Mapping[str, Any], path: str) -> Iterator[str]:
    if not schema.properties and schema.type != "object":
        return
    for key, item in value.items():
        child = schema.properties.get(key)
        if child is None:
            yield join_path(path, key)
        else:
            yield from find_unknown(child, item, join_path(path, key))


def prune_unknown(schema: Schema, value: Any) -> Any:
    """The value without fields that the schema does not know; the very same value when there is none."""
    if isinstance(value, dict):
        return _prune_dict(schema, value)
    if isinstance(value, list) and schema.items is not None:
        pruned = [prune_unknown(schema.items, item) for item in value]
        return value if all(a is b for a, b in zip(pruned, value, strict=True)) else pruned
    return value


def _prune_dict(schema: Schema, value: dict[str, Any]) -> dict[str, Any]:
    if not schema.properties and schema.additional is None and (schema.preserve_unknown or schema.type != "object"):
        return value
    pruned: dict[str, Any] = {}
    same = True
    for key, item in value.items():
        child = schema.properties.get(key) or schema.additional
        if child is None:
            if schema.preserve_unknown:
                pruned[key] = item
            else:
                same = False
            continue
        pruned[key] = prune_unknown(child, item)
        same = same and pruned[key] is item
    return value if same else pruned


# --- Defaults ------------------------------------------------------------------------------------------------------------------


def apply_defaults(schema: Schema, value: Any) -> None:
    """Fills absent fields that have a default, in place; nulls of non-nullable fields count as absent."""
    if isinstance(value, dict):
        for key, child in schema.properties.items():
            if value.get(key) is None and child.default is not None and (key not in value or not child.nullable):
                value[key] = copy_tree(child.default)
            elif key in value and value[key] is None and not child.nullable and child.type:
                del value[key]
                continue
            if key in value:
                apply_defaults(child, value[key])
        if schema.additional is not None:
            for item in value.values():
                apply_defaults(schema.additional, item)
    elif isinstance(value, list) and schema.items is not None:
        for item in value:
            apply_defaults(schema.items, item)


# --- Validation ----------------------------------------------------------------------------------------------------------------


def validate_schema(schema: Schema, value: Object) -> list[FieldError]:
    """Every place where the object does not fit, in the order of the schema."""
    return list(_validate(schema, value, ""))


def _validate(schema: Schema, value: Any, path: str) -> Iterator[FieldError]:
    if value is None and (schema.nullable or not schema.type):
        return
    if schema.int_or_string:
        if isinstance(value, bool) or not isinstance(value, int | str):
            yield _type_error(path, "integer,string", value)
        return
    if schema.type and not _is_type(schema.type, value):
        yield _type_error(path, schema.type, value)
        return
    match value:
        case dict():
            yield from _validate_fields(schema, value, path)
        case list():
            yield from _validate_items(schema, value, path)
        case str():
            yield from _validate_text(schema, value, path)
        case bool():
            pass
        case int() | float():
            yield from _validate_number(schema, value, path)


def _validate_fields(schema: Schema, value: Mapping[str, Any], path: str) -> Iterator[FieldError]:
    for key in schema.required:
        if key not in value:
            yield FieldError(join_path(path, key), CauseType.REQUIRED, "")
    for key, item in value.items():
        child = schema.properties.get(key) or schema.additional
        if child is not None:
            yield from _validate(child, item, join_path(path, key))


def _validate_items(schema: Schema, value: Sequence[Any], path: str) -> Iterator[FieldError]:
    if schema.max_length is not None and len(value) > schema.max_length:
        yield FieldError(path, CauseType.TOO_MANY, f"must have at most {schema.max_length} items", len(value))
    if schema.min_length is not None and len(value) < schema.min_length:
        detail = f"{path} in body should have at least {schema.min_length} items"
        yield FieldError(path, CauseType.INVALID, detail, len(value))
    if schema.items is not None:
        for index, item in enumerate(value):
            yield from _validate(schema.items, item, f"{path}[{index}]")
    yield from _validate_unique(schema, value, path)


def _validate_unique(schema: Schema, value: Sequence[Any], path: str) -> Iterator[FieldError]:
    if schema.list_type is ListType.ATOMIC:
        return
    seen: set[str] = set()
    for index, item in enumerate(value):
        if schema.list_type is ListType.MAP:
            if not isinstance(item, dict):
                continue
            shown: Any = {key: item[key] for key in schema.list_map_keys if key in item}
        else:
            shown = item
        identity = json.dumps(shown, sort_keys=True)
        if identity in seen:
            yield FieldError(f"{path}[{index}]", CauseType.DUPLICATE, "", shown)
        seen.add(identity)


def _validate_text(schema: Schema, value: str, path: str) -> Iterator[FieldError]:
    if schema.enum and value not in schema.enum:
        supported = ", ".join(f'"{item}"' for item in schema.enum)
        yield FieldError(path, CauseType.NOT_SUPPORTED, f"supported values: {supported}", value)
    if schema.max_length is not None and len(value) > schema.max_length:
        yield FieldError(path, CauseType.TOO_LONG, f"may not be more than {schema.max_length} bytes", value)
    if schema.min_length is not None and len(value) < schema.min_length:
        detail = f"{path} in body should be at least {schema.min_length} chars long"
        yield FieldError(path, CauseType.INVALID, detail, value)
    if schema.pattern and not re.search(schema.pattern, value):
        yield FieldError(path, CauseType.INVALID, f"{path} in body should match '{schema.pattern}'", value)
    if schema.format == "date-time" and not _DATE_TIME.fullmatch(value):
        yield FieldError(
            path, CauseType.INVALID, f"{path} in body must be of type date-time: {json.dumps(value)}", value
        )


_DATE_TIME = re.compile(
    r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])[Tt ]([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?([zZ]|[+-]\d{2}:\d{2})"
)


def _validate_number(schema: Schema, value: float, path: str) -> Iterator[FieldError]:
    if schema.minimum is not None and value < schema.minimum:
        detail = f"{path} in body should be greater than or equal to {schema.minimum:g}"
        yield FieldError(path, CauseType.INVALID, detail, value)
    if schema.maximum is not None and value > schema.maximum:
        bound = int(schema.maximum) if float(schema.maximum).is_integer() else schema.maximum
        detail = f"{path} in body should be less than or equal to {bound}"
        yield FieldError(path, CauseType.INVALID, detail, value)


def _is_type(kind: str, value: Any) -> bool:
    match kind:
        case "object":
            return isinstance(value, dict)
        case "array":
            return isinstance(value, list)
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case _:
            return isinstance(value, int | float) and not isinstance(value, bool)


def _type_error(path: str, wanted: str, value: Any) -> FieldError:
    got = _name_type(value)
    return FieldError(path, CauseType.TYPE_INVALID, f'{path} in body must be of type {wanted}: "{got}"', got)


def _name_type(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


# --- OpenAPI -------------------------------------------------------------------------------------------------------------------


def render_openapi(schema: Schema, prefix: str = "#/components/schemas/") -> Object:
    """The schema as OpenAPI v3. A schema with a ``reference`` becomes a ``$ref`` below its parent (see :func:`references`)."""
    document: Object = {}
    if schema.description:
        document["description"] = schema.description
    if schema.int_or_string:
        document["anyOf"] = [{"type": "integer"}, {"type": "string"}]
        document["x-kubernetes-int-or-string"] = True
    elif schema.type:
        document["type"] = schema.type
    _render_limits(schema, document)
    if schema.properties:
        document["properties"] = {key: render_child(child, prefix) for key, child in schema.properties.items()}
    if schema.additional is not None:
        document["additionalProperties"] = render_child(schema.additional, prefix)
    if schema.items is not None:
        document["items"] = render_child(schema.items, prefix)
    _render_extensions(schema, document)
    return document


def render_child(schema: Schema, prefix: str) -> Object:
    """A field's schema: in place, or a reference with the field's own description and default."""
    if not schema.reference:
        return render_openapi(schema, prefix)
    document: Object = {"allOf": [{"$ref": prefix + schema.reference}]}
    if schema.description:
        document["description"] = schema.description
    if schema.default is not None:
        document["default"] = schema.default
    return document


def references(schema: Schema) -> Iterator[Schema]:
    """Every schema below that has a ``reference``, each occurrence."""
    children = [
        *schema.properties.values(),
        *(child for child in (schema.additional, schema.items) if child is not None),
    ]
    for child in children:
        if child.reference:
            yield child
        yield from references(child)


def _render_limits(schema: Schema, document: Object) -> None:
    sizes = ("minItems", "maxItems") if schema.type == "array" else ("minLength", "maxLength")
    limits = {
        "format": schema.format or None,
        "pattern": schema.pattern or None,
        "enum": list(schema.enum) or None,
        "minimum": schema.minimum,
        "maximum": schema.maximum,
        sizes[0]: schema.min_length,
        sizes[1]: schema.max_length,
        "default": schema.default,
        "nullable": schema.nullable or None,
        "required": list(schema.required) or None,
    }
    document.update({key: value for key, value in limits.items() if value is not None})


def _render_extensions(schema: Schema, document: Object) -> None:
    if schema.type == "array" and schema.list_type is not ListType.ATOMIC:
        document["x-kubernetes-list-type"] = schema.list_type.value
        if schema.list_map_keys:
            document["x-kubernetes-list-map-keys"] = list(schema.list_map_keys)
    elif schema.type == "array" and not schema.patch_strategy:
        document["x-kubernetes-list-type"] = ListType.ATOMIC.value
    if schema.map_type is MapType.ATOMIC:
        document["x-kubernetes-map-type"] = MapType.ATOMIC.value
    if schema.preserve_unknown:
        document["x-kubernetes-preserve-unknown-fields"] = True
    if schema.patch_merge_key:
        document["x-kubernetes-patch-merge-key"] = schema.patch_merge_key
    if schema.patch_strategy:
        document["x-kubernetes-patch-strategy"] = schema.patch_strategy
