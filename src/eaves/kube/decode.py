"""Request bodies to objects: JSON, YAML and protobuf, with the duplicate keys that a plain decoder would swallow."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import msgspec

from eaves.kube import protobuf, status
from eaves.kube.errors import ApiError
from eaves.kube.go_types import name_json_type
from eaves.kube.resource import Object
from eaves.kube.yaml_decoding import YamlError, decode_yaml

JSON = "application/json"
YAML = "application/yaml"
PROTOBUF = protobuf.MEDIA_TYPE
BODY_TYPES = (JSON, YAML, PROTOBUF)


def media_type(content_type: str) -> str:
    """``application/json; charset=utf-8`` → ``application/json``; a missing header means JSON."""
    return content_type.partition(";")[0].strip().lower() or JSON


def decode_object(
    body: bytes, content_type: str, *, find_duplicates: bool = False, wanted: str = ""
) -> tuple[Object, list[str]]:
    """The object of a body and, if asked, remarks on keys that stand twice (``duplicate field "spec.image"``).

    ``wanted`` is the Kind that it should be, for faults. Raises ApiError 415 for other types, 400 for what is no object.
    """
    kind = media_type(content_type)
    remarks: list[str] = []
    if kind == JSON:
        try:
            value = _decoder.decode(body)
        except _JSON_ERRORS as error:
            raise _unrecognized(f"{_NO_KIND}: {_say_json(error, body)}", body, wanted) from error
        if find_duplicates and isinstance(value, dict):
            remarks = [f'duplicate field "{path}"' for path in find_duplicates_json(body)]
    elif kind == YAML:
        try:
            value, remarks = decode_yaml(body)
        except YamlError as error:
            raise _unrecognized(str(error), body, wanted) from error
    elif kind == PROTOBUF:
        value = protobuf.decode_object(body)
    else:
        raise status.unsupported_media_type(kind, BODY_TYPES)
    if value is None:
        value = {}
    if not isinstance(value, dict):
        got = f"json: cannot unmarshal {name_json_type(value)} into Go value of type {_TYPE_META}"
        raise _unrecognized(f"{_NO_KIND}: {got}", body, wanted)
    return value, remarks if find_duplicates else []


def decode_patch(body: bytes) -> Any:
    """A patch in JSON. Raises ApiError 400."""
    try:
        return _decoder.decode(body)
    except _JSON_ERRORS as error:
        raise status.bad_request("invalid JSON patch") from error


def missing_kind(body: bytes, wanted: str) -> ApiError:
    """The fault of an object that does not say what it is."""
    text = body.decode("utf-8", "replace")
    return _unrecognized(f"Object 'Kind' is missing in '{text}'", body, wanted)


_EXACT = 1 << 53
"""Whole numbers up to here are the same as floating-point numbers."""


def _read_float(text: str) -> int | float:
    """A whole number written as ``1.0`` or ``1e2`` is an integer, as templates and other languages write theirs."""
    value = float(text)
    if not math.isfinite(value):
        raise msgspec.DecodeError("number out of range")
    return int(value) if value.is_integer() and abs(value) < _EXACT else value


_decoder = msgspec.json.Decoder(float_hook=_read_float)
_JSON_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_NO_KIND = "couldn't get version/kind; json parse error"
_TYPE_META = 'struct { APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" }'
_SUMMARY_BYTES = 30
_PLACE = re.compile(r"\(byte (\d+)\)$")


def _unrecognized(why: str, body: bytes, wanted: str) -> ApiError:
    if not wanted:
        return status.bad_request(why)
    return status.bad_request(
        f"the object provided is unrecognized (must be of type {wanted}): {why} ({_summarize(body)})"
    )


def _summarize(body: bytes) -> str:
    """The beginning of a body, in hexadecimal digits when it is no JSON."""
    if not body:
        return "<empty>"
    text = body.decode("utf-8", "replace") if body.startswith(b"{") else body.hex()
    return text if len(text) <= _SUMMARY_BYTES else f"{text[:_SUMMARY_BYTES]} ..."


def _say_json(error: Exception, body: bytes) -> str:
    """A fault of JSON in the words of Go's decoder, where they are known."""
    text = str(error)
    if "truncated" in text:
        return "unexpected end of JSON input"
    if place := _PLACE.search(text):
        is_trailing = "trailing" in text
        # What comes after the value is told of when it has been read.
        at = int(place[1]) - is_trailing
        letter = body[at : at + 1].decode("latin-1")
        if is_trailing:
            return f"invalid character '{letter}' after top-level value"
        if letter and "invalid character" in text:
            return f"invalid character '{letter}' looking for beginning of value"
    return text


def _has_duplicates(body: bytes) -> bool:
    found = False

    def look(pairs: list[tuple[str, Any]]) -> None:
        nonlocal found
        found = found or len(dict(pairs)) != len(pairs)

    json.loads(body, object_pairs_hook=look)
    return found


class _Pairs(list[tuple[str, Any]]):
    """A JSON object with every pair, also those whose key stands twice."""


def find_duplicates_json(body: bytes) -> list[str]:
    """Paths of keys that stand twice in one object, each once, in document order.

    A second, slower pass over valid JSON: it runs only for writes that ask for field validation. Keeping every pair costs most of
    it, so that is done only for a body that has such a key.
    """
    if not body.lstrip().startswith((b"{", b"[")) or not _has_duplicates(body):
        return []
    found: dict[str, None] = {}
    stack = [("", json.loads(body, object_pairs_hook=_Pairs))]
    while stack:
        path, value = stack.pop()
        below: list[tuple[str, Any]] = []
        if isinstance(value, _Pairs):
            seen: set[str] = set()
            for key, item in value:
                where = f"{path}.{key}" if path else key
                if key in seen:
                    found[where] = None
                seen.add(key)
                if isinstance(item, list):
                    below.append((where, item))
        else:
            below.extend((f"{path}[{index}]", item) for index, item in enumerate(value) if isinstance(item, list))
        stack.extend(reversed(below))
    return list(found)
