"""Deletes objects, or begins to: finalizers hold an object until those who put them there agree.

What depends on a deleted object is the garbage collector's business; it is told by the two finalizers that the propagation
policies stand for.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
from msgspec import Struct

from eaves.controller.api.admission import Admission
from eaves.controller.api.backends import StoreBackend
from eaves.controller.api.listoptions import ListOptions
from eaves.controller.api.reading import Reader
from eaves.controller.api.routing import Query, is_true
from eaves.controller.api.writeoptions import is_dry_run
from eaves.controller.api.writing import ATTEMPTS, unsaved
from eaves.controller.deletion import POLICIES, is_released, mark_deleted, save_update
from eaves.controller.documents import decode_object
from eaves.kinds.times import render_time
from eaves.kube import decode, status
from eaves.kube.errors import CauseType, FieldError
from eaves.kube.resource import Object, Resource
from eaves.store.abc import Key, ObjectStore, StoredObject
from eaves.store.errors import ConflictError


class Preconditions(Struct, frozen=True, rename="camel"):
    """Which object exactly is meant."""

    uid: str | None = None
    resource_version: str | None = None


class DeleteOptions(Struct, frozen=True, rename="camel"):
    """The body of a delete."""

    api_version: str = ""
    kind: str = ""
    grace_period_seconds: int | None = None
    preconditions: Preconditions | None = None
    orphan_dependents: bool | None = None
    propagation_policy: str | None = None
    dry_run: tuple[str, ...] | None = None
    ignore_store_read_error_with_cluster_breaking_potential: bool | None = None


class Deleted(Struct, frozen=True):
    """The outcome. ``is_gone`` False: finalizers hold the object, which is as it is here."""

    stored: StoredObject
    is_gone: bool


def parse_delete_options(body: bytes, content_type: str, query: Query) -> DeleteOptions:
    """Options from the body, with those of the query. Raises ApiError 400, 422."""
    options = DeleteOptions()
    if body.strip():
        obj, _ = decode.decode_object(body, content_type)
        try:
            options = msgspec.convert(obj, DeleteOptions)
        except msgspec.ValidationError as error:
            raise status.bad_request(f"the body is no DeleteOptions: {error}") from error
        if options.kind not in ("", "DeleteOptions"):
            raise status.bad_request(f"the body is a {options.kind} and should be DeleteOptions")
    changes: Object = {}
    if "propagationPolicy" in query:
        changes["propagation_policy"] = query["propagationPolicy"]
    if "gracePeriodSeconds" in query:
        changes["grace_period_seconds"] = _parse_grace(query["gracePeriodSeconds"])
    if "orphanDependents" in query:
        changes["orphan_dependents"] = is_true(query, "orphanDependents")
    if is_dry_run("DeleteOptions", query):
        changes["dry_run"] = ("All",)
    options = msgspec.structs.replace(options, **changes)
    _check(options)
    return options


def _check(options: DeleteOptions) -> None:
    faults = []
    policy = options.propagation_policy
    if policy is not None and policy not in POLICIES:
        detail = 'supported values: "Foreground", "Background", "Orphan", "nil"'
        faults.append(FieldError("propagationPolicy", CauseType.NOT_SUPPORTED, detail, policy))
    if options.orphan_dependents is not None and policy is not None:
        detail = "orphanDependents and deletionPropagation cannot be both set"
        faults.append(FieldError("propagationPolicy", CauseType.INVALID, detail, policy))
    if options.dry_run and options.dry_run != ("All",):
        faults.append(FieldError("dryRun", CauseType.NOT_SUPPORTED, 'supported values: "All"', list(options.dry_run)))
    if faults:
        raise status.invalid("meta.k8s.io", "DeleteOptions", "", faults)


def _parse_grace(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise status.bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax') from error


class Deleter:
    """Delete and deletecollection of stored kinds."""

    def __init__(
        self,
        store: ObjectStore,
        admission: Admission,
        reader: Reader,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._admission = admission
        self._reader = reader
        self._clock = clock

    async def delete(self, resource: Resource, key: Key, options: DeleteOptions) -> Deleted:
        """Raises ApiError 403, 404, 409."""
        gvr = resource.gvr
        for _ in range(ATTEMPTS):
            current = await self._store.get(key)
            if current is None:
                raise status.not_found(gvr.group, gvr.resource, key.name)
            try:
                return await self._delete(resource, current, options)
            except ConflictError:
                continue
        raise status.conflict(gvr.group, gvr.resource, key.name)

    async def delete_collection(
        self, resource: Resource, namespace: str | None, listing: ListOptions, options: DeleteOptions
    ) -> list[StoredObject]:
        """Delete what a list finds; answers it. Objects that go away by themselves meanwhile are fine."""
        found = await self._reader.find(StoreBackend(resource, self._store), namespace, listing)
        for stored in found.items:
            current: StoredObject | None = stored
            while current is not None:
                try:
                    await self._delete(resource, current, options)
                    break
                except ConflictError:
                    current = await self._store.get(stored.key)
        return list(found.items)

    async def _delete(self, resource: Resource, current: StoredObject, options: DeleteOptions) -> Deleted:
        obj = decode_object(current)
        _check_preconditions(resource, obj, options.preconditions)
        self._admission.check_delete(resource, obj)
        marked = mark_deleted(resource, obj, render_time(self._clock()), _policy(options))
        is_gone = is_released(resource, marked)
        if marked == obj and not is_gone:
            return Deleted(current, is_gone)
        if options.dry_run:
            return Deleted(current if is_gone else unsaved(current.key, marked, current.revision, resource), is_gone)
        return Deleted(await save_update(self._store, resource, current, marked), is_gone)


def _policy(options: DeleteOptions) -> str | None:
    if options.propagation_policy is not None or options.orphan_dependents is None:
        return options.propagation_policy
    return "Orphan" if options.orphan_dependents else "Background"


def _check_preconditions(resource: Resource, obj: Object, preconditions: Preconditions | None) -> None:
    if preconditions is None:
        return
    meta, gvr = obj["metadata"], resource.gvr
    wanted = preconditions.uid
    if wanted is not None and wanted != meta["uid"]:
        why = (
            f"the UID in the precondition ({wanted}) does not match the UID in record ({meta['uid']}). "
            "The object might have been deleted and then recreated"
        )
        raise status.conflict(gvr.group, resource.kind, meta["name"], why)
    wanted = preconditions.resource_version
    if wanted is not None and wanted != meta["resourceVersion"]:
        why = (
            f"the ResourceVersion in the precondition ({wanted}) does not match the ResourceVersion in record "
            f"({meta['resourceVersion']}). The object might have been modified"
        )
        raise status.conflict(gvr.group, resource.kind, meta["name"], why)
