"""What a device says of the configs of its ports → the condition PortsApplied, and events. Works for EVE devices too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from eaves.controller.observe.conditions import FALSE, TRUE, UNKNOWN, Fact, Status, find_condition
from eaves.controller.observe.model import EventNote, EventType
from eaves.wire.pb.info.info_pb2 import DevicePortStatus, ZInfoDevice

CONDITION = "PortsApplied"
_HOST_KEYS = ("host", "eaves")
"""Of configs that no controller sent: what an Eaves node's host has by itself."""


def port_facts(info: ZInfoDevice) -> Iterator[Fact]:
    """Whether the device works by the config of its ports made last; nothing while nobody sent one."""
    adapters = info.systemAdapter
    if not adapters.status or adapters.status[0].key in _HOST_KEYS:
        return
    newest = adapters.status[0]
    is_told = newest.HasField("lastFailed") or newest.HasField("lastSucceeded") or bool(newest.key)
    if not is_told:
        return
    if _failed(newest):
        used = adapters.status[adapters.currentIndex] if adapters.currentIndex < len(adapters.status) else newest
        back = "what its host had" if used.key in _HOST_KEYS else "the config that worked last"
        kept = "it goes on with it all the same" if adapters.currentIndex == 0 else f"it went back to {back}"
        error = newest.lastError or "it did not say why"
        yield Fact(CONDITION, FALSE, "FellBack", f"the newest config of the ports failed and {kept}: {error}")
    elif adapters.currentIndex or not newest.HasField("lastSucceeded"):
        yield Fact(CONDITION, UNKNOWN, "Testing", "the device tries the newest config of its ports")
    elif newest.lastError:
        yield Fact(CONDITION, TRUE, "AppliedInPart", f"the controller is reached, yet: {newest.lastError}")
    else:
        yield Fact(CONDITION, TRUE, "Applied", "the device reaches the controller by the newest config of its ports")


def port_events(before: Mapping[str, Any], status: Status) -> Iterator[EventNote]:
    """What changed since the last message."""
    old = find_condition(before.get("conditions") or [], CONDITION) or {}
    new = find_condition(status.get("conditions") or [], CONDITION)
    if new is None or (old.get("status"), old.get("message")) == (new["status"], new["message"]):
        return
    if new["status"] == FALSE:
        yield EventNote(EventType.WARNING, "PortsFellBack", str(new["message"]))
    elif new["status"] == TRUE and old.get("status") != TRUE:
        yield EventNote(EventType.NORMAL, "PortsApplied", str(new["message"]))


def _failed(status: DevicePortStatus) -> bool:
    return status.HasField("lastFailed") and (status.lastFailed.seconds, status.lastFailed.nanos) > (
        status.lastSucceeded.seconds,
        status.lastSucceeded.nanos,
    )
