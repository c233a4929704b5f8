"""Request bodies to objects: JSON and YAML, with the duplicate keys that a plain decoder would swallow."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import yaml

from eaves.kube import status
from eaves.kube.resource import Object

JSON = "application/json"
YAML = "application/yaml"
BODY_TYPES = (JSON, YAML, "application/vnd.kubernetes.protobuf")


def media_type(content_type: str) -> str:
    """``application/json; charset=utf-8`` → ``application/json``; a missing header means JSON."""
    return content_type.partition(";")[0].strip().lower() or JSON


def decode_object(body: bytes, content_type: str, *, find_duplicates: bool = False) -> tuple[Object, list[str]]:
    """The object of a body and, if asked, paths of keys that stand twice (``spec.image``).

    Raises ApiError 415 for other types, 400 for what is no object.
    """
    kind = media_type(content_type)
    if kind == JSON:
        value = decode_json(body)
        duplicates = _find_duplicates_json(body) if find_duplicates else []
    elif kind in (YAML, "application/x-yaml", "text/yaml"):
        value, duplicates = decode_yaml(body)
    else:
        raise status.unsupported_media_type(kind, (JSON, YAML))
    if not isinstance(value, dict):
        raise status.bad_request("couldn't get version/kind; json parse error: the body is not an object")
    return value, duplicates


def decode_json(body: bytes) -> Any:
    """Raises ApiError 400."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise status.bad_request(f"the object provided is unrecognized (must be valid JSON): {error}") from error


def decode_yaml(body: bytes) -> tuple[Any, list[str]]:
    """One YAML document with JSON's types (timestamps stay text), and its duplicate keys. Raises ApiError 400."""
    loader = _Loader(body.decode("utf-8", "replace"))
    try:
        return loader.get_single_data(), loader.duplicates
    except (yaml.YAMLError, RecursionError) as error:
        raise status.bad_request(f"error decoding YAML: {error}") from error
    finally:
        loader.dispose()


def _find_duplicates_json(body: bytes) -> list[str]:
    """A second, slower pass: it runs only for strict requests and warnings of kubectl's writes."""
    found: list[str] = []

    def note(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen: dict[str, Any] = {}
        twice = []
        for key, value in pairs:
            if key in seen:
                twice.append(key)
            seen[key] = value
        if twice:
            marks.append((seen, twice))
        return seen

    marks: list[tuple[dict[str, Any], list[str]]] = []
    document = json.loads(body, object_pairs_hook=note)
    if marks:
        paths = {id(container): path for path, container in _walk(document, "")}
        for container, keys in marks:
            prefix = paths.get(id(container), "")
            found.extend(f"{prefix}.{key}" if prefix else key for key in keys)
    return found


def _walk(value: Any, path: str) -> list[tuple[str, dict[str, Any]]]:
    found: list[tuple[str, dict[str, Any]]] = []
    stack = [(path, value)]
    while stack:
        where, item = stack.pop()
        if isinstance(item, dict):
            found.append((where, item))
            stack.extend((f"{where}.{key}" if where else key, child) for key, child in item.items())
        elif isinstance(item, list):
            stack.extend((f"{where}[{index}]", child) for index, child in enumerate(item))
    return found


class _Loader(yaml.CSafeLoader):
    """Safe loader with JSON's types that notes duplicate keys."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.duplicates: list[str] = []

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            if isinstance(key_node, yaml.ScalarNode):
                if key_node.value in seen:
                    self.duplicates.append(key_node.value)
                seen.add(key_node.value)
        return {str(key): value for key, value in super().construct_mapping(node, deep=deep).items()}


# Timestamps and merge values stay text: the object is JSON written in another way.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}
