"""Pressure on a node's disk and memory: it does not waver, and what the device itself says goes first."""

from __future__ import annotations

from eaves.controller.observe.pressure import Level, Pressure, judge_pressure, observe_pressure
from eaves.testing.objects import make_edgenode
from eaves.testing.observed_objects import ObservedObjects
from eaves.wire.pb.info import info_pb2
from eaves.wire.pb.info.info_pb2 import ZInfoMsg
from eaves.wire.pb.metrics.metrics_pb2 import ZMetricMsg, deviceMetric, diskMetric

NOW = 1795543200.0


def figures(storage: int, memory: int = 10) -> deviceMetric:
    """Shares in use, in percent."""
    message = ZMetricMsg()
    message.dm.disk.append(diskMetric(mountPath="/persist", total=100, used=storage))
    message.dm.deviceMemory.memoryMB, message.dm.memory.usedMem = 100, memory
    return message.dm


def tell(objects: ObservedObjects, device: deviceMetric, now: float = NOW) -> list[str]:
    """Observes figures; answers the reasons of the events."""
    return [event.reason for event in objects.take([observe_pressure(objects.edgenode, judge_pressure(device), now)])]


def own_word(*reasons: info_pb2.MaintenanceModeReason.ValueType) -> ZInfoMsg:
    """A device's info, with why it keeps its apps stopped."""
    message = ZInfoMsg(ztype=info_pb2.ZiDevice)
    message.dinfo.machineArch = "x86_64"
    message.dinfo.maintenance_mode_reasons.extend(reasons)
    return message


def test_pressure_has_hysteresis() -> None:
    objects = ObservedObjects(make_edgenode())
    seen = []
    for share in (50, 89, 91, 86, 84, 88):
        tell(objects, figures(share))
        seen.append(objects.condition("EdgeNode", "", "DiskPressure")["status"])
    assert seen == ["False", "False", "True", "True", "False", "False"]
    assert objects.writes == 3


def test_a_share_that_lies_between_from_the_start_is_no_pressure() -> None:
    objects = ObservedObjects(make_edgenode())
    tell(objects, figures(88, memory=92))
    assert objects.condition("EdgeNode", "", "DiskPressure")["status"] == "False"
    assert objects.condition("EdgeNode", "", "MemoryPressure")["status"] == "False"


def test_pressure_is_an_event_once_and_says_what_to_do() -> None:
    objects = ObservedObjects(make_edgenode())
    assert tell(objects, figures(95, memory=96)) == ["NodeHasMemoryPressure", "NodeHasDiskPressure"]
    assert tell(objects, figures(99, memory=99), NOW + 60) == []
    assert objects.writes == 1
    condition = objects.condition("EdgeNode", "", "MemoryPressure")
    assert condition["message"] == (
        "more than 95% of the node's memory is in use; stop apps or lower their limits until it is below 90%"
    )
    assert tell(objects, figures(10), NOW + 120) == []


def test_a_message_without_figures_says_nothing_of_pressure() -> None:
    assert judge_pressure(ZMetricMsg().dm) == Pressure()
    assert observe_pressure(make_edgenode(), Pressure(), NOW) is None
    objects = ObservedObjects(make_edgenode())
    tell(objects, figures(95))
    tell(objects, ZMetricMsg().dm)
    assert objects.condition("EdgeNode", "", "DiskPressure")["status"] == "True"


def test_memory_that_is_given_to_apps_is_not_in_use() -> None:
    message = ZMetricMsg()
    message.dm.deviceMemory.memoryMB, message.dm.deviceMemory.allocated_appsMB = 4000, 3990
    assert judge_pressure(message.dm).memory is Level.NOT_TOLD


def test_a_device_that_stopped_its_apps_for_space_is_believed_until_it_runs_them_again() -> None:
    objects = ObservedObjects(make_edgenode())
    objects.tell(own_word(info_pb2.MAINTENANCE_MODE_REASON_LOW_DISK_SPACE), NOW)
    tell(objects, figures(50))
    assert objects.condition("EdgeNode", "", "DiskPressure")["reason"] == "LowDiskSpace"
    objects.tell(own_word(), NOW + 60)
    assert objects.condition("EdgeNode", "", "DiskPressure")["status"] == "False"
    tell(objects, figures(95))
    assert objects.condition("EdgeNode", "", "DiskPressure")["reason"] == "StorageScarce"
    objects.tell(own_word(), NOW + 120)
    assert objects.condition("EdgeNode", "", "DiskPressure")["status"] == "True"
