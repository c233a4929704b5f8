"""EdgeNode status from device info of Eaves nodes and EVE devices."""

from __future__ import annotations

from typing import Any

import pytest

from eaves.testing.objects import make_edgenode
from eaves.testing.observed_objects import ObservedObjects
from eaves.wire.pb.evecommon.netcmn_pb2 import Client
from eaves.wire.pb.info import info_pb2
from eaves.wire.pb.info.info_pb2 import DevicePort, DevicePortStatus, ZInfoDevSW, ZInfoMsg, ZInfoStorage

NOW = 1795543200.0
GIB = 1 << 30


def device_message(**fields: Any) -> ZInfoMsg:
    """What a device of any make tells."""
    message = ZInfoMsg(ztype=info_pb2.ZiDevice)
    info = message.dinfo
    info.machineArch, info.ncpu, info.memory, info.HostName = "x86_64", 4, 4096, "box"
    info.bootTime.seconds, info.restartCounter = int(NOW) - 1000, 7
    info.last_boot_reason = info_pb2.BOOT_REASON_POWER_FAIL
    info.minfo.manufacturer, info.minfo.productName, info.minfo.serialNumber = "Maker", "Box 1", "S-1"
    info.state = info_pb2.ZDEVICE_STATE_ONLINE
    port = DevicePort(ifname="enp1s0", name="eth0", isMgmt=True, up=True, macAddr="02:00:00:00:00:01", dhcpType=Client)
    port.IPAddrs.extend(["fe80::1", "192.0.2.7", "2001:db8::7"])
    info.systemAdapter.status.append(DevicePortStatus(ports=[port]))
    for name, value in fields.items():
        setattr(info, name, value)
    return message


def eaves_message(**fields: Any) -> ZInfoMsg:
    message = device_message(**fields)
    extension = message.dinfo.eaves
    extension.daemon_version, extension.os_name, extension.kernel = "0.1.0", "Debian GNU/Linux 13", "6.12.1"
    extension.podman_version, extension.config_hash = "5.4.2", "h1"
    extension.memory_bytes, extension.storage_bytes = 4 * GIB, 20 * GIB
    return message


def eve_message(**fields: Any) -> ZInfoMsg:
    message = device_message(**fields)
    message.dinfo.swList.append(ZInfoDevSW(activated=True, partitionLabel="IMGA", shortVersion="14.5.0-kvm-amd64"))
    message.dinfo.storageList.append(ZInfoStorage(mountPath="/persist", total=20480, storageLocation=True))
    message.dinfo.storageList.append(ZInfoStorage(mountPath="/", total=300))
    return message


