"""Removes events that nobody has seen for an hour, as Kubernetes does, so that they do not fill the store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from eaves.controller.documents import decode_object, encode_document
from eaves.controller.objects import Objects
from eaves.kinds import event
from eaves.kube.resource import Object
from eaves.kube.tables import parse_time
from eaves.store.abc import Remove
from eaves.store.errors import ConflictError

KEPT_S = 3600.0
EVERY_S = 60.0
_PAGE = 500


class EventSweeper:
    """Run :meth:`run` under the supervisor."""

    def __init__(self, objects: Objects, clock: Callable[[], float] = time.time) -> None:
        self._store = objects.store
        self._clock = clock

    async def run(self) -> None:
        while True:
            await self.sweep()
            await asyncio.sleep(EVERY_S)

    async def sweep(self) -> int:
        """Remove what is old now; answers how many."""
        after: tuple[str, str] | None = None
        removed = 0
        while True:
            page = await self._store.list(event.RESOURCE.store_name, limit=_PAGE, after=after)
            for stored in page.items:
                obj = decode_object(stored)
                if self._clock() - last_seen(obj) < KEPT_S:
                    continue
                document = encode_document(event.RESOURCE, obj)
                try:
                    await self._store.commit([Remove(stored.key, document, stored.revision)])
                except ConflictError:
                    # It was seen again just now.
                    continue
                removed += 1
            if page.next_key is None:
                return removed
            after = page.next_key


def last_seen(obj: Object) -> float:
    """Unix seconds of the latest time that the event tells."""
    series = obj.get("series") or {}
    texts = (series.get("lastObservedTime"), obj.get("lastTimestamp"), obj.get("eventTime"))
    times = [moment for text in (*texts, obj["metadata"].get("creationTimestamp")) if (moment := parse_time(text))]
    return max(times, default=0.0)
