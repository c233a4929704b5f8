"""Structural schema of a kind: what its fields are, and the walks over an object that need it.

The same tree serves validation, pruning of unknown fields, defaults, OpenAPI documents, strategic merge patch and server-side
apply. Messages are those of a kube-apiserver that serves the kind as a custom resource.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from functools import cache, cached_property
from typing import Any

import msgspec
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


class Schema(Struct, frozen=True, dict=True):
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
    optional: bool = False
    """A structure that may be absent, where others are empty then (a pointer in Go)."""
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
    name: str = ""
    """Name of the structure that it describes."""
    reference: str = ""
    """Name of the OpenAPI definition that it is rendered as; empty = in place."""

    def child(self, key: str) -> Schema | None:
        """Schema of a map's value or an object's field, None when unknown."""
        return self.properties.get(key) or self.additional

    @cached_property
    def defaulted(self) -> Sequence[tuple[str, Schema]]:
        """Fields that have a default: few of many, and asked for at every write."""
        return tuple((key, child) for key, child in self.properties.items() if child.default is not None)


_CONTAINERS = (dict, list)

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
        pruned[key] = left = prune_unknown(child, item) if isinstance(item, _CONTAINERS) else item
        same = same and left is item
    return value if same else pruned


# --- Defaults ------------------------------------------------------------------------------------------------------------------


def apply_defaults(schema: Schema, value: Any) -> None:
    """Fills absent fields that have a default, in place; a null where none may stand counts as absent."""
    if isinstance(value, dict):
        for key, child in schema.defaulted:
            if value.get(key) is None and (key not in value or not child.nullable):
                value[key] = copy_tree(child.default)
        # Most values are texts and numbers, for which there is nothing to do.
        for key, item in [(key, item) for key, item in value.items() if item is None or isinstance(item, _CONTAINERS)]:
            known = schema.child(key)
            if known is None:
                continue
            if item is not None:
                apply_defaults(known, item)
            elif not known.nullable:
                del value[key]
    elif isinstance(value, list) and schema.items is not None:
        for item in value:
            apply_defaults(schema.items, item)


# --- Validation ----------------------------------------------------------------------------------------------------------------


def validate_schema(schema: Schema, value: Object) -> list[FieldError]:
    """Every place where the object does not fit, in the order of the schema."""
    faults: list[FieldError] = []
    _validate(schema, value, "", faults)
    return faults


def _validate(schema: Schema, value: Any, path: str, faults: list[FieldError]) -> None:
    # Faults are collected in a list, since a chain of generators costs a write more than the checks themselves.
    if value is None and (schema.nullable or not (schema.type or schema.int_or_string)):
        return
    if schema.enum and value not in schema.enum:
        supported = ", ".join(f'"{item}"' for item in schema.enum)
        faults.append(FieldError(path, CauseType.NOT_SUPPORTED, f"supported values: {supported}", value))
    if schema.int_or_string:
        if isinstance(value, bool) or not isinstance(value, int | str):
            faults.append(_type_error(path, "integer,string", value))
        return
    if schema.type and not _is_type(schema.type, value):
        faults.append(_type_error(path, schema.type, value))
        return
    if isinstance(value, str):
        faults.extend(_validate_text(schema, value, path))
    elif isinstance(value, dict):
        _validate_fields(schema, value, path, faults)
    elif isinstance(value, list):
        _validate_items(schema, value, path, faults)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        faults.extend(_validate_number(schema, value, path))


def _validate_fields(schema: Schema, value: Mapping[str, Any], path: str, faults: list[FieldError]) -> None:
    missing = [key for key in schema.required if key not in value]
    faults.extend(FieldError(join_path(path, key), CauseType.REQUIRED, "") for key in missing)
    properties, additional = schema.properties, schema.additional
    for key, item in value.items():
        child = properties.get(key) or additional
        if child is not None:
            _validate(child, item, f"{path}.{key}" if path else key, faults)


def _validate_items(schema: Schema, value: Sequence[Any], path: str, faults: list[FieldError]) -> None:
    if schema.max_length is not None and len(value) > schema.max_length:
        detail = f"must have at most {schema.max_length} items"
        faults.append(FieldError(path, CauseType.TOO_MANY, detail, len(value)))
    if schema.min_length is not None and len(value) < schema.min_length:
        detail = f"{path} in body should have at least {schema.min_length} items"
        faults.append(FieldError(path, CauseType.INVALID, detail, len(value)))
    if schema.items is not None:
        for index, item in enumerate(value):
            _validate(schema.items, item, f"{path}[{index}]", faults)
    faults.extend(_validate_unique(schema, value, path))


def _validate_unique(schema: Schema, value: Sequence[Any], path: str) -> Iterator[FieldError]:
    """Each value that stands several times is told once, where it stands for the second time."""
    if schema.list_type is ListType.ATOMIC:
        return
    seen: dict[bytes, int] = {}
    for index, item in enumerate(value):
        shown = item
        if schema.list_type is ListType.MAP:
            if not isinstance(item, dict):
                continue
            shown = {key: item[key] for key in schema.list_map_keys if key in item}
        identity = _encoder.encode(shown)
        seen[identity] = seen.get(identity, 0) + 1
        if seen[identity] == 2:
            yield FieldError(f"{path}[{index}]", CauseType.DUPLICATE, "", shown)


_encoder = msgspec.json.Encoder(order="deterministic")


def _validate_text(schema: Schema, value: str, path: str) -> Iterable[FieldError]:
    if schema.max_length is None and schema.min_length is None and not schema.pattern and not schema.format:
        return ()
    return _find_text_faults(schema, value, path)


def _find_text_faults(schema: Schema, value: str, path: str) -> Iterator[FieldError]:
    """The first of length and pattern that does not fit, and the format."""
    if schema.max_length is not None and len(value) > schema.max_length:
        yield FieldError(path, CauseType.TOO_LONG, f"may not be more than {schema.max_length} bytes", value)
    elif schema.min_length is not None and len(value) < schema.min_length:
        detail = f"{path} in body should be at least {schema.min_length} chars long"
        yield FieldError(path, CauseType.INVALID, detail, value)
    elif schema.pattern and not _compile(schema.pattern).search(value):
        yield FieldError(path, CauseType.INVALID, f"{path} in body should match '{schema.pattern}'", value)
    if schema.format == "date-time" and not is_time(value):
        yield FieldError(path, CauseType.TYPE_INVALID, _must_be(path, "date-time", value), value)


@cache
def _compile(pattern: str) -> re.Pattern[str]:
    """A pattern with Go's meaning: ``$`` is the end and not a last line break, classes know ASCII alone."""
    is_bound = pattern.endswith("$") and not pattern.endswith("\\$")
    return re.compile(pattern[:-1] + r"\Z" if is_bound else pattern, re.ASCII)


