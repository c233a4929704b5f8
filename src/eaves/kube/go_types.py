"""Names that Kubernetes' server gives types and faults of JSON, which are those of the Go standard library.

People know these sentences from kubectl and search for them, so a body of the wrong shape is told of in the same words.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from eaves.kube.schema import MICRO_TIME, Schema, has_micros, is_time

_META_TYPES = {"uid": "types.UID"}
_NUMBERS = {"int32": "int32", "": "int64", "int64": "int64"}


def name_json_type(value: Any) -> str:
    """What a JSON value is called: ``array``, ``bool``, ``number``, ``object``, ``string``."""
    match value:
        case bool():
            return "bool"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
    return "null" if value is None else "object"


def name_go_type(schema: Schema, name: str = "") -> str:
    """The Go type of a field: ``string``, ``[]string``, ``map[string]string``, ``v1.ObjectMeta``. ``name`` is the field's."""
    match schema.type:
        case "string":
            return _META_TYPES.get(name, "[]uint8" if schema.format == "byte" else "string")
        case "boolean":
            return "bool"
        case "integer":
            return _NUMBERS.get(schema.format, "int64")
        case "number":
            return "float64"
        case "array":
            return f"[]{name_go_type(schema.items or Schema())}"
        case "object" if schema.additional is not None:
            return f"map[string]{name_go_type(schema.additional)}"
        case "object":
            return f"v1.{name_struct(schema, name)}"
    return "interface {}"


def name_struct(schema: Schema, name: str) -> str:
    """A structure by its own name or the last word of its definition, else by its field."""
    return schema.name or schema.reference.rpartition(".")[2] or f"{name[:1].upper()}{name[1:]}"


def find_wrong_type(schema: Schema, value: Any, root: str) -> str:
    """The first value that does not have the type of its field, in the words of Go's decoder; empty when all have.

    ``root`` is the name of the whole's type. Unknown fields don't count, null fits everywhere.
    """
    return _find(schema, value, root, ())


def _find(schema: Schema, value: Any, owner: str, path: tuple[str, ...]) -> str:
    if value is None or not schema.type:
        return ""
    if fault := _check(schema, value):
        wanted = name_go_type(schema, path[-1] if path else "")
        if fault.startswith("json:"):
            where = f"struct field {owner}.{'.'.join(path)} of type {wanted}" if path else f"value of type v1.{owner}"
            return f"{fault} into Go {where}"
        return fault
    if isinstance(value, dict):
        return _find_in_fields(schema, value, owner, path)
    if isinstance(value, list) and schema.items is not None:
        return next((fault for item in value if (fault := _find(schema.items, item, owner, path))), "")
    return ""


def _find_in_fields(schema: Schema, value: Mapping[str, Any], owner: str, path: tuple[str, ...]) -> str:
    additional = schema.additional
    inner = owner if additional is not None or not path else name_struct(schema, path[-1])
    for key, item in value.items():
        child = schema.properties.get(key) or additional
        # This is done for every write, and most values are texts.
        if child is None or (type(item) is str and child.type == "string" and not child.format):
            continue
        if fault := _find(child, item, inner, path if child is additional else (*path, key)):
            return fault
    return ""


_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
}
_BITS = {"int32": 31, "int64": 63}


def _check(schema: Schema, value: Any) -> str:
    """What is wrong with one value; what begins with ``json:`` goes on with its place."""
    if not _fits(schema, value):
        shown = f" {value}" if isinstance(value, float) else ""
        return f"json: cannot unmarshal {name_json_type(value)}{shown}"
    if schema.type == "integer" and not -(1 << (bits := _BITS.get(schema.format, 63))) <= value < 1 << bits:
        return f"json: cannot unmarshal number {value}"
    if schema.format == "date-time" and value:
        return _check_time(value, is_micro=schema.reference == MICRO_TIME)
    if schema.format == "byte" and (place := _find_no_base64(value)) is not None:
        return f"illegal base64 data at input byte {place}"
    return ""


def _check_time(text: str, *, is_micro: bool) -> str:
    layout = f"2006-01-02T15:04:05{'.000000' if is_micro else ''}Z07:00"
    if not is_time(text):
        return f'parsing time "{text}" as "{layout}": cannot parse "{text}" as "2006"'
    if is_micro and not has_micros(text):
        return f'parsing time "{text}" as "{layout}": cannot parse "{text[19:]}" as ".000000"'
    return ""


def _fits(schema: Schema, value: Any) -> bool:
    return isinstance(value, _TYPES[schema.type]) and isinstance(value, bool) == (schema.type == "boolean")


def _find_no_base64(text: str) -> int | None:
    """Where a text stops being base64. Breaks of lines don't count."""
    try:
        base64.b64decode(text.translate(LINE_BREAKS), validate=True)
    except ValueError:
        return next(
            (i for i, letter in enumerate(text) if letter not in _BASE64 and letter not in "\r\n"),
            len(text.rstrip("=")),
        )
    return None


LINE_BREAKS = {ord("\r"): None, ord("\n"): None}
"""What base64 may be broken into lines by, and is kept without."""
_BASE64 = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
