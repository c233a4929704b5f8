"""Which devices are in contact: heard by the gateway, lost after some polls in vain.

Measured by the monotonic clock, so that a wall clock that is set makes nobody lost. After a start every device that ever called has a
full silence limit to call again, since it was the controller that was away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from eaves.controller.nodes import NodeIndex
from eaves.store.devices import DeviceRegistry
from eaves.wire.identifiers import DeviceId

CHECK_EVERY_S = 5.0
DEFAULT_LIMIT_S = 180.0


class ContactKeeper:
    """``changed`` is called with a device that came into contact or was lost."""

    def __init__(
        self,
        registry: DeviceRegistry,
        nodes: NodeIndex,
        monotonic_s: Callable[[], float],
        time_ns: Callable[[], int],
        changed: Callable[[DeviceId], None],
    ) -> None:
        self._registry = registry
        self._monotonic_s = monotonic_s
        self._time_ns = time_ns
        self._changed = changed
        self._heard_s: dict[DeviceId, float] = {}
        """Devices in contact; those that are lost are not here."""
        self._limits_s: dict[DeviceId, float] = {}
        nodes.call_when_gone(self._forget)
        self._nodes = nodes

    def __len__(self) -> int:
        """Devices in contact."""
        return len(self._heard_s)

    def hear(self, device_id: DeviceId) -> None:
        """The device called. On the path of every request."""
        is_new = device_id not in self._heard_s
        self._heard_s[device_id] = self._monotonic_s()
        self._registry.touch(device_id, self._time_ns())
        if is_new:
            self._changed(device_id)

    def is_in_contact(self, device_id: DeviceId) -> bool:
        return device_id in self._heard_s

    def last_seen_s(self, device_id: str) -> float:
        """Unix time of the last call, 0 = never."""
        return self._registry.last_seen_ns().get(device_id, 0) / 1e9

    def limit(self, device_id: DeviceId, silence_s: float) -> None:
        """Note after how much silence this device counts as lost."""
        if silence_s != DEFAULT_LIMIT_S:
            self._limits_s[device_id] = silence_s
        else:
            self._limits_s.pop(device_id, None)

    async def run(self) -> None:
        """Find devices that fell silent, until cancelled."""
        await self._nodes.wait_ready()
        now_s = self._monotonic_s()
        for device_id in self._registry.last_seen_ns():
            self._heard_s.setdefault(DeviceId(device_id), now_s)
        while True:
            await asyncio.sleep(CHECK_EVERY_S)
            self.check()

    def check(self) -> None:
        """Tell of devices that fell silent."""
        now_s = self._monotonic_s()
        limits_s = self._limits_s
        lost = [
            device_id
            for device_id, heard_s in self._heard_s.items()
            if now_s - heard_s > limits_s.get(device_id, DEFAULT_LIMIT_S)
        ]
        for device_id in lost:
            del self._heard_s[device_id]
            self._changed(device_id)

    def _forget(self, device_id: DeviceId, _name: str) -> None:
        self._heard_s.pop(device_id, None)
        self._limits_s.pop(device_id, None)
