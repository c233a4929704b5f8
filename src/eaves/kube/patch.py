"""JSON patch (RFC 6902), JSON merge patch (RFC 7386) and Kubernetes' strategic merge patch, as pure functions.

Each takes the current object and gives a new one; the current one is never changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jsonpatch
import jsonpointer
import msgspec

from eaves.kube import status, strategic
from eaves.kube.errors import ApiError
from eaves.kube.resource import Object, Resource
from eaves.kube.trees import copy_tree

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
OPERATIONS_LIMIT = 10_000
COPY_LIMIT_BYTES = 3 * 1024 * 1024


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
        raise status.bad_request("error decoding patch: the patch is not an object")
    elif patch_type == MERGE_PATCH:
        patched = apply_merge_patch(patch, copy_tree(current))
    else:
        patched = strategic.apply_strategic_patch(resource.schema, patch, current)
    if not isinstance(patched, dict):
        raise status.bad_request("the patched document is not an object")
    return patched


def apply_json_patch(operations: Any, current: Object) -> Any:
    """Raises ApiError: 413 for too many operations, 422 for one that cannot be done, 400 for what is no list of operations."""
    if not isinstance(operations, list) or not all(isinstance(operation, dict) for operation in operations):
        raise status.bad_request("error decoding patch: a JSON patch is a list of operations")
    if len(operations) > OPERATIONS_LIMIT:
        text = f"The allowed maximum operations in a JSON patch is {OPERATIONS_LIMIT}, got {len(operations)}"
        raise ApiError(413, "RequestEntityTooLarge", text)
    try:
        _check_copies(operations, current)
        return jsonpatch.JsonPatch(operations).apply(current)
    except _FAILURES as error:
        text = f"the server rejected our request due to an error in our request{_find_failure(operations, current)}"
        raise ApiError(422, "Invalid", text, details={}) from error


_FAILURES = (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException, TypeError)


def _find_failure(operations: list[Object], current: Object) -> str:
    """Which operation cannot be done. The library's own words would show what the object holds, which may be a secret."""
    document: Any = copy_tree(current)
    for index, operation in enumerate(operations):
        try:
            document = jsonpatch.JsonPatch([operation]).apply(document, in_place=True)
        except _FAILURES:
            what = " ".join(str(operation[key]) for key in ("op", "path") if key in operation)
            return f": operation {index} ({what}) cannot be done"
    return ""


def _check_copies(operations: list[Object], current: Object) -> None:
    """A short patch must not grow an object without bound: each copy may double it. Sizes are counted from above."""
    copies = sum(1 for operation in operations if operation.get("op") == "copy")
    if copies == 0:
        return
    size = len(msgspec.json.encode(current)) + len(msgspec.json.encode(operations))
    if size << min(copies, 40) > COPY_LIMIT_BYTES:
        document = copy_tree(current)
        for operation in operations:
            document = jsonpatch.JsonPatch([operation]).apply(document, in_place=True)
            if operation.get("op") == "copy":
                _check_size(document)


def _check_size(document: Any) -> None:
    if len(msgspec.json.encode(document)) > COPY_LIMIT_BYTES:
        text = (
            f"Unable to complete the copy, the accumulated size increase of copy operations exceeds {COPY_LIMIT_BYTES}"
        )
        raise ApiError(413, "RequestEntityTooLarge", text)


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
