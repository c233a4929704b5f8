"""Server-side apply over the store: creates what is missing, lays the configuration over what is there.

Merging and ownership are :mod:`eaves.kube.apply`'s; storing is the writer's, as for any other change.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from eaves.controller.api.bodies import decode_body
from eaves.controller.api.drafts import Warn, check_named, check_place, check_texts, drop_unknown, fill_nulls
from eaves.controller.api.writeoptions import FieldValidation, WriteOptions
from eaves.controller.api.writing import ATTEMPTS, MAIN, Change, Writer
from eaves.kinds.times import render_time
from eaves.kube import decode, status
from eaves.kube.apply import apply_configuration, check_configuration
from eaves.kube.errors import ApiError, CauseType, FieldError
from eaves.kube.resource import Object, Resource
from eaves.kube.schema import find_unknown, prune_unknown, validate_schema
from eaves.store.abc import Key, ObjectStore, StoredObject


async def load_configuration(
    resource: Resource, key: Key, body: bytes, options: WriteOptions, warn: Warn, subresource: str = MAIN
) -> Object:
    """The configuration of an apply request. Raises ApiError 400 (for unknown fields too, as nobody could own them), 422."""
    if not options.is_manager_given:
        fault = FieldError("fieldManager", CauseType.REQUIRED, "is required for apply patch")
        raise status.invalid("meta.k8s.io", "PatchOptions", "", [fault])
    configuration, remarks = await _decode(body, options)
    check_texts(configuration)
    check_configuration(resource, configuration)
    # What is there has its name already.
    check_place(resource, configuration, key.namespace, key.name if configuration["metadata"].get("name") else "")
    if resource.has_status and subresource == MAIN:
        # It does not count here, so that what is wrong with it doesn't either.
        configuration.pop("status", None)
    # A null in a map is another value than an empty text until it is known who owns it.
    fill_nulls(resource, configuration, in_maps=False)
    _check_known(resource, key, configuration)
    known = drop_unknown(resource, configuration, options.validation, warn, remarks=remarks, is_patch=True)
    # Merging by schema needs the types that the schema says; what is missing may be in the object already.
    # Whether values are good is asked of the whole, after conflicts.
    faults = [fault for fault in validate_schema(resource.schema, known) if _is_wrong_type(fault)]
    if faults:
        raise status.invalid(resource.gvr.group, resource.kind, key.name, faults)
    return known


async def _decode(body: bytes, options: WriteOptions) -> tuple[Object, list[str]]:
    """Raises ApiError 400, for duplicate keys too when they are asked to be refused."""
    try:
        configuration, remarks = await decode_body(body, decode.YAML, options)
    except ApiError as error:
        if error.message.startswith("yaml:"):
            raise status.bad_request(f"error encoding patch: {error.message}") from error
        said = error.message.partition("json parse error: ")[2].partition(" into Go value")[0]
        where = "error decoding patch: error unmarshaling JSON: while decoding JSON"
        raise status.bad_request(f"{where}: {said} into Go value of type map[string]interface {{}}") from error
    if remarks and options.validation is FieldValidation.STRICT:
        where = "error strict decoding patch: error converting YAML to JSON: yaml: unmarshal errors"
        raise status.bad_request("\n  ".join([f"{where}:", *remarks]))
    return configuration, remarks


def _is_wrong_type(fault: FieldError) -> bool:
    """A null is judged with the whole, which may have a better value."""
    return fault.type is CauseType.TYPE_INVALID and fault.value != "null"


def _check_nulls(resource: Resource, configuration: Object, merged: Object) -> None:
    """A null that stays where none may stand is refused in fields of a custom kind, though other writes leave such a field out.

    Metadata and kinds of Kubernetes itself do without. Raises ApiError 422.
    """
    if not resource.is_custom or not _has_null(configuration):
        return
    faults = [fault for fault in validate_schema(resource.schema, merged) if fault.value == "null"]
    faults = [fault for fault in faults if not fault.path.startswith("metadata.")]
    if faults:
        raise status.invalid(resource.gvr.group, resource.kind, merged["metadata"]["name"], faults)


def _has_null(value: Object) -> bool:
    return any(field is None or (isinstance(field, dict) and _has_null(field)) for field in value.values())


def _check_known(resource: Resource, key: Key, configuration: Object) -> None:
    if prune_unknown(resource.schema, configuration) is configuration:
        return
    faults = [f".{path}: field not declared in schema" for path in find_unknown(resource.schema, configuration)]
    group_version = resource.api_version if resource.gvr.group else f"/{resource.api_version}"
    # The namespace is what the configuration says of it, as in the words of a kube-apiserver.
    namespace = configuration["metadata"].get("namespace") or ""
    what = f"{namespace}/{key.name}; {group_version}, Kind={resource.kind}"
    listed = faults[0] if len(faults) == 1 else "errors:\n  " + "\n  ".join(faults)
    raise status.bad_request(f"failed to create typed patch object ({what}): {listed}")


class Applier:
    """Applies configurations to stored kinds."""

    def __init__(self, store: ObjectStore, writer: Writer, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._writer = writer
        self._clock = clock

    async def apply(
        self,
        resource: Resource,
        key: Key,
        configuration: Object,
        options: WriteOptions,
        warn: Warn,
        subresource: str = MAIN,
    ) -> tuple[StoredObject, bool]:
        """The object and whether it was created. Raises ApiError 404 (of a subresource), 409 for conflicts, 422."""
        change = self._make_change(resource, configuration, options, subresource)
        for _ in range(ATTEMPTS):
            if await self._store.get(key) is None and subresource == MAIN:
                try:
                    return await self._create(resource, key, configuration, options, warn), True
                except ApiError as error:
                    if error.reason != "AlreadyExists":
                        raise
                    continue
            try:
                return await self._writer.change(resource, key, change, options, warn), False
            except ApiError as error:
                if error.reason != "NotFound" or subresource != MAIN:
                    raise
        raise status.conflict(resource.gvr.group, resource.gvr.resource, key.name)

    async def _create(
        self, resource: Resource, key: Key, configuration: Object, options: WriteOptions, warn: Warn
    ) -> StoredObject:
        if uid := configuration["metadata"].get("uid"):
            why = f"uid mismatch: the provided object specified uid {uid}, and no existing object was found"
            raise status.conflict(resource.gvr.group, resource.gvr.resource, key.name, why)
        check_named(configuration["metadata"], key.name)
        now = render_time(self._clock())
        obj = apply_configuration(resource, None, configuration, options.manager, now)
        _check_nulls(resource, configuration, obj)
        return await self._writer.create(resource, key.namespace, obj, options, warn, is_owned=True, is_named=True)

    def _make_change(
        self, resource: Resource, configuration: Object, options: WriteOptions, subresource: str
    ) -> Change:
        version = configuration["metadata"].get("resourceVersion") or ""

        def make(current: Object) -> Object:
            meta = current["metadata"]
            if version and version != meta["resourceVersion"]:
                raise status.conflict(resource.gvr.group, resource.gvr.resource, meta["name"])
            merged = apply_configuration(
                resource,
                current,
                configuration,
                options.manager,
                render_time(self._clock()),
                force=options.force,
                subresource=subresource,
            )
            _check_nulls(resource, configuration, merged)
            return merged

        return Change(make, subresource, is_retried=not version, is_owned=True)
