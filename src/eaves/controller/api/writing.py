"""Stores what clients write: create, and change of what is there, for any kind that is stored.

A change is a function from the current object to the new one, so that it can be tried again when another writer was faster; update
and the patches are such functions. Everything between (unknown fields, defaults, validation, admission, field ownership,
generation) is the same for all of them and is here.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec import Struct

from eaves.controller.api.admission import Admission
from eaves.controller.api.drafts import Warn, check_object, drop_unknown
from eaves.controller.api.identity import Identity
from eaves.controller.api.namespaces import NamespaceGate
from eaves.controller.api.writeoptions import WriteOptions
from eaves.controller.deletion import save_update
from eaves.controller.documents import decode_given, encode_document, join_document, key_of
from eaves.kinds.times import render_time
from eaves.kube import managed, metadata, status
from eaves.kube.errors import ApiError
from eaves.kube.resource import Object, Resource
from eaves.store.abc import Check, Key, ObjectStore, Put, StoredObject
from eaves.store.errors import ConflictError

ATTEMPTS = 20
"""How often a write is tried again when others are faster, before the client is asked to."""
NAME_ATTEMPTS = 8
MAIN, STATUS, FINALIZE = "", "status", "finalize"


class Change(Struct, frozen=True):
    """A change of an existing object.

    ``make`` gets a fresh copy of the current object and answers the new one; it raises ApiError for what it refuses.
    ``is_retried`` False makes a write that came in between a conflict for the client: it said which version it means.
    """

    make: Callable[[Object], Object]
    subresource: str = MAIN
    is_retried: bool = True
    is_patch: bool = True
    remarks: Sequence[str] = ()
    is_owned: bool = False
    """Whether ``make`` has already settled who owns which field (server-side apply does)."""


class Guard(Protocol):
    """Says whether somebody may write an object as it is; asked last, of objects that are valid."""

    async def check(
        self, identity: Identity, resource: Resource, new: Object, old: Object | None, *, is_named: bool = True
    ) -> None:
        """``is_named``: the request's path has the object's name. Raises ApiError 403."""
        ...


class Writer:
    """Create and change."""

    def __init__(
        self,
        store: ObjectStore,
        admission: Admission,
        namespaces: NamespaceGate,
        clock: Callable[[], float] = time.time,
        guard: Guard | None = None,
    ) -> None:
        self._store = store
        self._guard = guard
        self._admission = admission
        self._namespaces = namespaces
        self._clock = clock

    async def create(
        self,
        resource: Resource,
        namespace: str,
        obj: Object,
        options: WriteOptions,
        warn: Warn,
        *,
        remarks: Sequence[str] = (),
        is_owned: bool = False,
        is_named: bool = False,
    ) -> StoredObject:
        """Store a new object. ``obj`` has the identity of its path, which names it when ``is_named``: such requests change what is there,
        and make it by the right to create alone. Raises ApiError 400, 403, 404, 409, 422.
        """
        generated = not obj["metadata"].get("name") and obj["metadata"].get("generateName")
        for attempt in range(NAME_ATTEMPTS):
            try:
                return await self._create(resource, namespace, dict(obj), options, warn, remarks, is_owned, is_named)
            except _NameTakenError as error:
                if not generated or attempt == NAME_ATTEMPTS - 1:
                    raise await self._taken(resource, key_of(resource, namespace, error.name)) from error
        raise AssertionError("the loop above returns or raises")

    async def _taken(self, resource: Resource, key: Key) -> ApiError:
        there, gvr = await self._store.get(key), resource.gvr
        is_going = there is not None and "deletionTimestamp" in decode_given(resource, there)["metadata"]
        return status.already_exists(gvr.group, gvr.resource, key.name, is_going=is_going)

    async def _create(
        self,
        resource: Resource,
        namespace: str,
        obj: Object,
        options: WriteOptions,
        warn: Warn,
        remarks: Sequence[str],
        is_owned: bool,
        is_named: bool,
    ) -> StoredObject:
        now = self._clock()
        obj["metadata"] = dict(obj["metadata"])
        if _is_version(obj["metadata"].get("resourceVersion")) and not is_named:
            raise status.bad_request("resourceVersion should not be set on objects to be created")
        new = drop_unknown(resource, obj, options.validation, warn, remarks=remarks)
        metadata.start_object(resource, new, namespace=namespace, uid=str(uuid.uuid4()), now=render_time(now))
        guards = await self._namespaces.check(resource, namespace, new["metadata"].get("name") or "")
        check_object(resource, new, None, warn)
        key = key_of(resource, namespace, new["metadata"]["name"])
        async with self._admission.turn(resource, new):
            await self._admission.fill(resource, new, None)
            await self._admission.check(resource, new, None)
            if self._guard is not None:
                await self._guard.check(options.identity, resource, new, None, is_named=is_named)
            if not is_owned:
                managed.track_create(resource, new, options.manager, render_time(now))
            new = managed.without_zeros(resource, new)
            document = encode_document(resource, new)
            if options.dry_run:
                if await self._store.get(key) is not None:
                    raise _NameTakenError(key.name)
                return unsaved(key, new, 0, resource)
            return await self._commit_new(resource, Put(key, document, 0), guards)

    async def _commit_new(self, resource: Resource, put: Put, guards: Sequence[Check]) -> StoredObject:
        while True:
            try:
                written = await self._store.commit([*guards, put])
            except ConflictError as error:
                if error.key == put.key:
                    raise _NameTakenError(put.key.name) from error
                # The namespace changed since it was looked at: it may be on its way out, or have a new label only.
                guards = await self._namespaces.check(resource, put.key.namespace, put.key.name)
                continue
            return written[-1]

    async def put(
        self,
        resource: Resource,
        key: Key,
        obj: Object,
        change: Change,
        options: WriteOptions,
        warn: Warn,
    ) -> tuple[StoredObject, bool]:
        """Change what is there by ``change``, or make ``obj`` of what is not; and whether it was made. Raises as both do."""
        for _ in range(ATTEMPTS):
            if await self._store.get(key) is not None:
                try:
                    return await self.change(resource, key, change, options, warn), False
                except ApiError as error:
                    # Something else may be missing, as the role of a binding.
                    if error.reason != "NotFound" or await self._store.get(key) is not None:
                        raise
                    continue
            if uid := obj["metadata"].get("uid"):
                why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: "
                raise status.conflict(resource.gvr.group, resource.gvr.resource, key.name, why)
            try:
                made = await self.create(
                    resource, key.namespace, obj, options, warn, remarks=change.remarks, is_named=True
                )
            except ApiError as error:
                if error.reason != "AlreadyExists":
                    raise
                continue
            return made, True
        raise status.conflict(resource.gvr.group, resource.gvr.resource, key.name)

    async def change(
        self, resource: Resource, key: Key, change: Change, options: WriteOptions, warn: Warn
    ) -> StoredObject:
        """Change what is there. Raises ApiError 404, 409, 422 and what ``change.make`` raises."""
        for _ in range(ATTEMPTS):
            current = await self._store.get(key)
            if current is None:
                raise status.not_found(resource.gvr.group, resource.gvr.resource, key.name)
            try:
                return await self._change(resource, current, change, options, warn)
            except ConflictError:
                if not change.is_retried:
                    break
        raise status.conflict(resource.gvr.group, resource.gvr.resource, key.name)

    async def _change(
        self, resource: Resource, current: StoredObject, change: Change, options: WriteOptions, warn: Warn
    ) -> StoredObject:
        old = decode_given(resource, current)
        given = change.make(decode_given(resource, current))
        new = self._settle(resource, given, old, change, options, warn)
        async with self._admission.turn(resource, new):
            if change.subresource == MAIN:
                await self._admission.fill(resource, new, old)
                await self._admission.check(resource, new, old)
                if self._guard is not None:
                    await self._guard.check(options.identity, resource, new, old)
            if not change.is_owned:
                now = render_time(self._clock())
                managed.track_update(resource, new, old, options.manager, now, change.subresource)
            new = managed.without_zeros(resource, new)
            new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
            if _is_same(new, old):
                return current
            if options.dry_run:
                return unsaved(current.key, new, current.revision, resource)
            return await save_update(self._store, resource, current, new)

    def _settle(
        self, resource: Resource, given: Object, old: Object, change: Change, options: WriteOptions, warn: Warn
    ) -> Object:
        """The new object, complete and valid; what its part of the object must not touch is as it was."""
        check_same(resource, given, old, change)
        new = drop_unknown(resource, given, options.validation, warn, remarks=change.remarks, is_patch=change.is_patch)
        if change.subresource == STATUS:
            new = metadata.keep_main_fields(resource, new, old)
            check_object(resource, new, old, warn)
            return new
        if resource.has_status and "status" in old:
            new["status"] = old["status"]
        check_object(resource, new, old, warn)
        return metadata.keep_server_fields(resource, new, old)


def _is_version(text: str | None) -> bool:
    """Whether a new object claims to be an old one; 0 and what is no number mean none."""
    return bool(text and text.isascii() and text.isdigit() and int(text))


class _NameTakenError(Exception):
    """Internal: becomes AlreadyExists, or another generated name."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def check_same(resource: Resource, new: Object, old: Object, change: Change) -> None:
    """A body for another object than the one at the path. Raises ApiError 400, 409."""
    mine, theirs = new.get("metadata"), old["metadata"]
    if not isinstance(mine, dict):
        raise status.bad_request("metadata must be an object")
    if mine.get("name") and mine["name"] != theirs["name"]:
        text = f"the name of the object ({mine['name']}) does not match the name on the URL ({theirs['name']})"
        raise status.bad_request(text)
    if mine.get("namespace") and mine["namespace"] != theirs.get("namespace", ""):
        raise status.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    uid = mine.get("uid")
    # A replacement with another uid is meant for another object; a patch or apply that says one tries to change it.
    if uid and uid != theirs["uid"] and not change.is_patch:
        why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {theirs['uid']}"
        raise status.conflict(resource.gvr.group, resource.gvr.resource, theirs["name"], why)
    # Fields that the server owns count as unsaid when they are left out; the time of creation always does.
    for name in ("name", "namespace", "uid"):
        if name in theirs and not mine.get(name):
            mine[name] = theirs[name]
    mine["creationTimestamp"] = theirs.get("creationTimestamp")


def _is_same(new: Object, old: Object) -> bool:
    """Whether a write changes nothing: then it is none. Times of ownership alone are no change."""
    return new == old or (managed.same_but_tracking(new, old) and _owners(new) == _owners(old))


def _owners(obj: Object) -> list[Object]:
    entries = obj["metadata"].get("managedFields") or ()
    return [{key: value for key, value in entry.items() if key != "time"} for entry in entries]


def unsaved(key: Key, new: Object, revision: int, resource: Resource) -> StoredObject:
    """What a dry run answers: the outcome under the version that is there, without a version when there is none."""
    document = encode_document(resource, new)
    return StoredObject(
        key, document.uid, revision, join_document(document, revision), document.labels, document.fields
    )
