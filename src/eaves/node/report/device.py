"""The machine, the daemon and what they stand at → ZInfoDevice, and the inventory → ZInfoHardware."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from eaves.node.counters import BootReason, Record
from eaves.node.desired.hardware_model import DesiredIo
from eaves.node.desired.model import DesiredBaseOs, Owner
from eaves.node.hardware.inventory import Inventory
from eaves.node.link.attestation import AttestationStep
from eaves.node.link.uplinks import Uplink
from eaves.node.ports.view import PortsView
from eaves.node.report.assignable import want_bundles
from eaves.node.report.buses import want_buses
from eaves.node.report.facts import Disk, Machine, Mount, Port
from eaves.node.report.modems import want_radio, want_sims
from eaves.node.report.pieces import want_message, want_mib, want_time
from eaves.node.report.ports import want_adapters, want_networks
from eaves.node.report.software import PARTITION, want_software
from eaves.wire.pb.eaves.extension_pb2 import DeviceInfoExtension
from eaves.wire.pb.evecommon.evecommon_pb2 import DiskDescription
from eaves.wire.pb.info import common_pb2, info_pb2
from eaves.wire.pb.info.common_pb2 import ErrorInfo
from eaves.wire.pb.info.hardware_pb2 import BIOS, CPU, TPM, CPUInfo, HardwareInventory
from eaves.wire.pb.info.info_pb2 import (
    AttestationInfo,
    Capabilities,
    DataSecAtRest,
    SecurityInfo,
    StorageDiskState,
    StorageInfo,
    VaultInfo,
    ZInfoAppInstance,
    ZInfoConfigItem,
    ZInfoConfigItemStatus,
    ZInfoDevice,
    ZInfoDNS,
    ZInfoHardware,
    ZInfoManufacturer,
    ZInfoMsg,
    ZInfoStorage,
)
from eaves.wire.timers import ItemStatus

_CAPABILITY = info_pb2.API_CAPABILITY_START_DELAY_IN_SECONDS
"""Highest level of the config API of which everything up to it is understood here."""
_PLATFORM = "eaves"
_VAULT = "Application Data Store"
"""The name that the device API's users know the place of apps' data by; it is not encrypted as a whole."""

_BOOT_REASONS = {
    BootReason.FIRST: info_pb2.BOOT_REASON_FIRST,
    BootReason.REBOOT_CMD: info_pb2.BOOT_REASON_REBOOT_CMD,
    BootReason.POWEROFF_CMD: info_pb2.BOOT_REASON_POWEROFF_CMD,
    BootReason.POWER_FAIL: info_pb2.BOOT_REASON_POWER_FAIL,
    BootReason.UNKNOWN: info_pb2.BOOT_REASON_UNKNOWN,
}
_ATTESTATION_STATES = {
    AttestationStep.NONCE_WAIT: info_pb2.ATTESTATION_STATE_NONCE_WAIT,
    AttestationStep.ATTEST_WAIT: info_pb2.ATTESTATION_STATE_ATTEST_WAIT,
    AttestationStep.RESTART_WAIT: info_pb2.ATTESTATION_STATE_RESTART_WAIT,
    AttestationStep.COMPLETE: info_pb2.ATTESTATION_STATE_COMPLETE,
}


class DeviceView(Struct, frozen=True, kw_only=True):
    """Everything that one device info tells."""

    machine: Machine
    ports: Sequence[Port] = ()
    mounts: Sequence[Mount] = ()
    disks: Sequence[Disk] = ()
    devices: Inventory = Inventory()
    name_servers: Sequence[str] = ()
    search_domains: Sequence[str] = ()
    uplinks: Sequence[Uplink] = ()
    port_configs: PortsView = PortsView()
    record: Record = Record()
    attestation: AttestationStep = AttestationStep.NONCE_WAIT
    attestation_error: str = ""
    item_statuses: Mapping[str, ItemStatus] = {}
    apps: Sequence[tuple[str, str]] = ()
    """Id and name of each app that exists here."""
    name: str = ""
    serial: str = ""
    version: str = ""
    podman_version: str = ""
    root_ca_sha256: bytes = b""
    config_hash: str = ""
    config_applied_at: float = 0.0
    has_config: bool = True
    """A config of the controller is in force, a saved one at least."""
    is_in_maintenance: bool = False
    is_rebooting: bool = False
    is_halting: bool = False
    """Ordered to shut down, and not every app has stopped."""
    owner: Owner = Owner()
    base_os: DesiredBaseOs | None = None
    hardware: Sequence[DesiredIo] = ()
    device_users: Mapping[str, str] = {}
    """Group of devices → the app that has it."""
    problems: Sequence[str] = ()


def want_device_info(device_id: str, view: DeviceView, now: float) -> ZInfoMsg:
    """The message about the node itself."""
    machine, record = view.machine, view.record
    info = ZInfoDevice(
        machineArch=machine.architecture,
        cpuArch=machine.architecture,
        platform=_PLATFORM,
        ncpu=machine.cpus,
        memory=want_mib(machine.memory_bytes),
        storage=want_mib(_app_storage_bytes(view)),
        powerCycleCounter=-1,
        minfo=_want_manufacturer(view),
        storage_info=_want_pools(view.mounts),
        dns=ZInfoDNS(DNSservers=view.name_servers, DNSsearch=view.search_domains),
        storageList=[_want_storage(mount) for mount in view.mounts],
        bootTime=want_time(machine.boot_time),
        swList=want_software(view.version, machine.os_name, view.base_os, now),
        assignableAdapters=want_bundles(view.hardware, view.device_users),
        HostName=machine.hostname,
        lastRebootReason=record.boot_text,
        lastRebootTime=want_time(record.last_reboot_time),
        cell_radios=[want_radio(modem) for modem in view.port_configs.modems.values()],
        sims=[sim for modem in view.port_configs.modems.values() for sim in want_sims(modem)],
        network=want_networks(view.ports, view.uplinks, view.name_servers, view.port_configs),
        systemAdapter=want_adapters(view.ports, view.uplinks, view.name_servers, view.port_configs),
        restartCounter=record.restart_counter,
        HSMStatus=info_pb2.DISABLED if machine.has_tpm else info_pb2.NOTFOUND,
        dataSecAtRestInfo=DataSecAtRest(
            status=info_pb2.DATASEC_AT_REST_DISABLED,
            vaultList=[
                VaultInfo(name=_VAULT, status=info_pb2.DATASEC_AT_REST_DISABLED, pcrStatus=info_pb2.PCR_DISABLED)
            ],
        ),
        sec_info=SecurityInfo(sha_root_ca=view.root_ca_sha256),
        configItemStatus=_want_items(view.item_statuses),
        appInstances=[ZInfoAppInstance(uuid=app_id, name=name, domainName=app_id) for app_id, name in view.apps],
        rebootConfigCounter=record.reboot_counter or 0,
        shutdown_config_counter=record.shutdown_counter or 0,
        last_boot_reason=_BOOT_REASONS[record.boot_reason],
        maintenance_mode=view.is_in_maintenance,
        hardware_watchdog_present=machine.has_watchdog,
        reboot_inprogress=view.is_rebooting,
        capabilities=Capabilities(
            HWAssistedVirtualization=machine.has_virtualization, IOVirtualization=machine.has_iommu
        ),
        state=_want_state(view),
        attestation_info=_want_attestation(view, now),
        api_capability=_CAPABILITY,
        baseos_update_counter=view.base_os.retry_counter if view.base_os is not None else 0,
        device_name=view.name,
        enterprise_name=view.owner.enterprise_name,
        enterprise_id=view.owner.enterprise_id,
        project_name=view.owner.project_name,
        project_id=view.owner.project_id,
        eaves=_want_extension(view),
    )
    if view.is_in_maintenance:
        info.maintenance_mode_reason = info_pb2.MAINTENANCE_MODE_REASON_USER_REQUESTED
        info.maintenance_mode_reasons.append(info_pb2.MAINTENANCE_MODE_REASON_USER_REQUESTED)
    info.optional_capabilities.hw_inventory_support = True
    message = want_message(device_id, info_pb2.ZiDevice, now)
    message.dinfo.CopyFrom(info)
    return message


def want_hardware_info(device_id: str, view: DeviceView, now: float) -> ZInfoMsg:
    """The inventory, sent once per boot."""
    machine = view.machine
    inventory = HardwareInventory(
        **want_buses(view.devices),
        bios=BIOS(vendor=machine.bios_vendor, version=machine.bios_version),
        cpu_info=CPUInfo(cpus=[CPU(model=machine.cpu_model, id=number) for number in range(machine.cpus)]),
        total_memory_bytes=machine.memory_bytes,
        total_storage_bytes=sum(disk.size_bytes for disk in view.disks),
        watchdog_present=machine.has_watchdog,
        tpm=TPM(present=machine.has_tpm),
    )
    message = want_message(device_id, info_pb2.ZiHardware, now)
    message.hwinfo.CopyFrom(
        ZInfoHardware(
            eve_release=view.version,
            inventory=inventory,
            kernel_version=machine.kernel,
            kernel_cmdline=machine.kernel_cmdline,
            eve_platform=_PLATFORM,
            partition=PARTITION,
        )
    )
    return message


def _want_manufacturer(view: DeviceView) -> ZInfoManufacturer:
    machine = view.machine
    return ZInfoManufacturer(
        manufacturer=machine.manufacturer,
        productName=machine.product,
        version=machine.product_version,
        serialNumber=view.serial or machine.serial,
        UUID=machine.product_uuid,
        compatible=machine.compatible,
        biosVendor=machine.bios_vendor,
        biosVersion=machine.bios_version,
        biosReleaseDate=machine.bios_date,
    )


def _want_storage(mount: Mount) -> ZInfoStorage:
    return ZInfoStorage(
        device=mount.device, mountPath=mount.path, total=want_mib(mount.total_bytes), storageLocation=mount.holds_apps
    )


def _want_pools(mounts: Sequence[Mount]) -> list[StorageInfo]:
    """The file system of apps' data, as EVE tells of one that is no ZFS pool."""
    return [
        StorageInfo(
            pool_name=mount.path,
            storage_type=info_pb2.STORAGE_TYPE_INFO_EXT4,
            storage_state=info_pb2.STORAGE_STATUS_ONLINE,
            disks=[
                StorageDiskState(disk_name=DiskDescription(name=mount.device), status=info_pb2.STORAGE_STATUS_ONLINE)
            ],
        )
        for mount in mounts
        if mount.holds_apps
    ]


