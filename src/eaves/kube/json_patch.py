"""JSON patch (RFC 6902) as a kube-apiserver understands it, which differs from the RFC where clients have come to rely on it.

An index may count from the end (``-1``), ``replace`` sets what is missing, ``add`` and ``copy`` of nothing put null, and a ``test`` for
null passes where nothing is; a path without a leading slash loses its first word. Observed at kube-apiserver 1.37 and described by
the library that it uses (evanphx/json-patch). Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from eaves.kube import status
from eaves.kube.errors import ApiError
from eaves.kube.go_types import name_json_type
from eaves.kube.resource import Object
from eaves.kube.trees import copy_tree, is_same

OPERATIONS_LIMIT = 10_000
COPY_LIMIT_BYTES = 3 * 1024 * 1024
_TEXTS = ("op", "path", "from")
_KEYS = frozenset({*_TEXTS, "value"})


class _CannotError(Exception):
    """An operation cannot be done."""


def apply_json_patch(operations: Any, current: Object) -> Any:
    """The patched document; ``current`` stays as it is.

    Raises ApiError: 413 for too many operations or copies, 422 for one that cannot be done, 400 for what is no list of operations.
    """
    document: Any = copy_tree(current)
    copied = 0
    for index, operation in enumerate(_check_operations(operations)):
        try:
            document, size = _apply(operation, document)
        except _CannotError as error:
            # The values stay unsaid, which may be secret.
            what = " ".join(operation[key] for key in ("op", "path") if operation.get(key))
            text = f"the server rejected our request due to an error in our request: operation {index} ({what}) cannot be done"
            raise ApiError(422, "Invalid", text, details={}) from error
        copied += size
        if copied > COPY_LIMIT_BYTES:
            # A short patch must not grow an object without bound: each copy may double it.
            text = "Unable to complete the copy, the accumulated size increase of copy operations exceeds "
            raise ApiError(413, "RequestEntityTooLarge", f"{text}{COPY_LIMIT_BYTES}")
    return document


def find_unknown_keys(operations: Any) -> list[str]:
    """Members of operations that mean nothing, as paths such as ``[0].vaule``."""
    if not isinstance(operations, list):
        return []
    found = (
        (i, key) for i, each in enumerate(operations) if isinstance(each, dict) for key in each if key not in _KEYS
    )
    return [f"[{index}].{key}" for index, key in found]


def _check_operations(operations: Any) -> list[Object]:
    if operations is None:
        return []
    if not isinstance(operations, list):
        raise _undecodable(f"{name_json_type(operations)} into Go value of type []handlers.jsonPatchOp")
    if len(operations) > OPERATIONS_LIMIT:
        text = f"The allowed maximum operations in a JSON patch is {OPERATIONS_LIMIT}, got {len(operations)}"
        raise ApiError(413, "RequestEntityTooLarge", f"Request entity too large: {text}")
    checked = [{} if operation is None else operation for operation in operations]
    for operation in checked:
        if not isinstance(operation, dict):
            raise _undecodable(f"{name_json_type(operation)} into Go value of type handlers.jsonPatchOp")
        for key in _TEXTS:
            value = operation.get(key)
            if value is not None and not isinstance(value, str):
                raise _undecodable(f"{name_json_type(value)} into Go struct field jsonPatchOp.{key} of type string")
    return checked


def _undecodable(what: str) -> ApiError:
    return status.bad_request(f"error decoding patch: json: cannot unmarshal {what}")


def _apply(operation: Object, document: Any) -> tuple[Any, int]:
    """The document after one operation, changed in place where it can be, and how many bytes a copy added."""
    path = operation.get("path")
    # A patch may be done again, so that what it brings must stay its own.
    value = copy_tree(operation.get("value"))
    if path is None:
        raise _CannotError
    match operation.get("op"):
        case "add":
            _find(document, path).add(value)
        case "remove":
            _find(document, path).remove()
        case "replace":
            if path == "":
                if not isinstance(value, dict | list):
                    raise _CannotError
                return value, 0
            _find(document, path).replace(value)
        case "test":
            _test(document, path, operation)
        case "move":
            source = _find(document, _from(operation))
            moved = source.get()
            source.remove()
            _find(document, path).add(moved)
        case "copy":
            copied = copy_tree(_find(document, _from(operation)).get())
            _find(document, path).add(copied)
            return document, len(msgspec.json.encode(copied))
        case _:
            raise _CannotError
    return document, 0


def _from(operation: Object) -> str:
    path = operation.get("from")
    if path is None:
        raise _CannotError
    return str(path)


def _test(document: Any, path: str, operation: Object) -> None:
    found = document if path == "" else _find(document, path).get()
    if not is_same(found, operation.get("value")):
        raise _CannotError


class _Member:
    """A member of an object, which need not be there."""

    def __init__(self, container: Object, key: str) -> None:
        self._container = container
        self._key = key

    def get(self) -> Any:
        return self._container.get(self._key)

    def add(self, value: Any) -> None:
        self._container[self._key] = value

    def replace(self, value: Any) -> None:
        self._container[self._key] = value

    def remove(self) -> None:
        if self._key not in self._container:
            raise _CannotError
        del self._container[self._key]


class _Item:
    """A place in a list; a negative one counts from the end, ``-`` is behind it."""

    def __init__(self, container: list[Any], key: str) -> None:
        self._container = container
        self._key = key

    def get(self) -> Any:
        return self._container[self._index(len(self._container))]

    def add(self, value: Any) -> None:
        size = len(self._container) + 1
        self._container.insert(size - 1 if self._key == "-" else self._index(size), value)

    def replace(self, value: Any) -> None:
        self._container[self._index(len(self._container))] = value

    def remove(self) -> None:
        del self._container[self._index(len(self._container))]

    def _index(self, size: int) -> int:
        digits = self._key.removeprefix("-")
        if not (digits.isascii() and digits.isdigit() and len(digits) < 10):
            raise _CannotError
        index = int(self._key)
        if not -size <= index < size:
            raise _CannotError
        return index + size if index < 0 else index


def _find(document: Any, path: str) -> _Member | _Item:
    """The place that a path names. Its containers must be there."""
    parts = [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")[1:]]
    if not parts:
        raise _CannotError
    return _at(_descend(document, parts[:-1]), parts[-1])


def _descend(document: Any, parts: Sequence[str]) -> Any:
    for part in parts:
        document = _at(document, part).get()
    return document


def _at(container: Any, key: str) -> _Member | _Item:
    if isinstance(container, dict):
        return _Member(container, key)
    if isinstance(container, list):
        return _Item(container, key)
    raise _CannotError
