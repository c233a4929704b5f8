"""Metrics messages → conditions DiskPressure and MemoryPressure, which ``kubectl describe node`` shows under the names it knows.

A condition begins above one share in use and ends below a lower one. What lies between changes nothing, so that a share which
wavers writes nothing, and neither does a message that says what the last one said.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from eaves.controller.observe.conditions import (
    FALSE,
    TRUE,
    Fact,
    Status,
    condition_status,
    find_condition,
    plan_update,
    set_conditions,
    status_of,
)
from eaves.controller.observe.contact import conclude
from eaves.controller.observe.metrics import summarise_device
from eaves.controller.observe.model import EventNote, EventType, StatusUpdate
from eaves.kube.resource import Object
from eaves.wire.pb.metrics.metrics_pb2 import deviceMetric

DISK, MEMORY = "DiskPressure", "MemoryPressure"
LOW_DISK_SPACE = "LowDiskSpace"
"""Why a device stopped its apps by itself: what it says there goes before what its metrics mean."""


class Level(StrEnum):
    """A share in use, as far as it matters."""

    NOT_TOLD = "NotTold"
    LOW = "Low"
    BETWEEN = "Between"
    HIGH = "High"


class Pressure(Struct, frozen=True):
    """What one metrics message says of the node."""

    disk: Level = Level.NOT_TOLD
    memory: Level = Level.NOT_TOLD


class _Scarce(Struct, frozen=True):
    """How a condition speaks of what is scarce. Shares are of the whole."""

    condition: str
    what: str
    begins: float
    ends: float
    remedy: str

    def level(self, used_bytes: int, total_bytes: int) -> Level:
        if not used_bytes or not total_bytes:
            return Level.NOT_TOLD
        share = used_bytes / total_bytes
        return Level.HIGH if share > self.begins else Level.LOW if share < self.ends else Level.BETWEEN

    def fact(self, status: Status, level: Level) -> Fact | None:
        """The condition by a new level; None as long as it stays."""
        was, now = condition_status(status, self.condition), TRUE if level is Level.HIGH else FALSE
        if level is Level.NOT_TOLD or now == was or (level is Level.BETWEEN and was):
            return None
        name = self.what.capitalize()
        if now is FALSE:
            return Fact(self.condition, FALSE, f"{name}Sufficient", f"the node has {self.what} left")
        text = f"more than {self.begins:.0%} of the node's {self.what} is in use; {self.remedy}"
        return Fact(self.condition, TRUE, f"{name}Scarce", f"{text} until it is below {self.ends:.0%}")


_DISK = _Scarce(DISK, "storage", 0.90, 0.85, "delete volumes or apps, or what else lies on its disk,")
_MEMORY = _Scarce(MEMORY, "memory", 0.95, 0.90, "stop apps or lower their limits")


def judge_pressure(device: deviceMetric) -> Pressure:
    """What the figures of a node come to. Of a device that tells only what it gave to its apps, nothing is known of its memory."""
    node = summarise_device(device)
    is_told = device.memory.usedMem > 0
    return Pressure(
        disk=_DISK.level(node.storage_bytes, node.storage_total_bytes),
        memory=_MEMORY.level(node.memory_bytes, node.memory_total_bytes) if is_told else Level.NOT_TOLD,
    )


def observe_pressure(edgenode: Object, pressure: Pressure, now: float) -> StatusUpdate | None:
    """The node's conditions by its newest metrics; None as long as they stay."""
    status = status_of(edgenode)
    facts = [_MEMORY.fact(status, pressure.memory)]
    if not is_out_of_space(status):
        facts.append(_DISK.fact(status, pressure.disk))
    new = [fact for fact in facts if fact is not None]
    if not new:
        return None
    set_conditions(status, new, now)
    return plan_update(edgenode, status, [*_events(edgenode, new), *conclude(edgenode, status, now)])


def is_out_of_space(status: Status) -> bool:
    """Whether the device itself says that its disk is too full to go on."""
    condition = find_condition(status.get("conditions") or [], DISK)
    return condition is not None and condition.get("reason") == LOW_DISK_SPACE and condition.get("status") == TRUE


def _events(edgenode: Object, facts: list[Fact]) -> list[EventNote]:
    name = edgenode["metadata"]["name"]
    return [
        EventNote(EventType.WARNING, f"NodeHas{fact.type}", f"node {name}: {fact.message}")
        for fact in facts
        if fact.status is TRUE
    ]
