"""Values walked by their schema as server-side apply sees them: which paths a value has, what differs, what a merge gives.

The merge rules are those of structured-merge-diff: granular maps and structs merge by field, keyed lists by their keys, sets by value;
atomic lists and maps, scalars and values without a schema are replaced whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from eaves.kube.fieldset import EMPTY, FieldSet, field_element, key_element, value_element
from eaves.kube.schema import ANY, ListType, MapType, Schema
from eaves.kube.trees import is_same


def is_granular_map(schema: Schema) -> bool:
    if schema.map_type is MapType.ATOMIC:
        return False
    return (
        schema.type == "object" or bool(schema.properties) or schema.additional is not None or schema.preserve_unknown
    )


def is_granular_list(schema: Schema) -> bool:
    return schema.type == "array" and schema.list_type is not ListType.ATOMIC


def fields_of(schema: Schema, value: Any) -> FieldSet:
    """The paths that an applied configuration owns: leaves, items of keyed lists and sets, keys of maps, empty maps.

    A map or struct with content is not a member itself, an empty keyed list is none at all (structured-merge-diff, ToFieldSet).
    """
    members: set[str] = set()
    children: dict[str, FieldSet] = {}
    for element, child_schema, item in walk(schema, value):
        if not is_container(child_schema, item):
            members.add(element)
            continue
        if below := fields_of(child_schema, item):
            children[element] = below
        if element[0] == "k" or (element[0] == "f" and (item == {} or element[2:] not in schema.properties)):
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


class Difference(NamedTuple):
    """Paths added, changed and removed between two values; a container that comes or goes is a member beside its content."""

    added: FieldSet
    changed: FieldSet
    removed: FieldSet

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)


def compare(schema: Schema, old: Any, new: Any) -> Difference:
    """Compare two containers of one schema (structured-merge-diff, Compare)."""
    before = {element: (child, item) for element, child, item in walk(schema, old)}
    after = {element: (child, item) for element, child, item in walk(schema, new)}
    added, changed, removed = _Collector(), _Collector(), _Collector()
    for element, (child, item) in after.items():
        if element not in before:
            added.add_whole(element, child, item)
    for element, (child, item) in before.items():
        if element not in after:
            removed.add_whole(element, child, item)
            continue
        other = after[element][1]
        if is_same(item, other):
            continue
        if is_container(child, item) and is_container(child, other):
            below = compare(child, item, other)
            added.children[element], changed.children[element], removed.children[element] = below
        else:
            changed.members.add(element)
    return Difference(added.collect(), changed.collect(), removed.collect())


class _Collector:
    """Members and children of one set while a comparison runs."""

    def __init__(self) -> None:
        self.members: set[str] = set()
        self.children: dict[str, FieldSet] = {}

    def add_whole(self, element: str, schema: Schema, item: Any) -> None:
        self.members.add(element)
        if is_container(schema, item):
            self.children[element] = _all_of(schema, item)

    def collect(self) -> FieldSet:
        return FieldSet(frozenset(self.members), self.children)


def _all_of(schema: Schema, value: Any) -> FieldSet:
    """Every path of a value, containers included."""
    collector = _Collector()
    for element, child, item in walk(schema, value):
        collector.add_whole(element, child, item)
    return collector.collect()


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
    """Both lists interleaved: shared items in the order of ``applied``, the others where their own list has them.

    The walk is structured-merge-diff's, since two appliers see its outcome: live ABC with CAB gives CAB, then with DC gives DCAB.
    """
    child = schema.items or ANY
    have = {list_element(schema, item): item for item in live}
    want = {list_element(schema, item): item for item in applied}
    left, right = list(have), list(want)
    shared = iter([element for element in right if element in have])
    next_shared = next(shared, None)
    done: set[str] = set()
    result: list[Any] = []
    i = j = 0
    while i < len(left) or j < len(right):
        if (
            i < len(left)
            and j < len(right)
            and left[i] != right[j]
            and left[i] in want
            and next_shared not in (None, left[i])
        ):
            # Shared, but the applier wants another shared item first.
            i += 1
            continue
        if i < len(left) and not (j < len(right) and left[i] == right[j]):
            if left[i] not in want:
                result.append(have[left[i]])
                i += 1
                continue
            if left[i] in done:
                i += 1
                continue
        element = right[j]
        done.add(element)
        result.append(merge(child, have[element], want[element]) if element in have else want[element])
        if i < len(left) and left[i] == element:
            i += 1
        j += 1
        if element == next_shared:
            next_shared = next(shared, None)
    return result


def prune(schema: Schema, value: Any, dropped: FieldSet, owned: FieldSet) -> Any:
    """The value without what is in ``dropped`` and not in ``owned``; what goes takes along all below it.

    A struct's field counts as a member of a set that has something below it, so that a struct goes with its last owner.
    """
    if isinstance(value, list):
        child = schema.items or ANY
        pairs = ((item, list_element(schema, item)) for item in value)
        kept = (_prune_child(schema, child, element, item, dropped, owned) for item, element in pairs)
        return [item for item in kept if item is not _GONE]
    pruned = {}
    for key, item in value.items():
        left = _prune_child(schema, schema.child(key) or ANY, field_element(key), item, dropped, owned)
        if left is not _GONE:
            pruned[key] = left
    return pruned


_GONE = object()


def _prune_child(schema: Schema, child: Schema, element: str, item: Any, dropped: FieldSet, owned: FieldSet) -> Any:
    is_named = element[0] == "f" and element[2:] in schema.properties
    if _has(dropped, element, is_named) and not _has(owned, element, is_named):
        return _GONE
    below = dropped.children.get(element)
    if below is None or not is_container(child, item):
        return item
    return prune(child, item, below, owned.children.get(element, EMPTY))


def _has(fields: FieldSet, element: str, is_named: bool) -> bool:
    return element in fields.members or (is_named and element in fields.children)
