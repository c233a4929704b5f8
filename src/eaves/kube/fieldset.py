"""Sets of field paths, and their ``FieldsV1`` form in ``managedFields``.

A set is a tree: each node has path elements that are members themselves and children below elements. Elements (structured-merge-diff's
PathElement): ``f:NAME`` a field, ``k:{"name":"x"}`` a keyed list's item, ``v:VALUE`` a set's item, ``i:N`` an index; ``.`` marks the
node itself as a member.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

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

    def has(self, path: Path) -> bool:
        node: FieldSet | None = self
        for element in path[:-1]:
            node = node.children.get(element) if node is not None else None
        return node is not None and bool(path) and path[-1] in node.members

    def paths(self, prefix: Path = ()) -> Iterator[Path]:
        """All members, parents before children, elements in FieldsV1 order."""
        for element in sorted(self.members | self.children.keys(), key=_sort_key):
            if element in self.members:
                yield (*prefix, element)
            if element in self.children:
                yield from self.children[element].paths((*prefix, element))

    def without_descendants(self, other: FieldSet) -> FieldSet:
        """Members that are neither in ``other`` nor below one of its members."""
        members = self.members - other.members
        children = {}
        for element, child in self.children.items():
            if element in other.members:
                continue
            children[element] = (
                child.without_descendants(other.children[element]) if element in other.children else child
            )
        return FieldSet(members, children)

    def leaves(self) -> FieldSet:
        """Members that have no member below them."""
        children = {element: child.leaves() for element, child in self.children.items()}
        return FieldSet(frozenset(m for m in self.members if not self.children.get(m)), children)


EMPTY = FieldSet()


def make_set(paths: Iterator[Path] | list[Path]) -> FieldSet:
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
    for key, value in document.items():
        if key == "." or key[:2] not in ("f:", "k:", "v:", "i:"):
            continue
        element = _normalise(key)
        below = value if isinstance(value, dict) else {}
        if not below or "." in below:
            members.add(element)
        if child := parse_fields(below):
            children[element] = child
    return FieldSet(frozenset(members), children)


def render_fields(fields: FieldSet) -> Object:
    """The ``fieldsV1`` document, elements sorted as a kube-apiserver writes them."""
    document: Object = {}
    for element in sorted(fields.members | fields.children.keys(), key=_sort_key):
        child = fields.children.get(element)
        if child is None:
            document[element] = {}
        else:
            own: Object = {".": {}} if element in fields.members else {}
            document[element] = {**own, **render_fields(child)}
    return document


def render_path(path: Path) -> str:
    """For people and causes: ``.spec.env[name="A"].value``."""
    text = ""
    for element in path:
        kind, rest = element[:2], element[2:]
        if kind == "f:":
            text += f".{rest}"
        elif kind == "k:":
            keys = json.loads(rest)
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
    return "k:" + _compact(dict(sorted(keys.items())))


def value_element(value: Any) -> str:
    return "v:" + _compact(value)


def _normalise(element: str) -> str:
    if element.startswith("k:"):
        try:
            return key_element(json.loads(element[2:]))
        except (ValueError, AttributeError):
            return element
    return element


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _sort_key(element: str) -> tuple[int, str]:
    # Fields, then keys, values, indexes: the order of structured-merge-diff's PathElement.
    return ("fkvi".index(element[0]), element)
