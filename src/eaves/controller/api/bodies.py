"""Reads the bodies of creates, updates and patches into objects and changes. Knows HTTP on one side and no store on the other."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from eaves.controller.api.drafts import check_identity, check_named, check_place
from eaves.controller.api.http import Request
from eaves.controller.api.writeoptions import FieldValidation, WriteOptions
from eaves.controller.api.writing import MAIN, Change
from eaves.kube import decode, json_patch, patch, status
from eaves.kube.errors import ApiError, CauseType, FieldError
from eaves.kube.resource import Object, Resource

THREAD_FROM_BYTES = 64 * 1024


async def load_object(request: Request, resource: Resource, options: WriteOptions) -> tuple[Object, list[str]]:
    """The object of a create or update, with the identity and place of its path, and remarks on duplicate keys.

    Raises ApiError 400, 413, 415.
    """
    body = await request.body()
    obj, remarks = await decode_body(body, request.header(b"content-type"), options, resource.kind)
    target = request.target
    assert target is not None
    check_identity(resource, obj, body=body)
    check_place(resource, obj, target.namespace, target.name)
    return obj, remarks


async def decode_body(
    body: bytes, content_type: str, options: WriteOptions, wanted: str = ""
) -> tuple[Object, list[str]]:
    """The object of a body, and remarks on its duplicate keys unless they are ignored. Raises ApiError 400, 415.

    YAML is JSON most of the time, as kubectl writes it, and that is read a hundred times faster. A large body is read in a thread:
    a megabyte of YAML takes most of a second.
    """
    find_duplicates = options.validation is not FieldValidation.IGNORE
    if decode.media_type(content_type) == decode.YAML and body.lstrip().startswith(b"{"):
        # Flow style that is no JSON is read as YAML after all, and so are duplicate keys, which YAML tells of by their lines.
        with contextlib.suppress(ApiError):
            obj, remarks = decode.decode_object(body, decode.JSON, find_duplicates=find_duplicates)
            if not remarks:
                return obj, []
    if len(body) < THREAD_FROM_BYTES:
        return decode.decode_object(body, content_type, find_duplicates=find_duplicates, wanted=wanted)
    return await asyncio.to_thread(
        decode.decode_object, body, content_type, find_duplicates=find_duplicates, wanted=wanted
    )


def make_update(resource: Resource, obj: Object, remarks: list[str], subresource: str = MAIN) -> Change:
    """PUT: the body replaces what is there, if it is the version that the body names."""
    version = obj["metadata"].get("resourceVersion") or ""

    def make(current: Object) -> Object:
        # Here and not before, as a missing object is the greater fault.
        _check_versioned(resource, obj, current)
        _check_version(resource, current, version)
        return {**obj, "metadata": dict(obj["metadata"])}

    return Change(make, subresource, is_retried=not version, is_patch=False, remarks=remarks)


def make_patch(
    resource: Resource, body: bytes, content_type: str, options: WriteOptions, subresource: str = MAIN
) -> Change:
    """A JSON, merge or strategic merge patch. Server-side apply is made elsewhere. Raises ApiError 400, 415."""
    kind = decode.media_type(content_type)
    if kind not in patch.accepted_types(resource):
        raise status.unsupported_media_type(kind, patch.accepted_types(resource))
    value = decode.decode_patch(body)
    remarks = [] if options.validation is FieldValidation.IGNORE else _find_remarks(kind, body, value)

    def make(current: Object) -> Object:
        new = patch.apply_patch(resource, kind, value, current)
        if kind == patch.STRATEGIC_PATCH:
            # It is read as a patch of the kind of its path, whatever kind it says.
            new["apiVersion"], new["kind"] = resource.api_version, resource.kind
        check_identity(resource, new, is_patch=True)
        check_named(new["metadata"], current["metadata"]["name"])
        _check_versioned(resource, new, current)
        # One that a patch of any type leaves as it is, is the current one; another is an optimistic lock.
        _check_version(resource, current, new["metadata"].get("resourceVersion") or "")
        return new

    return Change(make, subresource, remarks=remarks)


def _find_remarks(kind: str, body: bytes, value: Any) -> list[str]:
    """What a patch says twice, or in vain."""
    remarks = [f'duplicate field "{path}"' for path in decode.find_duplicates_json(body)]
    if kind != patch.JSON_PATCH:
        return remarks
    remarks.extend(f'unknown field "{path}"' for path in json_patch.find_unknown_keys(value))
    return [f"json patch {remark}" for remark in remarks]


def is_apply(request: Request) -> bool:
    return decode.media_type(request.header(b"content-type")) == patch.APPLY_PATCH


def _check_versioned(resource: Resource, new: Object, current: Object) -> None:
    """Objects of some kinds are never replaced without saying which version. Raises ApiError 422."""
    if (resource.is_custom or resource.needs_version) and not new["metadata"].get("resourceVersion"):
        fault = FieldError("metadata.resourceVersion", CauseType.INVALID, "must be specified for an update", 0)
        raise status.invalid(resource.gvr.group, resource.gvr.resource, current["metadata"]["name"], [fault])


def _check_version(resource: Resource, current: Object, version: str) -> None:
    meta = current["metadata"]
    if version and version != meta["resourceVersion"]:
        raise status.conflict(resource.gvr.group, resource.gvr.resource, meta["name"])
