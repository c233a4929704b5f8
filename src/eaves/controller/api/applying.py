"""Server-side apply over the store: creates what is missing, lays the configuration over what is there.

Merging and ownership are :mod:`eaves.kube.apply`'s; storing is the writer's, as for any other change.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from eaves.controller.api.bodies import decode_body
from eaves.controller.api.drafts import Warn, check_place, check_texts, drop_unknown
from eaves.controller.api.writeoptions import WriteOptions
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
    configuration, duplicates = await decode_body(body, decode.YAML, options)
    check_texts(configuration)
    check_configuration(resource, configuration)
    configuration["metadata"].setdefault("name", key.name)
    check_place(resource, configuration, key.namespace, key.name)
    if resource.has_status and subresource == MAIN:
        # It does not count here, so that what is wrong with it doesn't either.
        configuration.pop("status", None)
    # Templates leave such fields behind. Rules of a custom kind's own schema refuse null, as in other writes.
    _drop_nulls(configuration["metadata"] if resource.is_custom else configuration)
    _check_known(resource, key, configuration)
    known = drop_unknown(resource, configuration, options.validation, warn, duplicates=duplicates, is_patch=True)
    # Merging by schema needs the types that the schema says; what is missing may be in the object already.
    faults = [fault for fault in validate_schema(resource.schema, known) if fault.type is not CauseType.REQUIRED]
    if faults:
        raise status.invalid(resource.gvr.group, resource.kind, key.name, faults)
    return known


def _drop_nulls(value: Object) -> None:
    """A null says nothing: the field is the same as left out."""
    for name in [name for name, field in value.items() if field is None]:
        del value[name]
    for field in value.values():
        if isinstance(field, dict):
            _drop_nulls(field)


def _check_known(resource: Resource, key: Key, configuration: Object) -> None:
    if prune_unknown(resource.schema, configuration) is configuration:
        return
    faults = [f".{path}: field not declared in schema" for path in find_unknown(resource.schema, configuration)]
    group_version = resource.api_version if resource.gvr.group else f"/{resource.api_version}"
    what = f"{key.namespace}/{key.name}; {group_version}, Kind={resource.kind}"
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
        now = render_time(self._clock())
        obj = apply_configuration(resource, None, configuration, options.manager, now)
        return await self._writer.create(resource, key.namespace, obj, options, warn, is_owned=True)

    def _make_change(
        self, resource: Resource, configuration: Object, options: WriteOptions, subresource: str
    ) -> Change:
        version = configuration["metadata"].get("resourceVersion") or ""

        def make(current: Object) -> Object:
            meta = current["metadata"]
            if version and version != meta["resourceVersion"]:
                raise status.conflict(resource.gvr.group, resource.gvr.resource, meta["name"])
            return apply_configuration(
                resource,
                current,
                configuration,
                options.manager,
                render_time(self._clock()),
                force=options.force,
                subresource=subresource,
            )

        return Change(make, subresource, is_retried=not version, is_owned=True)
