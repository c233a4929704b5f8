"""Reads the bodies of creates, updates and patches into objects and changes. Knows HTTP on one side and no store on the other."""

from __future__ import annotations

from typing import Any

from eaves.controller.api.drafts import check_identity, check_place
from eaves.controller.api.http import Request
from eaves.controller.api.writeoptions import FieldValidation, WriteOptions
from eaves.controller.api.writing import MAIN, Change
from eaves.kube import decode, patch, status
from eaves.kube.errors import CauseType, FieldError
from eaves.kube.resource import Object, Resource


async def load_object(request: Request, resource: Resource, options: WriteOptions) -> tuple[Object, list[str]]:
    """The object of a create or update, with the identity and place of its path, and its duplicate keys.

    Raises ApiError 400, 413, 415.
    """
    body = await request.body()
    find_duplicates = options.validation is not FieldValidation.IGNORE
    obj, duplicates = decode.decode_object(body, request.header(b"content-type"), find_duplicates=find_duplicates)
    target = request.target
    assert target is not None
    check_identity(resource, obj)
    check_place(resource, obj, target.namespace, target.name)
    return obj, duplicates


def make_update(resource: Resource, obj: Object, duplicates: list[str], subresource: str = MAIN) -> Change:
    """PUT: the body replaces what is there, if it is the version that the body names."""
    version = obj["metadata"].get("resourceVersion") or ""

    def make(current: Object) -> Object:
        if not version and resource.is_custom:
            # Here and not before, as a missing object is the greater fault.
            fault = FieldError("metadata.resourceVersion", CauseType.INVALID, "must be specified for an update", 0)
            raise status.invalid(resource.gvr.group, resource.gvr.resource, current["metadata"]["name"], [fault])
        _check_version(resource, current, version)
        return {**obj, "metadata": dict(obj["metadata"])}

    return Change(make, subresource, is_retried=not version, is_patch=False, duplicates=duplicates)


def make_patch(resource: Resource, body: bytes, content_type: str, subresource: str = MAIN) -> Change:
    """A JSON, merge or strategic merge patch. Server-side apply is made elsewhere. Raises ApiError 400, 415."""
    kind = decode.media_type(content_type)
    if kind not in patch.accepted_types(resource):
        raise status.unsupported_media_type(kind, patch.accepted_types(resource))
    value = decode.decode_json(body)
    version = _named_version(kind, value)

    def make(current: Object) -> Object:
        _check_version(resource, current, version)
        new = patch.apply_patch(resource, kind, value, current)
        check_identity(resource, new)
        return new

    return Change(make, subresource, is_retried=not version)


def is_apply(request: Request) -> bool:
    return decode.media_type(request.header(b"content-type")) == patch.APPLY_PATCH


def _named_version(kind: str, value: Any) -> str:
    """The version a merging patch says it is made for: then it is an optimistic lock."""
    if kind == patch.JSON_PATCH or not isinstance(value, dict):
        return ""
    metadata = value.get("metadata")
    version = metadata.get("resourceVersion") if isinstance(metadata, dict) else None
    return version if isinstance(version, str) else ""


def _check_version(resource: Resource, current: Object, version: str) -> None:
    meta = current["metadata"]
    if version and version != meta["resourceVersion"]:
        raise status.conflict(resource.gvr.group, resource.gvr.resource, meta["name"])
