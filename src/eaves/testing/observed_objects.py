"""A device's objects that take on every update, as the store would: tests send messages and look at what came of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from eaves.controller.observe.info import observe_info
from eaves.controller.observe.model import DeviceObjects, EventNote, StatusUpdate
from eaves.kinds.registry import BY_KIND
from eaves.kube.resource import Object
from eaves.kube.schema import find_unknown, validate_schema
from eaves.wire.pb.info.info_pb2 import ZInfoMsg


class ObservedObjects:
    """Objects of one device. ``writes`` counts status writes; every written status is held against its kind's schema."""

    def __init__(self, edgenode: Object, *others: Object) -> None:
        self.edgenode = edgenode
        self._others = list(others)
        self.writes = 0
        self.events: list[EventNote] = []

    @property
    def objects(self) -> DeviceObjects:
        def of(kind: str) -> list[Object]:
            return [obj for obj in self._others if obj["kind"] == kind]

        return DeviceObjects(
            edgenode=self.edgenode,
            apps=of("App"),
            networks=of("Network"),
            volumes=of("Volume"),
            snapshots=of("AppSnapshot"),
            patches=of("PatchEnvelope"),
            volume_snapshots=of("VolumeSnapshot"),
        )

    def tell(self, message: ZInfoMsg, now: float) -> list[EventNote]:
        """Observes a message and takes on what came of it; answers the events."""
        return self.take(observe_info(message, self.objects, now))

    def take(self, updates: Sequence[StatusUpdate | None]) -> list[EventNote]:
        events: list[EventNote] = []
        for update in updates:
            if update is None:
                continue
            obj = self.find(update.kind, update.name)
            assert obj["metadata"]["uid"] == update.uid
            if update.status is not None:
                obj["status"] = dict(update.status)
                self.writes += 1
                schema = BY_KIND[update.kind].schema
                assert list(validate_schema(schema, obj)) == []
                assert list(find_unknown(schema, obj)) == []
            events.extend(update.events)
        self.events.extend(events)
        return events

    def find(self, kind: str, name: str) -> Object:
        return next(
            obj for obj in (self.edgenode, *self._others) if obj["kind"] == kind and obj["metadata"]["name"] == name
        )

    def status(self, kind: str, name: str = "") -> dict[str, Any]:
        obj = self.edgenode if kind == "EdgeNode" else self.find(kind, name)
        status: dict[str, Any] = obj.get("status", {})
        return status

    def condition(self, kind: str, name: str, type_: str) -> dict[str, Any]:
        conditions: list[dict[str, Any]] = self.status(kind, name).get("conditions", [])
        return next((condition for condition in conditions if condition["type"] == type_), {})
