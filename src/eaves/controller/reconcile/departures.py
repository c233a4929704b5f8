"""Forgets devices whose EdgeNode was deleted: registry row, info, config, telemetry. The device is shut out the moment its EdgeNode goes.

At the start rows without an EdgeNode are looked for, since the process may have died between the two.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable

from eaves.controller.gateway.notify import NotifyHub
from eaves.controller.nodes import NodeIndex
from eaves.controller.objects import Objects
from eaves.controller.workqueue import WorkQueue
from eaves.store.devices import DeviceRegistry
from eaves.store.telemetry import Telemetry
from eaves.wire.identifiers import DeviceId

log = logging.getLogger(__name__)

_PAGE = 1000
_GRACE_NS = 60 * 10**9
"""Another process may be registering a device right now."""


class DepartureReconciler:
    """Run :meth:`run` under the supervisor."""

    def __init__(
        self,
        objects: Objects,
        registry: DeviceRegistry,
        telemetry: Telemetry,
        nodes: NodeIndex,
        hub: NotifyHub,
        remove_config: Callable[[DeviceId], Awaitable[None]],
        time_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._objects = objects
        self._registry = registry
        self._telemetry = telemetry
        self._nodes = nodes
        self._hub = hub
        self._remove_config = remove_config
        self._time_ns = time_ns
        self.queue: WorkQueue[tuple[DeviceId, str]] = WorkQueue("departures", self._forget, workers=1)
        nodes.call_when_gone(self._shut_out)

    async def run(self) -> None:
        await self._nodes.wait_ready()
        after = ""
        while rows := await self._registry.list(limit=_PAGE, after=after):
            after = rows[-1].device_id
            for row in rows:
                device_id = DeviceId(row.device_id)
                if device_id not in self._nodes and self._time_ns() - row.created_ns > _GRACE_NS:
                    self.queue.add((device_id, ""))
        await self.queue.run()

    def _shut_out(self, device_id: DeviceId, name: str) -> None:
        self._hub.drop(device_id)
        self.queue.add((device_id, name))

    async def _forget(self, departure: tuple[DeviceId, str]) -> None:
        device_id, name = departure
        if device_id in self._nodes:
            return
        edgenode = await self._objects.get("EdgeNode", "", name) if name else None
        if edgenode is not None and edgenode["metadata"]["uid"] == device_id:
            # The index was behind; the EdgeNode is there.
            return
        if await self._registry.remove(device_id):
            log.info("device forgotten: node=%s id=%s", name, device_id)
        await self._remove_config(device_id)
        await self._telemetry.remove_device(device_id)
