"""Values walked by their schema as server-side apply sees them: which paths a value has, what differs, what a merge gives.

The merge rules are those of structured-merge-diff: granular maps and structs merge by field, keyed lists by their keys, sets by value;
atomic lists and maps, scalars and values without a schema are replaced whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from eaves.kube import status
from eaves.kube.fieldset import EMPTY, FieldSet, Path, field_element, key_element, make_set, render_path, value_element
from eaves.kube.schema import ANY, ListType, MapType, Schema
from eaves.kube.trees import is_same

_CONTAINERS = (dict, list)


def is_granular_map(schema: Schema) -> bool:
    if schema.map_type is MapType.ATOMIC:
        return False
    return (
        schema.type == "object" or bool(schema.properties) or schema.additional is not None or schema.preserve_unknown
    )


def is_granular_list(schema: Schema) -> bool:
    return schema.type == "array" and schema.list_type is not ListType.ATOMIC


def fields_of(schema: Schema, value: Any, path: Path = ()) -> FieldSet:
    """The paths that an applied configuration owns: leaves, items of keyed lists and sets, keys of maps, empty maps.

    A map or struct with content is not a member itself, an empty keyed list is none at all (structured-merge-diff, ToFieldSet).
    Raises ApiError 400 for two items with one key: it is unclear what such a configuration wants.
    """
    members: set[str] = set()
    children: dict[str, FieldSet] = {}
    seen: set[str] = set()
    for element, child_schema, item in walk(schema, value):
        if element in seen:
            raise status.bad_request(f"{render_path(path)}: duplicate entries for key {render_path((element,))}")
        seen.add(element)
        if not is_container(child_schema, item):
            members.add(element)
            continue
        if below := fields_of(child_schema, item, (*path, element)):
            children[element] = below
        if element[0] != "f" or item == {} or element[2:] not in schema.properties:
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


_NO_DIFFERENCE = Difference(EMPTY, EMPTY, EMPTY)


def compare(schema: Schema, old: Any, new: Any) -> Difference:
    """Compare two containers of one schema (structured-merge-diff, Compare). What both share by identity costs nothing."""
    if old is new:
        return _NO_DIFFERENCE
    added, changed, removed = _Collector(), _Collector(), _Collector()
    before, after = _index(schema, old), _index(schema, new)
    for key, item in before.items():
        if key not in after:
            removed.add_whole(_element(old, key), _child(schema, old, key), item)
            continue
        other = after[key]
        if other is item:
            continue
        child = _child(schema, old, key)
        if type(item) is type(other) and is_container(child, item):
            below = compare(child, item, other)
            if below is not _NO_DIFFERENCE:
                element = _element(old, key)
                added.children[element], changed.children[element], removed.children[element] = below
        elif not is_same(item, other):
            element = _element(old, key)
            changed.members.add(element)
            # Where a schema leaves the type open, a container may turn into something else.
            removed.add_content(element, child, item)
            added.add_content(element, child, other)
    for key, item in after.items():
        if key not in before:
            added.add_whole(_element(new, key), _child(schema, new, key), item)
    if not (added or changed or removed):
        return _NO_DIFFERENCE
    return Difference(added.collect(), changed.collect(), removed.collect())


def _index(schema: Schema, container: Any) -> dict[str, Any]:
    """Children by key: a map's own keys, as most need no element; a list's elements."""
    if isinstance(container, dict):
        return container
    return {list_element(schema, item): item for item in container}


def _element(container: Any, key: str) -> str:
    return field_element(key) if isinstance(container, dict) else key


def _child(schema: Schema, container: Any, key: str) -> Schema:
    return (schema.child(key) if isinstance(container, dict) else schema.items) or ANY


class _Collector:
    """Members and children of one set while a comparison runs."""

    def __init__(self) -> None:
        self.members: set[str] = set()
        self.children: dict[str, FieldSet] = {}

    def __bool__(self) -> bool:
        return bool(self.members or self.children)

    def add_whole(self, element: str, schema: Schema, item: Any) -> None:
        self.members.add(element)
        self.add_content(element, schema, item)

    def add_content(self, element: str, schema: Schema, item: Any) -> None:
        if is_container(schema, item):
            self.children[element] = _all_of(schema, item)

    def collect(self) -> FieldSet:
        return FieldSet(frozenset(self.members), self.children)


def _all_of(schema: Schema, value: Any) -> FieldSet:
    """Every path of a value, containers included."""
    # Every create walks its whole object here, so this does what walk and _Collector would do, without a call for each leaf.
    members: set[str] = set()
    children: dict[str, FieldSet] = {}
    if isinstance(value, dict):
        for key, item in value.items():
            element = field_element(key)
            members.add(element)
            if isinstance(item, _CONTAINERS):
                child = schema.child(key) or ANY
                if is_container(child, item):
                    children[element] = _all_of(child, item)
    else:
        child = schema.items or ANY
        for item in value:
            element = list_element(schema, item)
            members.add(element)
            if is_container(child, item):
                children[element] = _all_of(child, item)
    return FieldSet(frozenset(members), children)


def merge(schema: Schema, live: Any, applied: Any) -> Any:
    """``applied`` laid over ``live``: what both have comes from ``applied``, what only one has stays.

    Every part that stays as it was is the very object of ``live``, which makes comparing the two cheap.
    """
    if isinstance(live, dict) and is_granular_map(schema):
        return _merge_map(schema, live, applied) if isinstance(applied, dict) else _replace(live, applied)
    if isinstance(live, list) and is_granular_list(schema):
        return _merge_list(schema, live, applied) if isinstance(applied, list) else _replace(live, applied)
    return live if is_same(live, applied) else applied


def _replace(live: Any, applied: Any) -> Any:
    # Null over a container that merges takes nothing away; another type is for validation to refuse.
    return live if applied is None else applied


def _merge_map(schema: Schema, live: dict[str, Any], applied: dict[str, Any]) -> dict[str, Any]:
    merged = live
    for key, item in applied.items():
        if key in live:
            have = live[key]
            item = merge(schema.child(key) or ANY, have, item)
            if item is have:
                continue
        if merged is live:
            merged = dict(live)
        merged[key] = item
    return merged


def _merge_list(schema: Schema, live: list[Any], applied: list[Any]) -> list[Any]:
    """Both lists interleaved: shared items in the order of ``applied``, the others where their own list has them.

    The walk gives what structured-merge-diff gives, since two appliers see its outcome: live ABC with CAB gives CAB, then with DC
    gives DCAB.
    """
    child = schema.items or ANY
    have = {list_element(schema, item): item for item in live}
    want = {list_element(schema, item): item for item in applied}
    merged = {element: merge(child, have[element], item) if element in have else item for element, item in want.items()}
    left, right = list(have), list(want)
    shared = [element for element in right if element in have]
    order: list[str] = []
    i = j = done = 0
    while i < len(left) and j < len(right):
        mine, theirs = left[i], right[j]
        if mine not in want:
            order.append(mine)
            i += 1
            continue
        if mine != theirs and mine != shared[done]:
            # Shared, but the applier has another shared item first: this one comes where the applier has it.
            i += 1
            continue
        order.append(theirs)
        j += 1
        i += mine == theirs
        done += theirs in have
    order.extend(element for element in left[i:] if element not in want)
    order.extend(right[j:])
    result = [merged[element] if element in merged else have[element] for element in order]
    if len(result) == len(live) and all(one is other for one, other in zip(result, live, strict=True)):
        return live
    return result


_GONE, _EMPTIED = object(), object()


def prune(schema: Schema, value: Any, dropped: FieldSet, owned: FieldSet) -> tuple[Any, FieldSet]:
    """The value without what is in ``dropped`` and not in ``owned``, and the containers that went as they were emptied.

    What goes takes along all below it.

    A struct's field counts as a member of a set that has something below it, so that a struct goes with its last owner. A container
    that loses its last content goes too, but not the one around it (structured-merge-diff leaves a null there, which is then absent).
    """
    emptied: list[Path] = []
    pruned = _prune(schema, value, dropped, owned, (), emptied)
    return type(value)() if pruned is _EMPTIED else pruned, make_set(emptied)


def _prune(schema: Schema, value: Any, dropped: FieldSet, owned: FieldSet, path: Path, emptied: list[Path]) -> Any:
    is_map = isinstance(value, dict)
    kept: list[tuple[str, Any]] = []
    has_emptied = False
    for element, child, item in walk(schema, value):
        left = _prune_child(schema, child, (*path, element), item, dropped, owned, emptied)
        if left is _EMPTIED:
            has_emptied = True
            emptied.append((*path, element))
        elif left is not _GONE:
            kept.append((element, left))
    if not kept and value and not has_emptied:
        return _EMPTIED
    return {element[2:]: item for element, item in kept} if is_map else [item for _, item in kept]


def _prune_child(
    schema: Schema, child: Schema, path: Path, item: Any, dropped: FieldSet, owned: FieldSet, emptied: list[Path]
) -> Any:
    element = path[-1]
    is_named = element[0] == "f" and element[2:] in schema.properties
    if _has(dropped, element, is_named) and not _has(owned, element, is_named):
        return _GONE
    below = dropped.children.get(element)
    if below is None or not is_container(child, item):
        return item
    return _prune(child, item, below, owned.children.get(element, EMPTY), path, emptied)


def _has(fields: FieldSet, element: str, is_named: bool) -> bool:
    return element in fields.members or (is_named and element in fields.children)
