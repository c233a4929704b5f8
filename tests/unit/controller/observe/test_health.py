"""Failing hardware shows as a condition of the node, once."""

from __future__ import annotations

from typing import Any

from eaves.controller.observe.health import judge_health, observe_health
from eaves.testing.objects import make_edgenode
from eaves.testing.observed_objects import ObservedObjects
from eaves.wire.pb.hardwarehealth.hardware_health_pb2 import ECCMemoryControllerInfo, ZHardwareHealth
from eaves.wire.pb.info.info_pb2 import SmartAttr

NOW = 1795543200.0


def tell(objects: ObservedObjects, message: ZHardwareHealth, now: float = NOW) -> dict[str, Any]:
    objects.take([observe_health(objects.edgenode, judge_health(message), now)])
    return dict(objects.condition("EdgeNode", "", "HardwareHealthy"))


def with_disk(**attribute: Any) -> ZHardwareHealth:
    message = ZHardwareHealth()
    disk = message.disks.add(disk_name="/dev/sda", model="Disk 3000", serial_number="S1")
    disk.smart_attr.append(SmartAttr(id=5, attribute_name="Reallocated_Sector_Ct", **attribute))
    return message


def test_a_disk_at_its_threshold_fails_and_a_new_one_ends_it() -> None:
    objects = ObservedObjects(make_edgenode())
    assert tell(objects, with_disk(value=100, worst=90, thresh=10, raw_value=3))["status"] == "True"
    failing = with_disk(value=10, worst=10, thresh=10, raw_value=900)
    condition = tell(objects, failing)
    assert (condition["status"], condition["reason"]) == ("False", "DiskFails")
    assert condition["message"] == (
        "disk /dev/sda (Disk 3000 S1) says that it fails (Reallocated_Sector_Ct); save what is on it and replace it"
    )
    writes = objects.writes
    tell(objects, failing, NOW + 60)
    assert objects.writes == writes
    assert [event.reason for event in objects.events] == ["HardwareFails"]
    assert tell(objects, with_disk(value=100, thresh=10))["status"] == "True"


def test_only_errors_of_memory_that_nothing_corrected_count() -> None:
    objects = ObservedObjects(make_edgenode())
    message = ZHardwareHealth()
    controller = ECCMemoryControllerInfo(controller_name="mc0", ce_count=70_000)
    controller.ranks.add(rank_name="dimm0", ce_count=70_000)
    controller.ranks.add(rank_name="dimm1")
    message.mr.memory_controllers.append(controller)
    assert tell(objects, message)["status"] == "True"
    message.mr.memory_controllers[0].ue_count = message.mr.memory_controllers[0].ranks[1].ue_count = 1
    condition = tell(objects, message)
    assert (condition["reason"], condition["message"]) == (
        "MemoryFails",
        "memory mc0 (dimm1) has errors that nothing corrected; replace it",
    )


def test_age_attributes_without_threshold_and_disks_that_cannot_be_read_say_nothing() -> None:
    objects = ObservedObjects(make_edgenode())
    assert tell(objects, with_disk(value=40, thresh=45, type="Old_age"))["status"] == "True"
    message = with_disk(value=0, thresh=0, raw_value=5)
    message.disks.add(disk_name="/dev/loop0", collector_errors="disk with name: /dev/loop0 have unknown type")
    assert tell(objects, message)["status"] == "True"


def test_what_firmware_writes_into_names_is_bounded() -> None:
    message = ZHardwareHealth()
    for number in range(100):
        disk = message.disks.add(disk_name=f"/dev/sd{number}", model="x" * 1000 + "\n\x1b")
        disk.smart_attr.append(SmartAttr(id=5, value=1, thresh=2))
    faults = judge_health(message).disks
    assert len(faults) == 8
    assert all(len(fault) < 200 and fault.isprintable() for fault in faults)
