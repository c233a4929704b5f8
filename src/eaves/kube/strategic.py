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

_DIRECTIVE = "$patch"
_RETAIN = "$retainKeys"
_ORDER = "$setElementOrder/"
_DELETE = "$deleteFromPrimitiveList/"


def apply_strategic_patch(schema: Schema, patch: Mapping[str, Any], current: Object) -> Object:
    """The patched object; ``current`` stays as it is. Raises ApiError 400 for a directive that makes no sense."""
    return _merge_map(schema, patch, current)


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
            merged[key] = _merge_map(child, value, merged.get(key))
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
        return [_strip(item) for item in patch]
    if not schema.patch_merge_key:
        return current + [item for item in patch if item not in current]
    return _merge_keyed(schema, patch, current, order)


def _merge_keyed(schema: Schema, patch: list[Any], current: list[Any], order: Any) -> list[Any]:
    key = schema.patch_merge_key
    if any(isinstance(item, dict) and item.get(_DIRECTIVE) == "replace" and key not in item for item in patch):
        return [
            _strip(item) for item in patch if not (isinstance(item, dict) and _DIRECTIVE in item and key not in item)
        ]
    merged = list(current)
    fresh: list[Any] = []
    for item in patch:
        if not isinstance(item, dict) or key not in item:
            raise status.bad_request(f"map: {item} does not contain declared merge key: {key}")
        index = next(
            (i for i, have in enumerate(merged) if isinstance(have, dict) and have.get(key) == item[key]), None
        )
        if item.get(_DIRECTIVE) == "delete":
            if index is not None:
                del merged[index]
        elif index is None:
            fresh.append(_merge_map(schema.items or ANY, {k: v for k, v in item.items() if k != _DIRECTIVE}, {}))
        else:
            merged[index] = _merge_map(schema.items or ANY, item, merged[index])
    # New items come first, as a kube-apiserver puts them when the patch sets no order.
    return merged + fresh if isinstance(order, list) else fresh + merged


def _apply_primitive_deletes(patch: Mapping[str, Any], merged: Object) -> None:
    for directive, values in patch.items():
        if directive.startswith(_DELETE):
            key = directive.removeprefix(_DELETE)
            if not isinstance(values, list):
                raise status.bad_request(f"{directive} expects a list")
            if isinstance(merged.get(key), list):
                merged[key] = [item for item in merged[key] if item not in values]


def _apply_orders(schema: Schema, patch: Mapping[str, Any], merged: Object) -> None:
    for directive, order in patch.items():
        if not directive.startswith(_ORDER):
            continue
        key = directive.removeprefix(_ORDER)
        child = schema.child(key) or ANY
        items = merged.get(key)
        if not isinstance(order, list) or not isinstance(items, list):
            continue
        name = child.patch_merge_key
        wanted = [entry.get(name) if isinstance(entry, dict) and name else entry for entry in order]
        identities = [item.get(name) if isinstance(item, dict) and name else item for item in items]
        merged[key] = _order(items, identities, wanted)


def _order(items: list[Any], identities: list[Any], wanted: list[Any]) -> list[Any]:
    """Listed items in the wanted order; an item that the patch's author did not know keeps its place after its predecessor."""
    slots: list[list[Any]] = [[]]
    listed: dict[int, list[Any]] = {}
    for item, identity in zip(items, identities, strict=True):
        if identity in wanted:
            slots.append([item])
            listed[wanted.index(identity)] = slots[-1]
        else:
            slots[-1].append(item)
    return slots[0] + [item for index in sorted(listed) for item in listed[index]]


def _strip(value: Any) -> Any:
    """A value that replaces another carries no directives."""
    if isinstance(value, dict):
        return {key: _strip(item) for key, item in value.items() if not key.startswith("$")}
    if isinstance(value, list):
        return [_strip(item) for item in value if not (isinstance(item, dict) and item.get(_DIRECTIVE) == "delete")]
    return value