def _want_items(statuses: Mapping[str, ItemStatus]) -> ZInfoConfigItemStatus:
    """EVE tells unknown ones among the known, the device API has a place of their own for them: they are told in both."""
    items = {key: ZInfoConfigItem(value=status.value, error=status.error) for key, status in statuses.items()}
    unknown = {key: items[key] for key, status in statuses.items() if not status.is_known}
    return ZInfoConfigItemStatus(configItems=items, unknownConfigItems=unknown)


def _want_state(view: DeviceView) -> info_pb2.ZDeviceState.ValueType:
    if view.is_rebooting:
        return info_pb2.ZDEVICE_STATE_REBOOTING
    if view.record.is_shut_down:
        return (
            info_pb2.ZDEVICE_STATE_PREPARING_POWEROFF if view.is_halting else info_pb2.ZDEVICE_STATE_PREPARED_POWEROFF
        )
    if view.is_in_maintenance:
        return info_pb2.ZDEVICE_STATE_MAINTENANCE_MODE
    return info_pb2.ZDEVICE_STATE_ONLINE if view.has_config else info_pb2.ZDEVICE_STATE_BOOTING


def _want_attestation(view: DeviceView, now: float) -> AttestationInfo:
    info = AttestationInfo(state=_ATTESTATION_STATES[view.attestation])
    if view.attestation_error:
        info.error.CopyFrom(
            ErrorInfo(description=view.attestation_error, timestamp=want_time(now), severity=common_pb2.SEVERITY_ERROR)
        )
    return info


def _app_storage_bytes(view: DeviceView) -> int:
    return next((mount.total_bytes for mount in view.mounts if mount.holds_apps), 0)


def _want_extension(view: DeviceView) -> DeviceInfoExtension:
    return DeviceInfoExtension(
        config_hash=view.config_hash,
        daemon_version=view.version,
        kernel=view.machine.kernel,
        os_name=view.machine.os_name,
        memory_bytes=view.machine.memory_bytes,
        storage_bytes=_app_storage_bytes(view),
        problems=view.problems,
        podman_version=view.podman_version,
        config_applied_at=want_time(view.config_applied_at),
    )
