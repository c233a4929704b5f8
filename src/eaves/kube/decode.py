"""Request bodies to objects: JSON, YAML and protobuf, with the duplicate keys that a plain decoder would swallow."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from eaves.kube import protobuf, status
from eaves.kube.resource import Object
from eaves.kube.yaml_decoding import decode_yaml as decode_yaml

JSON = "application/json"
YAML = "application/yaml"
PROTOBUF = protobuf.MEDIA_TYPE
BODY_TYPES = (JSON, YAML, PROTOBUF)
_YAML_TYPES = (YAML, "application/x-yaml", "text/yaml")


def media_type(content_type: str) -> str:
    """``application/json; charset=utf-8`` → ``application/json``; a missing header means JSON."""
    return content_type.partition(";")[0].strip().lower() or JSON


def decode_object(body: bytes, content_type: str, *, find_duplicates: bool = False) -> tuple[Object, list[str]]:
    """The object of a body and, if asked, paths of keys that stand twice (``spec.image``).

    Raises ApiError 415 for other types, 400 for what is no object.
    """
    kind = media_type(content_type)
    duplicates: list[str] = []
    if kind == JSON:
        value = decode_json(body)
        if find_duplicates and isinstance(value, dict):
            duplicates = find_duplicates_json(body)
    elif kind in _YAML_TYPES:
        value, duplicates = decode_yaml(body)
    elif kind == PROTOBUF:
        value = protobuf.decode_object(body)
    else:
        raise status.unsupported_media_type(kind, BODY_TYPES)
    if not isinstance(value, dict):
        raise status.bad_request("couldn't get version/kind; json parse error: the body is not an object")
    return value, duplicates if find_duplicates else []


def decode_json(body: bytes) -> Any:
    """Raises ApiError 400."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise status.bad_request(f"the object provided is unrecognized (must be valid JSON): {error}") from error


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
    if not _has_duplicates(body):
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
