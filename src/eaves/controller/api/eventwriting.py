"""Writes events of the group ``events.k8s.io``: each as the core group's event that is kept.

Ownership is settled here, in the fields and the version of this group, and so is what this group asks of an event beyond the core
group; the rest is the writer's, as for any stored kind. What is answered is the core group's event.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from eaves.controller.api.drafts import Warn, check_object, drop_unknown
from eaves.controller.api.identity import Identity
from eaves.controller.api.writeoptions import WriteOptions
from eaves.controller.api.writing import Change, Guard, Writer, check_same
from eaves.kinds import event, event_v1
from eaves.kinds.event_v1 import project_event, unproject_event
from eaves.kinds.times import render_time
from eaves.kube import managed, status
from eaves.kube.resource import Object, Resource
from eaves.store.abc import Key, StoredObject


class EventGuard:
    """Asks who may write an event by this group for rights to events of this group."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    async def check(
        self, identity: Identity, _resource: Resource, new: Object, old: Object | None, *, is_named: bool = True
    ) -> None:
        shown = None if old is None else project_event(old)
        await self._guard.check(identity, event_v1.RESOURCE, project_event(new), shown, is_named=is_named)


class EventWriter(Writer):
    """A writer to which events are given in this group's form. Keys are those of the core group's events."""

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
        known = drop_unknown(resource, obj, options.validation, warn, remarks=remarks)
        known = {**known, "metadata": dict(known["metadata"])}
        placed = {**unproject_event(known), "metadata": {**known["metadata"], "namespace": namespace}}
        name = known["metadata"].get("name") or ""
        await self._namespaces.check(resource, namespace, name)
        if faults := event_v1.check_new_event(placed):
            raise status.invalid("", "Event", name, faults)
        if not is_owned:
            managed.track_create(resource, known, options.manager, self._now())
        return await super().create(
            event.RESOURCE, namespace, unproject_event(known), options, warn, is_owned=True, is_named=is_named
        )

    async def change(
        self, resource: Resource, key: Key, change: Change, options: WriteOptions, warn: Warn
    ) -> StoredObject:
        make = self._carry(resource, change, options, warn)
        through = msgspec.structs.replace(change, make=make, remarks=(), is_owned=True)
        return await super().change(event.RESOURCE, key, through, options, warn)

    def _carry(
        self, resource: Resource, change: Change, options: WriteOptions, warn: Warn
    ) -> Callable[[Object], Object]:
        """The change of an event of this group as one of the core group's."""

        def make(current: Object) -> Object:
            old = project_event(current)
            given = change.make(project_event(current))
            check_same(resource, given, old, change)
            new = drop_unknown(
                resource, given, options.validation, warn, remarks=change.remarks, is_patch=change.is_patch
            )
            check_object(resource, new, old, warn)
            if faults := list(event_v1.check_changed_event(unproject_event(new), current)):
                raise status.invalid("", "Event", old["metadata"]["name"], faults)
            if not change.is_owned:
                managed.track_update(resource, new, old, options.manager, self._now())
            return unproject_event(new)

        return make

    def _now(self) -> str:
        return render_time(self._clock())