def test_an_eaves_node_becomes_ready() -> None:
    node = ObservedObjects(make_edgenode())
    node.tell(eaves_message(), NOW)
    status = node.status("EdgeNode")
    assert status["phase"] == "Ready"
    assert status["versions"] == {
        "daemon": "0.1.0",
        "os": "Debian GNU/Linux 13",
        "kernel": "6.12.1",
        "containerRuntime": "podman://5.4.2",
    }
    assert status["capacity"] == {"cpu": "4", "memory": str(4 * GIB), "storage": str(20 * GIB), "pods": "250"}
    assert int(status["allocatable"]["memory"]) == (4 * GIB - 4 * GIB // 20) // (1 << 20) * (1 << 20)
    assert status["inventory"]["architecture"] == "amd64"
    assert status["bootReason"] == "PowerFail"
    assert status["addresses"] == [
        {"type": "InternalIP", "address": "192.0.2.7"},
        {"type": "InternalIP", "address": "2001:db8::7"},
        {"type": "Hostname", "address": "box"},
    ]
    assert node.condition("EdgeNode", "", "Ready")["status"] == "True"


def test_bridges_of_apps_are_no_addresses_of_the_node() -> None:
    message = eaves_message()
    message.dinfo.systemAdapter.status[0].ports.append(DevicePort(ifname="evbr1", name="evbr1", IPAddrs=["10.160.1.1"]))
    node = ObservedObjects(make_edgenode())
    node.tell(message, NOW)
    assert "10.160.1.1" not in [entry["address"] for entry in node.status("EdgeNode")["addresses"]]


def test_an_eve_device_becomes_ready_without_our_extension() -> None:
    node = ObservedObjects(make_edgenode())
    node.tell(eve_message(), NOW)
    status = node.status("EdgeNode")
    assert status["phase"] == "Ready"
    assert status["versions"]["eve"] == "14.5.0-kvm-amd64"
    assert "daemon" not in status["versions"]
    assert status["capacity"]["storage"] == str(20480 << 20)
    assert int(status["allocatable"]["memory"]) == 3 * GIB
    assert status["ports"][0]["dhcp"] is True
    hardware = ZInfoMsg(ztype=info_pb2.ZiHardware)
    hardware.hwinfo.kernel_version = "6.1.112"
    node.tell(hardware, NOW)
    assert node.status("EdgeNode")["versions"]["kernel"] == "6.1.112"
    node.tell(eve_message(), NOW)
    assert node.status("EdgeNode")["versions"]["kernel"] == "6.1.112"


@pytest.mark.parametrize("message", [eaves_message(), eve_message()], ids=["eaves", "eve"])
def test_the_same_again_is_no_write(message: ZInfoMsg) -> None:
    node = ObservedObjects(make_edgenode())
    node.tell(message, NOW)
    before = node.status("EdgeNode")
    assert node.tell(message, NOW + 600) == []
    assert node.writes == 1
    assert node.status("EdgeNode") is before


def test_the_time_of_contact_moves_only_with_something_else() -> None:
    node = ObservedObjects(make_edgenode())
    node.tell(eaves_message(), NOW)
    node.tell(eaves_message(), NOW + 600)
    assert node.status("EdgeNode")["lastSeen"] == "2026-11-24T18:00:00Z"
    node.tell(eaves_message(HostName="other"), NOW + 1200)
    assert node.status("EdgeNode")["lastSeen"] == "2026-11-24T18:20:00Z"


def test_transition_times_stay_while_the_status_does() -> None:
    node = ObservedObjects(make_edgenode())
    node.tell(eaves_message(), NOW)
    node.tell(eaves_message(HostName="other"), NOW + 60)
    assert node.condition("EdgeNode", "", "Ready")["lastTransitionTime"] == "2026-11-24T18:00:00Z"
    node.tell(eaves_message(state=info_pb2.ZDEVICE_STATE_REBOOTING), NOW + 120)
    assert node.condition("EdgeNode", "", "Ready")["lastTransitionTime"] == "2026-11-24T18:02:00Z"


def test_a_device_that_is_not_approved_is_pending_and_says_what_to_do() -> None:
    node = ObservedObjects(make_edgenode(approved=False))
    node.tell(eaves_message(), NOW)
    assert node.status("EdgeNode")["phase"] == "Pending"
    assert "kubectl eaves approve store-17" in node.condition("EdgeNode", "", "Ready")["message"]
    assert node.condition("EdgeNode", "", "Approved")["status"] == "False"


def test_maintenance_by_the_operator_and_by_the_device() -> None:
    node = ObservedObjects(make_edgenode(maintenance=True))
    node.tell(eaves_message(), NOW)
    assert node.status("EdgeNode")["phase"] == "Maintenance"
    own = ObservedObjects(make_edgenode())
    message = eve_message()
    message.dinfo.maintenance_mode_reasons.append(info_pb2.MAINTENANCE_MODE_REASON_LOW_DISK_SPACE)
    own.tell(message, NOW)
    assert own.status("EdgeNode")["phase"] == "NotReady"
    assert own.condition("EdgeNode", "", "DiskPressure")["status"] == "True"
    assert "low disk space" in own.condition("EdgeNode", "", "Ready")["message"]


def test_a_boot_is_an_event_and_a_clock_being_set_is_none() -> None:
    node = ObservedObjects(make_edgenode())
    node.tell(eaves_message(), NOW)
    moved = eaves_message()
    moved.dinfo.bootTime.seconds += 30
    assert node.tell(moved, NOW + 60) == []
    assert node.writes == 1
    again = eaves_message(restartCounter=8, lastRebootReason="watchdog")
    again.dinfo.bootTime.seconds += 5000
    assert [event.reason for event in node.tell(again, NOW + 5000)] == ["Rebooted"]
    assert "watchdog" in node.events[-1].message
    assert node.status("EdgeNode")["restartCounter"] == 8


def test_properties_that_the_device_refused_are_shown() -> None:
    node = ObservedObjects(make_edgenode())
    message = eaves_message()
    message.dinfo.configItemStatus.configItems["timer.config.interval"].value = "60"
    message.dinfo.configItemStatus.configItems["nonsense"].error = "no such property"
    node.tell(message, NOW)
    assert node.status("EdgeNode")["propertyErrors"] == {"nonsense": "no such property"}


def test_problems_of_the_device_come_and_go() -> None:
    node = ObservedObjects(make_edgenode())
    message = eaves_message()
    message.dinfo.eaves.problems.append("podman is missing; install it")
    node.tell(message, NOW)
    assert node.status("EdgeNode")["problems"] == ["podman is missing; install it"]
    node.tell(eaves_message(), NOW)
    assert "problems" not in node.status("EdgeNode")


def test_config_applied_follows_the_hashes() -> None:
    node = ObservedObjects(make_edgenode(status={"config": {"wanted": "h1"}}))
    message = eaves_message()
    message.dinfo.eaves.config_applied_at.seconds = int(NOW)
    node.tell(message, NOW)
    assert node.condition("EdgeNode", "", "ConfigApplied")["status"] == "True"
    assert node.status("EdgeNode")["config"] == {"wanted": "h1", "applied": "h1", "appliedTime": "2026-11-24T18:00:00Z"}


def test_a_device_with_nearly_nothing_to_tell_breaks_nothing() -> None:
    node = ObservedObjects(make_edgenode())
    message = ZInfoMsg(ztype=info_pb2.ZiDevice)
    message.dinfo.SetInParent()
    node.tell(message, NOW)
    assert node.status("EdgeNode")["versions"]["eve"] == "unknown"
    assert "capacity" not in node.status("EdgeNode")
