"""Which EdgeNode belongs to which device: an index in memory, kept by a watch.

``metadata.uid`` of an EdgeNode is the device's UUID. The gateway asks on each request whether the device still has its EdgeNode
(deleting it shuts the device out at once), reconcilers ask for its name.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from eaves.controller.watching import Snapshot, follow
from eaves.store.abc import ChangeType, ObjectStore
from eaves.wire.identifiers import DeviceId

EDGENODES = "edgenodes.eaves.dev"


class NodeIndex:
    """Device UUID → name of the EdgeNode. Callbacks hear of a device whose EdgeNode is no more, with the name it had."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._names: dict[DeviceId, str] = {}
        self._ready = asyncio.Event()
        self._on_gone: list[Callable[[DeviceId, str], None]] = []

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, device_id: DeviceId) -> bool:
        return device_id in self._names

    def name_of(self, device_id: DeviceId) -> str | None:
        return self._names.get(device_id)

    def ids(self) -> list[DeviceId]:
        return list(self._names)

    def call_when_gone(self, callback: Callable[[DeviceId, str], None]) -> None:
        self._on_gone.append(callback)

    def add(self, device_id: DeviceId, name: str) -> None:
        """Take note of an EdgeNode that this process created, so that its device is served before the watch tells."""
        self._names[device_id] = name

    async def wait_ready(self) -> None:
        """Returns once the index holds everything there was at the start."""
        await self._ready.wait()

    async def run(self) -> None:
        """Keep the index until cancelled."""
        async for news in follow(self._store, EDGENODES):
            if isinstance(news, Snapshot):
                self._replace({DeviceId(stored.uid): stored.key.name for stored in news.objects})
                self._ready.set()
            elif news.type is ChangeType.DELETED:
                self._drop(DeviceId(news.object.uid))
            else:
                self._names[DeviceId(news.object.uid)] = news.object.key.name

    def _replace(self, names: dict[DeviceId, str]) -> None:
        gone = {device_id: name for device_id, name in self._names.items() if device_id not in names}
        self._names = names
        for device_id, name in gone.items():
            self._tell(device_id, name)

    def _drop(self, device_id: DeviceId) -> None:
        if (name := self._names.pop(device_id, None)) is not None:
            self._tell(device_id, name)

    def _tell(self, device_id: DeviceId, name: str) -> None:
        for callback in self._on_gone:
            callback(device_id, name)
