"""The objects that one device's news can change, loaded together, changed in memory, written in one commit.

Several observations of one turn build on each other here, so that a device costs one commit however much it said.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from eaves.controller.events import EventSink
from eaves.controller.objects import Objects, revision_of, want_put
from eaves.controller.observe.model import DeviceObjects, EventNote, StatusUpdate
from eaves.controller.reconcile.inputs import may_have_snapshots
from eaves.kube.resource import Object

_Name = tuple[str, str, str]


class DeviceView:
    """Made by :func:`load_view`."""

    def __init__(self, objects: Sequence[Object]) -> None:
        self._objects: dict[_Name, Object] = {_name_of(obj): obj for obj in objects}
        self._changed: dict[_Name, None] = {}
        self._events: list[tuple[_Name, EventNote]] = []

    @property
    def current(self) -> DeviceObjects:
        """The objects as they are by now."""
        return DeviceObjects(
            edgenode=self._of("EdgeNode")[0],
            apps=self._of("App"),
            networks=self._of("Network"),
            volumes=self._of("Volume"),
            snapshots=self._of("AppSnapshot"),
            patches=self._of("PatchEnvelope"),
            volume_snapshots=self._of("VolumeSnapshot"),
        )

    def apply(self, updates: Iterable[StatusUpdate | None]) -> None:
        """Take statuses and events over; an update of an object that is not here, or is another by now, is left out."""
        for update in updates:
            if update is None:
                continue
            name = (update.kind, update.namespace, update.name)
            obj = self._objects.get(name)
            if obj is None or obj["metadata"]["uid"] != update.uid:
                continue
            if update.status is not None:
                self._objects[name] = {**obj, "status": dict(update.status)}
                self._changed[name] = None
            self._events.extend((name, note) for note in update.events)

    async def write(self, objects: Objects, events: EventSink) -> None:
        """Commit what changed, all or nothing, then record the events. Raises ConflictError when an object changed since."""
        if self._changed:
            changed = [self._objects[name] for name in self._changed]
            await objects.store.commit([want_put(obj, revision_of(obj)) for obj in changed])
        for name, note in self._events:
            await events.record(self._objects[name], note)

    def _of(self, kind: str) -> list[Object]:
        return [obj for (of_kind, _, _), obj in self._objects.items() if of_kind == kind]


async def load_view(objects: Objects, name: str) -> DeviceView | None:
    """The EdgeNode of this name, and the apps, volumes and networks that go with it; None when it is gone."""
    edgenode = await objects.get("EdgeNode", "", name)
    if edgenode is None:
        return None
    fields = {"spec.nodeName": name}
    apps = await objects.list("App", fields=fields)
    volumes = await objects.list("Volume", fields=fields)
    networks: list[Object] = []
    patches: list[Object] = []
    for namespace in sorted({app["metadata"]["namespace"] for app in apps}):
        networks.extend(await objects.list("Network", namespace))
        patches.extend(await objects.list("PatchEnvelope", namespace))
    snapshots: list[Object] = []
    for namespace in sorted({app["metadata"]["namespace"] for app in apps if may_have_snapshots(app)}):
        snapshots.extend(await objects.list("AppSnapshot", namespace))
    for namespace in sorted({volume["metadata"]["namespace"] for volume in volumes}):
        snapshots.extend(await objects.list("VolumeSnapshot", namespace))
    return DeviceView([edgenode, *apps, *volumes, *networks, *patches, *snapshots])


def _name_of(obj: Object) -> _Name:
    meta = obj["metadata"]
    return obj["kind"], meta.get("namespace", ""), meta["name"]
