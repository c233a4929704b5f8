"""Patches by their types: JSON patch, JSON merge patch (RFC 7386) and Kubernetes' strategic merge patch, as pure functions.

Each takes the current object and gives a new one; the current one is never changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eaves.kube import status, strategic
from eaves.kube.go_types import name_json_type
from eaves.kube.json_patch import apply_json_patch
from eaves.kube.resource import Object, Resource
from eaves.kube.trees import copy_tree

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"


def accepted_types(resource: Resource) -> list[str]:
    """Patch types of a kind; kubectl reads them from the 415 answer and chooses another."""
    if resource.is_custom:
        return [JSON_PATCH, MERGE_PATCH, APPLY_PATCH]
    return [JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY_PATCH]


def apply_patch(resource: Resource, patch_type: str, patch: Any, current: Object) -> Object:
    """The patched object. ``patch`` is decoded JSON. Raises ApiError 400, 413, 415 or 422."""
    if patch_type not in accepted_types(resource):
        raise status.unsupported_media_type(patch_type, accepted_types(resource))
    if patch_type == JSON_PATCH:
        patched = apply_json_patch(patch, current)
    elif not isinstance(patch, dict):
        raise status.bad_request(_say_no_object(patch))
    elif patch_type == MERGE_PATCH:
        patched = apply_merge_patch(patch, copy_tree(current))
    else:
        patched = strategic.apply_strategic_patch(resource.schema, patch, current)
    if not isinstance(patched, dict):
        raise status.bad_request("the patched document is not an object")
    return patched


def apply_merge_patch(patch: Mapping[str, Any], current: Any) -> Object:
    """RFC 7386: null removes, objects merge, everything else replaces."""
    merged: Object = dict(current) if isinstance(current, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            merged[key] = apply_merge_patch(value, merged.get(key))
        else:
            merged[key] = value
    return merged


def _say_no_object(patch: Any) -> str:
    if patch is None:
        return "Invalid JSON Patch"
    return f"error decoding patch: json: cannot unmarshal {name_json_type(patch)} into Go value of type map[string]interface {{}}"
