"""Values walked by their schema as server-side apply sees them: which paths a value has, what differs, what a merge gives.

The merge rules are those of structured-merge-diff: granular maps and structs merge by field, keyed lists by their keys, sets by value;
atomic lists and maps, scalars and values without a schema are replaced whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from eaves.kube.fieldset import FieldSet, field_element, key_element, value_element
from eaves.kube.schema import ANY, ListType, MapType, Schema


def is_granular_map(schema: Schema) -> bool:
    if schema.map_type is MapType.ATOMIC:
        return False
    return (
        schema.type == "object" or bool(schema.properties) or schema.additional is not None or schema.preserve_unknown
    )


def is_granular_list(schema: Schema) -> bool:
    return schema.type == "array" and schema.list_type is not ListType.ATOMIC


def fields_of(schema: Schema, value: Mapping[str, Any]) -> FieldSet:
    """All paths of a value: every leaf, empty containers, and each item of keyed lists and sets."""
    return _fields(schema, value)


def _fields(schema: Schema, value: Any) -> FieldSet:
    members: set[str] = set()
    children: dict[str, FieldSet] = {}
    for element, child_schema, item in walk(schema, value):
        below = _fields(child_schema, item) if is_container(child_schema, item) else FieldSet()
        if below:
            children[element] = below
        if not below or element[0] in "kv":
            members.add(element)
    return FieldSet(frozenset(members), children)


def is_container(schema: Schema, value: Any) -> bool:
    """Whether fields of the value are owned one by one."""
    if isinstance(value, dict):
        return is_granular_map(schema)
    return isinstance(value, list) and is_granular_list(schema)


def walk(schema: Schema, value: Any) -> Iterator[tuple[str, Schema, Any]]:
    """(element, schema, item) of each direct child of a granular container."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield field_element(key), schema.child(key) or ANY, item
    elif isinstance(value, list):
        child = schema.items or ANY
        for item in value:
            yield list_element(schema, item), child, item


def list_element(schema: Schema, item: Any) -> str:
    """Element of an item of a keyed list or set."""
    if schema.list_type is ListType.MAP and isinstance(item, dict):
        child = schema.items or ANY
        keys = {}
        for name in schema.list_map_keys:
            known = child.properties.get(name)
            default = known.default if known is not None else None
            if (got := item.get(name, default)) is not None:
                keys[name] = got
        return key_element(keys)
    return value_element(item)


class Difference:
    """What changed between two values: paths added, changed and removed (leaves and list items)."""

    __slots__ = ("added", "changed", "removed")

    def __init__(self, added: FieldSet, changed: FieldSet, removed: FieldSet) -> None:
        self.added = added
        self.changed = changed
        self.removed = removed

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)


def compare(schema: Schema, old: Any, new: Any) -> Difference:
    """Compare two values of one schema."""
    if old is new or old == new:
        return _SAME
    before = {element: (child, item) for element, child, item in walk(schema, old)}
    after = {element: (child, item) for element, child, item in walk(schema, new)}
    parts = _Parts()
    for element, (child, item) in after.items():
        if element not in before:
            parts.add("added", element, child, item)
    for element, (child, item) in before.items():
        if element not in after:
            parts.add("removed", element, child, item)
            continue
        other = after[element][1]
        if item == other and type(item) is type(other):
            continue
        if is_container(child, item) and is_container(child, other):
            parts.descend(element, compare(child, item, other), item, other)
        else:
            parts.replace(element, child, item, other)
    return parts.difference()


class _Parts:
    """Members and children of three sets while a comparison runs."""

    def __init__(self) -> None:
        self.members: dict[str, set[str]] = {"added": set(), "changed": set(), "removed": set()}
        self.children: dict[str, dict[str, FieldSet]] = {"added": {}, "changed": {}, "removed": {}}

    def add(self, which: str, element: str, schema: Schema, item: Any) -> None:
        below = _fields(schema, item) if is_container(schema, item) else FieldSet()
        if below:
            self.children[which][element] = below
        if not below or element[0] in "kv":
            self.members[which].add(element)

    def replace(self, element: str, schema: Schema, old: Any, new: Any) -> None:
        """A leaf became another leaf, or a leaf and a container changed places."""
        if is_container(schema, old):
            self.add("removed", element, schema, old)
        if is_container(schema, new):
            self.add("added", element, schema, new)
        if not is_container(schema, new):
            self.members["changed"].add(element)

    def descend(self, element: str, below: Difference, old: Any, new: Any) -> None:
        for which, fields in (("added", below.added), ("changed", below.changed), ("removed", below.removed)):
            if fields:
                self.children[which][element] = fields
        # An empty container is a member itself; one that fills or empties changes membership.
        if element[0] == "f" and not old and new:
            self.members["removed"].add(element)
        if element[0] == "f" and old and not new:
            self.members["added"].add(element)

    def difference(self) -> Difference:
        sets = {which: FieldSet(frozenset(self.members[which]), self.children[which]) for which in self.members}
        return Difference(sets["added"], sets["changed"], sets["removed"])


_SAME = Difference(FieldSet(), FieldSet(), FieldSet())


def merge(schema: Schema, live: Any, applied: Any) -> Any:
    """``applied`` laid over ``live``: what both have comes from ``applied``, what only one has stays."""
    if isinstance(live, dict) and isinstance(applied, dict) and is_granular_map(schema):
        merged = dict(live)
        for key, item in applied.items():
            merged[key] = merge(schema.child(key) or ANY, live[key], item) if key in live else item
        return merged
    if isinstance(live, list) and isinstance(applied, list) and is_granular_list(schema):
        return _merge_list(schema, live, applied)
    return applied


def _merge_list(schema: Schema, live: list[Any], applied: list[Any]) -> list[Any]:
    """Items of ``applied`` in its order; items that only ``live`` has keep their place relative to their neighbours."""
    child = schema.items or ANY
    have = {list_element(schema, item): item for item in live}
    want = {list_element(schema, item): item for item in applied}
    merged = {e: merge(child, have[e], item) if e in have else item for e, item in want.items()}
    result: list[Any] = []
    rest = list(want)
    for element, item in have.items():
        if element not in want:
            result.append(item)
            continue
        # Everything that the applier puts before this shared item comes now, so that both orders hold where they can.
        if element in rest:
            end = rest.index(element) + 1
            result.extend(merged[e] for e in rest[:end])
            rest = rest[end:]
    result.extend(merged[e] for e in rest)
    return result


def remove(schema: Schema, value: Any, fields: FieldSet) -> Any:
    """The value without the given members; a container that a removal leaves empty stays empty unless it is a member itself."""
    if isinstance(value, dict):
        kept: dict[str, Any] = {}
        for key, item in value.items():
            element = field_element(key)
            if element in fields.members:
                continue
            below = fields.children.get(element)
            kept[key] = item if below is None else remove(schema.child(key) or ANY, item, below)
        return kept
    if isinstance(value, list) and is_granular_list(schema):
        child = schema.items or ANY
        items = []
        for item in value:
            element = list_element(schema, item)
            if element in fields.members:
                continue
            below = fields.children.get(element)
            items.append(item if below is None else remove(child, item, below))
        return items
    return value
