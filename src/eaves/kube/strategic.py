"""Strategic merge patch: a merge patch that knows from the schema which lists merge, and by which key.

Directives (Kubernetes' api-machinery document "strategic merge patch"): ``$patch: replace|delete|merge``, ``$deleteFromPrimitiveList/F``,
``$setElementOrder/F``, ``$retainKeys``. kubectl sends it for the kinds whose Go types it knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eaves.kube import status
from eaves.kube.resource import Object
from eaves.kube.schema import ANY, Schema
from eaves.kube.trees import copy_tree

_DIRECTIVE = "$patch"
_RETAIN = "$retainKeys"
_ORDER = "$setElementOrder/"
_DELETE = "$deleteFromPrimitiveList/"


def apply_strategic_patch(schema: Schema, patch: Mapping[str, Any], current: Object) -> Object:
    """The patched object; ``current`` stays as it is. Raises ApiError 400 for a directive that makes no sense."""
    return _merge_map(schema, patch, copy_tree(current))


def _merge_map(schema: Schema, patch: Mapping[str, Any], current: Any) -> Object:
    directive = patch.get(_DIRECTIVE)
    if directive == "replace":
        return {key: _strip(value) for key, value in patch.items() if key != _DIRECTIVE}
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise status.bad_request(f"invalid value for {_DIRECTIVE}: {directive!r}")
    merged: Object = dict(current) if isinstance(current, dict) else {}
    if _RETAIN in patch:
        merged = _retain(merged, patch)
    for key, value in patch.items():
        if key in (_DIRECTIVE, _RETAIN) or key.startswith((_ORDER, _DELETE)):
            continue
        child = schema.child(key) or ANY
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            replaces = "replace" in child.patch_strategy.split(",")
            merged[key] = _merge_map(child, value, {} if replaces else merged.get(key))
        elif isinstance(value, list):
            merged[key] = _merge_list(child, value, merged.get(key), patch.get(_ORDER + key))
        else:
            merged[key] = value
    _apply_primitive_deletes(patch, merged)
    _apply_orders(schema, patch, merged)
    return merged


def _retain(merged: Object, patch: Mapping[str, Any]) -> Object:
    kept = patch[_RETAIN]
    if not isinstance(kept, list):
        raise status.bad_request(f"invalid value for {_RETAIN}: a list of keys is expected")
    given = {key for key, value in patch.items() if value is not None and not key.startswith("$")}
    if not given <= set(kept):
        raise status.bad_request(f"{_RETAIN} directive must contain every key that the patch sets")
    return {key: value for key, value in merged.items() if key in kept}


def _merge_list(schema: Schema, patch: list[Any], current: Any, order: Any) -> list[Any]:
    if not isinstance(current, list):
        current = []
    if "merge" not in schema.patch_strategy.split(","):
        return _strip_list(patch)
    key = schema.patch_merge_key
    if not key:
        fresh = list(dict.fromkeys(item for item in patch if item not in current))
        merged, given = current + fresh, patch
    else:
        if any(isinstance(item, dict) and item.get(_DIRECTIVE) == "replace" and key not in item for item in patch):
            return [
                _strip(item)
                for item in patch
                if not (isinstance(item, dict) and _DIRECTIVE in item and key not in item)
            ]
        merged, given = _merge_keyed(schema, patch, current)
    wanted = given if order is None else _check_order(order, given, key)
    return _arrange(merged, [_identify(item, key) for item in wanted], [_identify(item, key) for item in current], key)


def _merge_keyed(schema: Schema, patch: list[Any], current: list[Any]) -> tuple[list[Any], list[Any]]:
    """All items after the merge, and those of the patch that stay. What is to be deleted goes first: the patch may put it there anew."""
    key = schema.patch_merge_key
    if any(not isinstance(item, dict) or key not in item for item in patch):
        raise status.bad_request(f"a list item of the patch does not contain declared merge key: {key}")
    gone = [item[key] for item in patch if item.get(_DIRECTIVE) == "delete"]
    given = [item for item in patch if item.get(_DIRECTIVE) != "delete"]
    merged = [item for item in current if _identify(item, key) not in gone]
    for item in given:
        index = next(
            (i for i, have in enumerate(merged) if isinstance(have, dict) and have.get(key) == item[key]), None
        )
        if index is None:
            merged.append(_merge_map(schema.items or ANY, item, {}))
        else:
            merged[index] = _merge_map(schema.items or ANY, item, merged[index])
    return merged, given


def _check_order(order: Any, given: list[Any], key: str) -> list[Any]:
    if not isinstance(order, list):
        raise status.bad_request(f"{_ORDER}: a list is expected")
    listed = [_identify(item, key) for item in order]
    if any(_identify(item, key) not in listed for item in given):
        raise status.bad_request("The order in patch list doesn't match $setElementOrder list")
    return order


def _identify(item: Any, key: str) -> Any:
    return item.get(key) if key and isinstance(item, dict) else item


def _arrange(items: list[Any], wanted: list[Any], before: list[Any], key: str) -> list[Any]:
    """Items of ``wanted`` in that order; each other item before the first wanted one that it stood before in the live list."""
    named = sorted((i for i in items if _identify(i, key) in wanted), key=lambda i: wanted.index(_identify(i, key)))
    others = [item for item in items if _identify(item, key) not in wanted]
    result: list[Any] = []
    while named or others:
        if named and others:
            mine, theirs = _identify(named[0], key), _identify(others[0], key)
            is_before = mine in before and theirs in before and before.index(theirs) < before.index(mine)
            result.append(others.pop(0) if is_before else named.pop(0))
        else:
            result.append((named or others).pop(0))
    return result


def _apply_primitive_deletes(patch: Mapping[str, Any], merged: Object) -> None:
    for directive, values in patch.items():
        if directive.startswith(_DELETE):
            key = directive.removeprefix(_DELETE)
            if not isinstance(values, list):
                raise status.bad_request(f"{directive} expects a list")
            if isinstance(merged.get(key), list):
                merged[key] = [item for item in merged[key] if item not in values]


def _apply_orders(schema: Schema, patch: Mapping[str, Any], merged: Object) -> None:
    """Orders of lists that the patch does not change otherwise."""
    for directive, order in patch.items():
        key = directive.removeprefix(_ORDER)
        items = merged.get(key)
        if key == directive or key in patch or not isinstance(items, list):
            continue
        name = (schema.child(key) or ANY).patch_merge_key
        wanted = [_identify(item, name) for item in _check_order(order, [], name)]
        merged[key] = _arrange(items, wanted, [_identify(item, name) for item in items], name)


def _strip(value: Any) -> Any:
    """A value that replaces another carries no directives."""
    if isinstance(value, dict):
        return {key: _strip(item) for key, item in value.items() if not key.startswith("$")}
    if isinstance(value, list):
        return _strip_list(value)
    return value


def _strip_list(items: list[Any]) -> list[Any]:
    """Without items that are directives: those to delete, and the one that says that the list is replaced."""
    return [
        _strip(item)
        for item in items
        if not (isinstance(item, dict) and (item.get(_DIRECTIVE) == "delete" or item == {_DIRECTIVE: "replace"}))
    ]
