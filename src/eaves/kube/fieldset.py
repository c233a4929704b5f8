"""Sets of field paths, and their ``FieldsV1`` form in ``managedFields``.

A set is a tree: each node has path elements that are members themselves and children below elements. Elements (structured-merge-diff's
PathElement): ``f:NAME`` a field, ``k:{"name":"x"}`` a keyed list's item, ``v:VALUE`` a set's item, ``i:N`` an index; ``.`` marks the
node itself as a member.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

import msgspec

from eaves.kube.resource import Object

Path = tuple[str, ...]
"""Elements in their FieldsV1 spelling."""


class FieldSet:
    """An immutable set of paths. The empty path is not a member of any set."""

    __slots__ = ("children", "members")

    def __init__(self, members: frozenset[str] = frozenset(), children: dict[str, FieldSet] | None = None) -> None:
        self.members = members
        self.children = {element: child for element, child in (children or {}).items() if child}

    def __bool__(self) -> bool:
        return bool(self.members or self.children)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FieldSet) and self.members == other.members and self.children == other.children

    __hash__ = None  # type: ignore[assignment] # compared and stored, never a key

    def __or__(self, other: FieldSet) -> FieldSet:
        if not other:
            return self
        if not self:
            return other
        children = dict(self.children)
        for element, child in other.children.items():
            children[element] = children[element] | child if element in children else child
        return FieldSet(self.members | other.members, children)

    def __sub__(self, other: FieldSet) -> FieldSet:
        if not other or not self:
            return self
        children = {
            element: child - other.children[element] if element in other.children else child
            for element, child in self.children.items()
        }
        return FieldSet(self.members - other.members, children)

    def __and__(self, other: FieldSet) -> FieldSet:
        children = {
            element: child & other.children[element]
            for element, child in self.children.items()
            if element in other.children
        }
        return FieldSet(self.members & other.members, children)

    def rename(self, names: Mapping[str, str]) -> FieldSet:
        """The set with other elements at the top: ``names`` gives those that change."""
        if not names:
            return self
        members = frozenset(names.get(element, element) for element in self.members)
        return FieldSet(members, {names.get(element, element): child for element, child in self.children.items()})

    def paths(self, prefix: Path = ()) -> Iterator[Path]:
        """All members: those of one node before what is below it, in the order in which a kube-apiserver tells conflicts."""
        for element in sort_elements(self.members):
            yield (*prefix, element)
        for element in sort_elements(self.children):
            yield from self.children[element].paths((*prefix, element))


EMPTY = FieldSet()


def make_set(paths: Iterable[Path]) -> FieldSet:
    """A set with the given members."""
    members: set[str] = set()
    below: dict[str, list[Path]] = {}
    for path in paths:
        if len(path) == 1:
            members.add(path[0])
        else:
            below.setdefault(path[0], []).append(path[1:])
    return FieldSet(frozenset(members), {element: make_set(rest) for element, rest in below.items()})


def parse_fields(document: Object) -> FieldSet:
    """``fieldsV1`` of a managedFields entry. A key that is no path element is ignored, as it names no field."""
    members: set[str] = set()
    children: dict[str, FieldSet] = {}
    for key, below in document.items():
        element = _parse_element(key)
        if element is None:
            continue
        if not below or not isinstance(below, dict):
            members.add(element)
            continue
        if "." in below:
            members.add(element)
        children[element] = parse_fields(below)
    return FieldSet(frozenset(members), children)


def render_fields(fields: FieldSet) -> Object:
    """The ``fieldsV1`` document, elements sorted as a kube-apiserver writes them."""
    document: Object = {}
    for element in sort_elements(fields.members | fields.children.keys()):
        child = fields.children.get(element)
        if child is None:
            document[element] = {}
        elif element in fields.members:
            document[element] = {".": {}, **render_fields(child)}
        else:
            document[element] = render_fields(child)
    return document


def render_path(path: Path) -> str:
    """For people and causes: ``.spec.env[name="A"].value``."""
    text = ""
    for element in path:
        kind, rest = element[:2], element[2:]
        if kind == "f:":
            text += f".{rest}"
        elif kind == "k:":
            keys = msgspec.json.decode(rest)
            text += "[" + ",".join(f"{name}={_compact(value)}" for name, value in keys.items()) + "]"
        elif kind == "v:":
            text += f"[={rest}]"
        else:
            text += f"[{rest}]"
    return text


def field_element(name: str) -> str:
    return f"f:{name}"


def key_element(keys: dict[str, Any]) -> str:
    """Element of a keyed list's item; key names sorted."""
    return "k:" + _compact(dict(sorted(keys.items())) if len(keys) > 1 else keys)


def value_element(value: Any) -> str:
    return "v:" + _compact(value)


def sort_elements(elements: Iterable[str]) -> list[str]:
    """Fields, then keys, values, indexes; numbers by size (structured-merge-diff, PathElement.Compare)."""
    return sorted(elements, key=_sort_key)


@lru_cache(maxsize=8192)
def _parse_element(key: str) -> str | None:
    """An element in the one spelling that this module uses, since clients may write keys in another. None = no element."""
    kind, rest = key[:2], key[2:]
    if kind == "f:":
        return key
    if kind not in ("k:", "v:", "i:"):
        return None
    try:
        value = msgspec.json.decode(rest)
    except msgspec.DecodeError:
        return None
    if kind == "k:":
        return key_element(value) if isinstance(value, dict) else None
    if kind == "v:":
        return value_element(value)
    return key if isinstance(value, int) else None


@lru_cache(maxsize=8192)
def _sort_key(element: str) -> tuple[Any, ...]:
    kind, rest = element[:2], element[2:]
    if kind == "f:":
        return (0, rest)
    value = msgspec.json.decode(rest)
    if kind == "k:":
        return (1, *((name, _rank(item)) for name, item in value.items()))
    return (2 if kind == "v:" else 3, _rank(value))


def _rank(value: Any) -> tuple[int, Any]:
    """Numbers before text before booleans before the rest."""
    if isinstance(value, bool):
        return (2, value)
    if isinstance(value, int | float):
        return (0, value)
    return (1, value) if isinstance(value, str) else (3, _compact(value))


def _compact(value: Any) -> str:
    return msgspec.json.encode(value).decode()
