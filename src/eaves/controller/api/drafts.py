"""From what a client sent to what may be stored: unknown fields, defaults, validation. Pure.

Every write goes through here, in the same order as in a kube-apiserver: what the kind does not know is dropped (and told of), what
is absent is filled in, and only then is the whole checked.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from eaves.controller.api.writeoptions import FieldValidation
from eaves.kube import decode, metadata, status
from eaves.kube.errors import ApiError, CauseType, FieldError
from eaves.kube.go_types import LINE_BREAKS, find_wrong_type
from eaves.kube.resource import Object, Resource
from eaves.kube.schema import Schema, apply_defaults, find_unknown, prune_unknown, validate_schema

Warn = Callable[[str], None]
_TEXTS = ("name", "generateName", "namespace", "uid", "resourceVersion", "creationTimestamp")


def check_identity(resource: Resource, obj: Object, *, body: bytes = b"", is_patch: bool = False) -> None:
    """apiVersion and kind must be those of the path, which core kinds may leave out; types must be right. Fills them in.

    Of a custom kind only the metadata's types are looked at here: the rest is the schema's. ``body`` is where the object is from.
    Raises ApiError 400 for a body and 422 for a patched object; another kind than a custom one is 422 in both.
    """
    if obj.get("metadata") is None:
        obj["metadata"] = {}
    version, kind = obj.get("apiVersion") or "", obj.get("kind") or ""
    if resource.is_custom:
        if not kind:
            raise _bad_patch("Object 'Kind' is missing") if is_patch else decode.missing_kind(body, resource.kind)
        wrong = find_wrong_type(metadata.OBJECT_META, obj["metadata"], "ObjectMeta")
    else:
        wrong = find_wrong_type(resource.schema, obj, resource.kind)
    if wrong:
        cannot = f'{resource.kind} in version "{resource.gvr.version}" cannot be handled as a {resource.kind}'
        raise _bad_patch(wrong) if is_patch else status.bad_request(f"{cannot}: {wrong}")
    if resource.is_custom:
        _check_custom_identity(resource, version, kind, obj["metadata"].get("name") or "", is_patch=is_patch)
    elif version not in ("", resource.api_version) or kind not in ("", resource.kind):
        kind, version = kind or resource.kind, version or resource.api_version
        unknown = f'no kind "{kind}" is registered for version "{version}"'
        if is_patch:
            raise _bad_patch(unknown)
        said = f'{kind} in version "{str(version).rpartition("/")[2]}" cannot be handled as a {resource.kind}'
        raise status.bad_request(f"{said}: {unknown}")
    obj["apiVersion"], obj["kind"] = resource.api_version, resource.kind


def _check_custom_identity(resource: Resource, version: Any, kind: Any, name: str, *, is_patch: bool) -> None:
    if version != resource.api_version:
        if is_patch:
            fault = FieldError("apiVersion", CauseType.INVALID, f"must be {resource.api_version}", version)
            raise status.invalid("", resource.kind, name, [fault])
        raise status.bad_request(
            f"the API version in the data ({version}) does not match the expected API version ({resource.api_version})"
        )
    if kind != resource.kind:
        fault = FieldError("kind", CauseType.INVALID, f"must be {resource.kind}", kind)
        raise status.invalid(resource.gvr.group, str(kind), name, [fault])


def _bad_patch(why: str) -> ApiError:
    return status.invalid("", "", "", [FieldError("patch", CauseType.INVALID, why, "")])


def check_texts(obj: Object) -> None:
    """Makes sure that the metadata which is read before the schema is checked has the right types. Raises ApiError 400."""
    if obj.get("metadata") is None:
        obj["metadata"] = {}
    meta = obj["metadata"]
    if not isinstance(meta, dict):
        raise status.bad_request("metadata must be an object")
    for name in _TEXTS:
        if not isinstance(meta.get(name) or "", str):
            raise status.bad_request(f"metadata.{name} must be text")


def check_place(resource: Resource, obj: Object, namespace: str, name: str = "") -> None:
    """Name and namespace must be those of the path. Raises ApiError 400."""
    meta = obj["metadata"]
    given = meta.get("namespace") or ""
    if resource.namespaced and given and given != namespace:
        raise status.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    if name:
        check_named(meta, name)
    if name and meta["name"] != name:
        raise status.bad_request(f"the name of the object ({meta['name']}) does not match the name on the URL ({name})")


def check_named(meta: Object, name: str) -> None:
    """A changed object must say its name, though the path does too. Raises ApiError 400."""
    if not meta.get("name"):
        why = f"the name of the object ({name} based on URL) was undeterminable: name must be provided"
        raise status.bad_request(why)


def drop_unknown(
    resource: Resource,
    obj: Object,
    validation: FieldValidation,
    warn: Warn,
    *,
    remarks: Sequence[str] = (),
    is_patch: bool = False,
) -> Object:
    """The object without unknown fields; told of by warnings, or refused.

    Raises ApiError 400 (422 for patches) when strict.
    """
    pruned: Object = prune_unknown(resource.schema, obj)
    if validation is FieldValidation.IGNORE or (pruned is obj and not remarks):
        return pruned
    unknown = list(find_unknown(resource.schema, obj)) if pruned is not obj else []
    texts = [f'unknown field "{path}"' for path in (sorted(unknown) if resource.is_custom else unknown)]
    if resource.is_custom:
        texts = [*remarks, *texts]
    else:
        # What is in an unknown field is not looked at.
        inside = tuple(f'duplicate field "{path}.' for path in unknown)
        texts = [*texts, *(text for text in remarks if not text.startswith(inside))]
    if validation is FieldValidation.WARN:
        for text in texts:
            warn(text)
        return pruned
    message = f"strict decoding error: {', '.join(texts)}"
    if is_patch:
        raise _bad_patch(message)
    kind = f'{resource.kind} in version "{resource.gvr.version}" cannot be handled as a {resource.kind}'
    raise status.bad_request(f"{kind}: {message}")


def check_object(resource: Resource, new: Object, old: Object | None, warn: Warn) -> None:
    """Everything that can be known of one object. Fills in defaults, in place. Raises ApiError 422 with every fault."""
    name = new["metadata"].get("name") or ""
    _drop_empty(new["metadata"])
    if not resource.is_custom:
        _drop_empty_fields(new, resource.schema, resource.zero_fields)
    fill_nulls(resource, new)
    if twice := metadata.drop_repeated_owners(new["metadata"]):
        warn(
            ".metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, and may reject "
            f"such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {', '.join(twice)}"
        )
    apply_defaults(resource.schema, new)
    # Metadata have rules of their own.
    faults = [fault for fault in validate_schema(resource.schema, new) if not fault.path.startswith("metadata.")]
    if not resource.is_custom:
        # What is absent in kinds of Kubernetes is empty; whether it may be is said by their own rules.
        faults = [fault for fault in faults if fault.type is not CauseType.REQUIRED]
    if faults:
        # The kind's own rules rely on the types being right, those of metadata are known to be.
        raise status.invalid(resource.gvr.group, resource.kind, name, [*_check_metadata(resource, new, old), *faults])
    resource.default(new)
    faults = _check_metadata(resource, new, old)
    faults.extend(resource.validate(new, old))
    if faults:
        raise status.invalid(resource.gvr.group, resource.kind, name, faults)
    known = (old or {}).get("metadata", {}).get("finalizers") or ()
    for text in (*metadata.find_finalizer_warnings(new, known), *resource.warn(new)):
        warn(text)


def _check_metadata(resource: Resource, new: Object, old: Object | None) -> list[FieldError]:
    faults = list(metadata.check_metadata(resource, new))
    if old is not None:
        faults.extend(metadata.check_metadata_update(new, old))
        if resource.is_custom:
            # A kube-apiserver looks at the metadata of a changed custom object twice, besides at the form of finalizers.
            faults += [each for each in faults if (each.path, each.type) != ("metadata.finalizers", CauseType.INVALID)]
    return faults


def fill_nulls(resource: Resource, obj: Object, *, in_maps: bool = True) -> None:
    """What Kubernetes' own types make of values that they have in another form, in place: a null in a map of texts (``in_maps``) or in a
    list is the empty value, base64 has no breaks of lines.
    """
    if resource.is_custom:
        _fill_nulls(metadata.OBJECT_META, obj["metadata"], in_maps)
    else:
        _fill_nulls(resource.schema, obj, in_maps)


def _fill_nulls(schema: Schema, value: Object, in_maps: bool) -> None:
    is_texts = in_maps and schema.additional is not None and schema.additional.type == "string"
    is_base64 = schema.additional is not None and schema.additional.format == "byte"
    for key, item in value.items():
        if item is None and is_texts:
            value[key] = ""
        elif is_base64 and isinstance(item, str) and ("\n" in item or "\r" in item):
            value[key] = item.translate(LINE_BREAKS)
        elif isinstance(item, dict) and (child := schema.child(key)) is not None:
            _fill_nulls(child, item, in_maps)
        elif isinstance(item, list) and (child := schema.child(key)) is not None and child.items is not None:
            _fill_nulls_in_list(child.items, item, in_maps)


def _fill_nulls_in_list(schema: Schema, items: list[Any], in_maps: bool) -> None:
    for index, item in enumerate(items):
        if item is None and schema.type in _EMPTY:
            items[index] = _EMPTY[schema.type]()
        elif isinstance(item, dict):
            _fill_nulls(schema, item, in_maps)


_EMPTY: Mapping[str, Callable[[], Any]] = {
    "string": str,
    "object": dict,
    "array": list,
    "integer": int,
    "boolean": bool,
}


def _drop_empty(meta: Object) -> None:
    """Empty maps and lists of the metadata are the same as none, and are not kept."""
    for name in ("labels", "annotations", "finalizers", "ownerReferences"):
        if name in meta and not meta[name]:
            del meta[name]


def _drop_empty_fields(value: Object, schema: Schema, kept: Collection[str] = ()) -> None:
    """Kinds of Kubernetes itself keep no empty maps, lists, texts and numbers either, beside those ``kept``; a structure (``spec``) may be
    empty, and so may be what tells being empty from being absent.
    """
    for name in [name for name, field in value.items() if not field and field is not None and name not in kept]:
        child = schema.properties.get(name)
        if child is None or child.properties:
            continue
        if isinstance(value[name], dict | list) or not (child.optional or name in schema.required):
            del value[name]
    for name, field in value.items():
        child = schema.properties.get(name)
        if name != "metadata" and isinstance(field, dict) and child is not None and child.properties:
            _drop_empty_fields(field, child)
