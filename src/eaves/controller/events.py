"""Records events for operators: the same thing said again is one Event with a count, as client-go's recorder does.

Reconcilers and the gateway call :meth:`EventRecorder.record`. The Event's name is made from what it says, so that a repetition finds
the first one also after a restart or from another process. Events live for an hour after they were last seen (garbage collection
removes them), and losing one is no harm: recording never fails its caller. Of one object only so many different ones are kept, as client-go
does: what devices say is in their texts, and a hostile one would fill the store with them.
"""

from __future__ import annotations

import hashlib
import logging
import time
import uuid
from collections.abc import Callable
from typing import Protocol

from eaves.controller.objects import Objects, encode_document, key_of, want_put
from eaves.controller.observe.model import EventNote
from eaves.kinds.times import render_time
from eaves.kit.rates import Buckets, Rate
from eaves.kube.resource import Object
from eaves.store.abc import Put
from eaves.store.errors import ConflictError, StoreError

log = logging.getLogger(__name__)

CLUSTER_NAMESPACE = "default"
"""Where events about objects without a namespace live."""
MESSAGE_LIMIT = 1024
NEW_EVENTS = Rate(per_s=1 / 30, burst=100)
"""Of one object, which say something else than the earlier ones."""
_MAX_OBJECTS = 10_000
_ATTEMPTS = 5


class EventSink(Protocol):
    """Takes events about objects."""

    async def record(self, obj: Object, note: EventNote) -> None:
        """``obj`` is what it is about, with apiVersion, kind and metadata."""
        ...


class EventRecorder:
    """Writes events to the store. ``component`` is who reports."""

    def __init__(
        self,
        objects: Objects,
        component: str,
        clock: Callable[[], float] = time.time,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._objects = objects
        self._component = component
        self._clock = clock
        self._monotonic_s = monotonic_s
        self._new: Buckets[tuple[str, str]] = Buckets(NEW_EVENTS, _MAX_OBJECTS)

    async def record(self, obj: Object, note: EventNote) -> None:
        event = self._make(obj, note)
        try:
            await self._save(event)
        except StoreError as error:
            log.warning("event lost: object=%s reason=%s error=%s", event["metadata"]["name"], note.reason, error)

    async def _save(self, event: Object) -> None:
        key = key_of("Event", event["metadata"]["namespace"], event["metadata"]["name"])
        namespace = event["metadata"]["namespace"]
        for _ in range(_ATTEMPTS):
            earlier = await self._objects.get("Event", namespace, key.name)
            try:
                if earlier is None:
                    await self._create(event, namespace)
                else:
                    again = {
                        **earlier,
                        "count": (earlier.get("count") or 1) + 1,
                        "lastTimestamp": event["lastTimestamp"],
                    }
                    revision = int(earlier["metadata"]["resourceVersion"])
                    await self._objects.store.commit([Put(key, encode_document(again), revision)])
            except ConflictError:
                continue
            return

    async def _create(self, event: Object, namespace: str) -> None:
        about = event["involvedObject"]
        if not self._new.take((about["kind"], about.get("uid") or about["name"]), self._monotonic_s()):
            return
        space = await self._objects.get("Namespace", "", namespace)
        if space is not None and not space["metadata"].get("deletionTimestamp"):
            await self._objects.store.commit([want_put(event, 0)])

    def _make(self, obj: Object, note: EventNote) -> Object:
        meta, now = obj["metadata"], render_time(self._clock())
        reference = {
            "kind": obj["kind"],
            "namespace": meta.get("namespace", ""),
            "name": meta["name"],
            "uid": meta.get("uid", ""),
            "apiVersion": obj["apiVersion"],
            "resourceVersion": meta.get("resourceVersion", ""),
        }
        message = note.message[:MESSAGE_LIMIT]
        said = "\0".join((reference["kind"], reference["uid"], self._component, note.type, note.reason, message))
        digest = hashlib.sha256(said.encode()).hexdigest()[:16]
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": f"{meta['name'][:230]}.{digest}",
                "namespace": meta.get("namespace") or CLUSTER_NAMESPACE,
                "uid": str(uuid.uuid4()),
                "creationTimestamp": now,
            },
            "involvedObject": {key: value for key, value in reference.items() if value},
            "reason": note.reason,
            "message": message,
            "source": {"component": self._component},
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
            "type": str(note.type),
            "reportingComponent": self._component,
        }
