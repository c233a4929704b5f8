"""What an EVE device tells of its faults, in the places where the public API has them (eve-api.md 3.8), seen in one list."""

from __future__ import annotations

import pytest

from eaves.controller.observe.devicefaults import crash_of, list_faults
from eaves.testing.objects import make_edgenode
from eaves.testing.observed_objects import ObservedObjects
from eaves.wire.pb.info import info_pb2
from eaves.wire.pb.info.common_pb2 import SEVERITY_ERROR, SEVERITY_NOTICE, ErrorInfo
from eaves.wire.pb.info.info_pb2 import StorageInfo, VaultInfo, ZInfoDevice, ZInfoDevSW, ZInfoMsg, ZioBundle

NOW = 1795543200.0


def error(text: str, severity: int = SEVERITY_ERROR) -> ErrorInfo:
    return ErrorInfo(description=text, severity=severity)  # type: ignore[arg-type]  # an enum's number


def healthy() -> ZInfoDevice:
    """As a live device without a TPM reports itself (eve-api.md 4.6): two errors that are none."""
    info = ZInfoDevice(swList=[ZInfoDevSW(partitionLabel="IMGA", shortVersion="14.5.0", activated=True)])
    vault = VaultInfo(name="Application Data Store", status=info_pb2.DATASEC_AT_REST_DISABLED)
    vault.vaultErr.CopyFrom(error("No TPM"))
    info.dataSecAtRestInfo.vaultList.append(vault)
    info.attestation_info.state = info_pb2.ATTESTATION_STATE_COMPLETE
    info.attestation_info.error.CopyFrom(error("No escrow data"))
    info.storage_info.add(pool_name="persist", storage_state=info_pb2.STORAGE_STATUS_ONLINE)
    return info


def test_a_device_that_is_well_has_no_faults() -> None:
    assert list_faults(healthy()) == []


def test_each_fault_is_one_line() -> None:
    info = healthy()
    info.swList.append(ZInfoDevSW(partitionLabel="IMGB", shortVersion="15.0.0", swErr=error("image does not fit")))
    vault = info.dataSecAtRestInfo.vaultList[0]
    vault.status = info_pb2.DATASEC_AT_REST_ERROR
    vault.vaultErr.description = "PCR 1 and 7 differ"
    info.attestation_info.state = info_pb2.ATTESTATION_STATE_RESTART_WAIT
    info.attestation_info.error.description = "quote failed"
    info.assignableAdapters.append(ZioBundle(name="lan", err=error("no such interface eth7")))
    info.assignableAdapters.append(ZioBundle(name="usb", err=error("in use", SEVERITY_NOTICE)))
    info.storage_info.append(
        StorageInfo(
            pool_name="data", storage_state=info_pb2.STORAGE_STATUS_DEGRADED, pool_status_msg="one disk is missing"
        )
    )
    certificate = info.enrolled_certs.add(cert_enrollment_profile_name="lan")
    certificate.err.CopyFrom(error("server refused"))
    assert list_faults(info) == [
        "system 15.0.0: image does not fit",
        "vault Application Data Store: PCR 1 and 7 differ",
        "attestation: quote failed",
        "device group lan: no such interface eth7",
        "storage pool data is degraded: one disk is missing",
        "certificate of profile lan: server refused",
    ]


def test_they_are_shown_on_the_node_and_go_when_they_are_gone() -> None:
    node = ObservedObjects(make_edgenode())
    message = ZInfoMsg(ztype=info_pb2.ZiDevice)
    message.dinfo.CopyFrom(healthy())
    message.dinfo.assignableAdapters.append(ZioBundle(name="lan", err=error("collides with uplink")))
    node.tell(message, NOW)
    assert node.status("EdgeNode")["problems"] == ["device group lan: collides with uplink"]
    message.dinfo.CopyFrom(healthy())
    node.tell(message, NOW + 1)
    assert "problems" not in node.status("EdgeNode")


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        (info_pb2.BOOT_REASON_FALLBACK, "went back"),
        (info_pb2.BOOT_REASON_WATCHDOG_HUNG, "hung"),
        (info_pb2.BOOT_REASON_REBOOT_CMD, ""),
        (info_pb2.BOOT_REASON_POWER_FAIL, ""),
    ],
)
def test_a_boot_that_nobody_wanted_is_told_as_such(reason: info_pb2.BootReason.ValueType, word: str) -> None:
    assert word in crash_of(reason)
    assert bool(crash_of(reason)) == bool(word)
    node = ObservedObjects(make_edgenode(status={"restartCounter": 1}))
    message = ZInfoMsg(ztype=info_pb2.ZiDevice)
    message.dinfo.restartCounter, message.dinfo.last_boot_reason = 2, reason
    (note,) = (note for note in node.tell(message, NOW) if note.reason == "Rebooted")
    assert word in note.message
