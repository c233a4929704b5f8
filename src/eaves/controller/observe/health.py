"""Hardware health → condition HardwareHealthy: disks that say that they fail, and memory errors that nothing corrected.

A device tells seldom (EVE every 12 hours), so that the condition stays as it is until the next word. Corrected memory errors and what a
disk counts below its own thresholds change all the time and mean nothing by themselves; they are kept with the telemetry.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from eaves.controller.observe.conditions import (
    FALSE,
    TRUE,
    Fact,
    condition_status,
    plan_update,
    set_conditions,
    status_of,
)
from eaves.controller.observe.model import EventNote, EventType, StatusUpdate
from eaves.kube.resource import Object
from eaves.wire.pb.hardwarehealth.hardware_health_pb2 import ZHardwareHealth
from eaves.wire.pb.info.info_pb2 import StorageDiskInfo

HEALTHY = "HardwareHealthy"
_OF_AGE = "Old_age"
"""SMART's word for attributes that tell of use and heat, not of failure."""
_MOST_FAULTS = 8
_MOST_CHARS = 64


class Health(Struct, frozen=True):
    """What one message comes to: why memory and disks are at fault."""

    memory: tuple[str, ...] = ()
    disks: tuple[str, ...] = ()


def judge_health(message: ZHardwareHealth) -> Health:
    """A message that tells of nothing is good news: EVE sends one for each round of looking."""
    return Health(
        memory=tuple(_memory_faults(message))[:_MOST_FAULTS], disks=tuple(_disk_faults(message))[:_MOST_FAULTS]
    )


def observe_health(edgenode: Object, health: Health, now: float) -> StatusUpdate | None:
    """The node's condition by its newest message; None as long as it stays."""
    status = status_of(edgenode)
    faults = [*health.disks, *health.memory]
    fact = Fact(HEALTHY, TRUE, "NothingFails", "no disk says that it fails, and memory has no errors that stay")
    if faults:
        reason, remedy = (
            ("DiskFails", "save what is on it and replace it") if health.disks else ("MemoryFails", "replace it")
        )
        fact = Fact(HEALTHY, FALSE, reason, f"{'; '.join(faults)}; {remedy}")
    was = condition_status(status, HEALTHY)
    set_conditions(status, [fact], now)
    events = []
    if fact.status is FALSE and was != FALSE:
        events.append(
            EventNote(EventType.WARNING, "HardwareFails", f"node {edgenode['metadata']['name']}: {fact.message}")
        )
    return plan_update(edgenode, status, events)


def _memory_faults(message: ZHardwareHealth) -> Iterator[str]:
    for controller in message.mr.memory_controllers:
        if controller.ue_count > 0:
            ranks = ", ".join(_short(rank.rank_name) for rank in controller.ranks if rank.ue_count > 0)
            yield f"memory {_short(controller.controller_name)}{f' ({ranks})' if ranks else ''} has errors that nothing corrected"


def _disk_faults(message: ZHardwareHealth) -> Iterator[str]:
    for disk in message.disks:
        failing = [
            _short(attribute.attribute_name) or f"attribute {attribute.id}"
            for attribute in disk.smart_attr
            if attribute.thresh and attribute.value <= attribute.thresh and attribute.type != _OF_AGE
        ]
        if failing:
            yield f"disk {_describe(disk)} says that it fails ({', '.join(failing[:_MOST_FAULTS])})"


def _describe(disk: StorageDiskInfo) -> str:
    known = " ".join(filter(None, (_short(disk.model), _short(disk.serial_number))))
    return f"{_short(disk.disk_name)}{f' ({known})' if known else ''}"


def _short(text: str) -> str:
    """Names come from firmware."""
    return "".join(character for character in text if character.isprintable()).strip()[:_MOST_CHARS]
