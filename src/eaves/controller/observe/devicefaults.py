"""What is wrong with a device by the public API alone, in one line each → EdgeNode ``status.problems``.

An EVE device tells of failed updates, locked vaults, refused attestation, devices that its model names wrongly, and failing pools in places
of their own; people look in one.
"""

from __future__ import annotations

from collections.abc import Iterator

from eaves.controller.observe.pieces import errors_of, name_of
from eaves.wire.pb.info import info_pb2
from eaves.wire.pb.info.info_pb2 import BootReason, StorageStatus, ZInfoDevice

_GOOD_POOLS = (info_pb2.STORAGE_STATUS_UNSPECIFIED, info_pb2.STORAGE_STATUS_ONLINE)
_CRASHES = {
    info_pb2.BOOT_REASON_FATAL: "a program of its system failed",
    info_pb2.BOOT_REASON_OOM: "its memory was used up",
    info_pb2.BOOT_REASON_WATCHDOG_HUNG: "a program of its system hung",
    info_pb2.BOOT_REASON_WATCHDOG_PID: "a program of its system ended",
    info_pb2.BOOT_REASON_KERNEL: "its kernel crashed",
    info_pb2.BOOT_REASON_VAULT_FAILED: "its vault stayed locked",
    info_pb2.BOOT_REASON_FALLBACK: "its new system failed the test, so it went back to the former one",
    info_pb2.BOOT_REASON_DISCONNECT: "it did not reach its controller for too long",
}
"""Why a device booted, where that is nobody's wish."""


def list_faults(info: ZInfoDevice) -> list[str]:
    """In a fixed order; empty for a device that is well."""
    return list(dict.fromkeys(_each_fault(info)))


def crash_of(reason: BootReason.ValueType) -> str:
    """What went wrong before the boot, in words; empty for an ordinary one."""
    return _CRASHES.get(reason, "")


def _each_fault(info: ZInfoDevice) -> Iterator[str]:
    for software in info.swList:
        if software.HasField("swErr") and (text := errors_of([software.swErr])):
            yield f"system {software.shortVersion or software.partitionLabel}: {text}"
    for vault in info.dataSecAtRestInfo.vaultList:
        # A device without a TPM reports its vault disabled, with an error that is none.
        if vault.status == info_pb2.DATASEC_AT_REST_ERROR:
            yield f"vault {vault.name}: {errors_of([vault.vaultErr]) or 'cannot be opened'}"
    attestation = info.attestation_info
    if attestation.state != info_pb2.ATTESTATION_STATE_COMPLETE and (text := errors_of([attestation.error])):
        yield f"attestation: {text}"
    for bundle in info.assignableAdapters:
        if bundle.HasField("err") and (text := errors_of([bundle.err])):
            yield f"device group {bundle.name}: {text}"
    for pool in info.storage_info:
        if pool.storage_state not in _GOOD_POOLS:
            state = name_of(StorageStatus, pool.storage_state).removeprefix("STORAGE_STATUS_").lower()
            yield f"storage pool {pool.pool_name} is {state}{f': {pool.pool_status_msg}' if pool.pool_status_msg else ''}"
        if pool.collector_errors:
            yield f"storage pool {pool.pool_name}: {pool.collector_errors}"
    for certificate in info.enrolled_certs:
        if certificate.HasField("err") and (text := errors_of([certificate.err])):
            yield f"certificate of profile {certificate.cert_enrollment_profile_name}: {text}"