_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})")


MICRO_TIME = "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime"
"""Definition of times with exactly six digits of a second's fraction."""
_MICROS = re.compile(r"[^.]*\.[0-9]{6}[Zz+-].*")


def has_micros(text: str) -> bool:
    """Whether a time of RFC 3339 has microseconds, no more and no less."""
    return _MICROS.fullmatch(text) is not None


def is_time(text: str) -> bool:
    """Whether a text is a time of RFC 3339. Asks a pattern and the calendar: each alone lets too much through."""
    if not _TIME.fullmatch(text):
        return False
    try:
        datetime.fromisoformat(text[:19].upper())
    except ValueError:
        return False
    return True


_INTEGER_BITS = {"int32": 31, "int64": 63}


def _validate_number(schema: Schema, value: float, path: str) -> Iterator[FieldError]:
    bits = _INTEGER_BITS.get(schema.format, 63 if schema.type == "integer" else 0)
    if bits and not -(1 << bits) <= value < 1 << bits:
        yield FieldError(path, CauseType.TYPE_INVALID, _must_be(path, schema.format or "int64", value), value)
    if schema.minimum is not None and value < schema.minimum:
        detail = f"{path} in body should be greater than or equal to {_render_bound(schema.minimum)}"
        yield FieldError(path, CauseType.INVALID, detail, value)
    if schema.maximum is not None and value > schema.maximum:
        detail = f"{path} in body should be less than or equal to {_render_bound(schema.maximum)}"
        yield FieldError(path, CauseType.INVALID, detail, value)


def _render_bound(bound: float) -> str:
    return str(int(bound)) if float(bound).is_integer() else str(bound)


def _must_be(path: str, wanted: str, shown: object) -> str:
    return f"{path} in body must be of type {wanted}: {json.dumps(str(shown), ensure_ascii=False)}"


_TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
}


def _is_type(kind: str, value: Any) -> bool:
    return isinstance(value, _TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))


def _type_error(path: str, wanted: str, value: Any) -> FieldError:
    got = _name_type(value)
    return FieldError(path, CauseType.TYPE_INVALID, _must_be(path, wanted, got), got)


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
