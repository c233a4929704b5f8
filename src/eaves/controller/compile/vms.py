"""Virtual machines: sizes and hardware as the device API has them, the rest in the extension, secrets apart.

How EVE reads it (pillar, zedmanager and hypervisor/kvm): mode HVM is BIOS with virtio, FML is UEFI with virtio, LEGACY is BIOS with AHCI
disks and e1000; a boot loader path replaces the firmware; user data come as a CD-ROM with the label cidata.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator

from eaves.controller.compile.environment import value_of_key
from eaves.controller.compile.errors import HeldBackError
from eaves.controller.compile.lookup import Lookup
from eaves.kinds.app import App
from eaves.kinds.app_spec import Isolation, vm_of
from eaves.kinds.vm_spec import (
    ClockBase,
    CloudInit,
    DataSource,
    Datasource,
    DeviceModel,
    DiskDevice,
    Firmware,
    HugePages,
    NodeRestart,
    VmSpec,
    firmware_of,
)
from eaves.kube.quantity import parse_bytes
from eaves.wire.pb.config import appconfig_pb2
from eaves.wire.pb.config.appconfig_pb2 import AppInstanceConfig
from eaves.wire.pb.config.vm_pb2 import (
    FML,
    HVM,
    LEGACY,
    NOHYPER,
    VM_BOOT_MODE_LEGACY,
    VM_BOOT_MODE_UEFI,
    VmMode,
)
from eaves.wire.pb.eaves.extension_pb2 import AppSecrets
from eaves.wire.pb.evecommon.acipherinfo_pb2 import EncryptionBlock

EVE_OVMF = "/usr/lib/xen/boot/ovmf.bin"
"""UEFI firmware of an EVE device that also works in mode LEGACY."""

MOST_VNC_PASSWORD = 8
"""The VNC protocol (RFC 6143, 7.2.2) takes no more characters, and silently forgets the rest."""

_METADATA = {
    Datasource.NO_CLOUD: appconfig_pb2.MetaDataDrive,
    Datasource.CONFIG_DRIVE: appconfig_pb2.MetaDataOpenStack,
    Datasource.NONE: appconfig_pb2.MetaDataNone,
}
_PAGE_BYTES = {None: 0, HugePages.TWO_MIB: 2 << 20, HugePages.ONE_GIB: 1 << 30}


def fill_machine(app: App, config: AppInstanceConfig, *, runs_eve: bool) -> None:
    """Writes the hardware into ``config``, whose memory and processors are there already."""
    vm = vm_of(app.spec)
    firmware = firmware_of(vm)
    sizes = config.fixedresources
    sizes.virtualizationMode = _want_mode(firmware, vm.device_model)
    sizes.boot_mode = VM_BOOT_MODE_UEFI if firmware is Firmware.UEFI else VM_BOOT_MODE_LEGACY
    if firmware is Firmware.UEFI and vm.device_model is DeviceModel.LEGACY:
        sizes.bootloader = EVE_OVMF
    sizes.pin_cpu = vm.dedicated_cpus
    sizes.disable_vtpm = not vm.vtpm
    sizes.enable_vnc = _has_screen(vm) and not (runs_eve and _has_password(vm))
    config.metaDataType = _METADATA[vm.cloud_init.datasource if vm.cloud_init else Datasource.NONE]
    config.cloud_init_version = vm.cloud_init.version if vm.cloud_init else 0
    extension = config.eaves.vm
    extension.firmware = firmware
    extension.device_model = vm.device_model
    extension.machine = vm.machine
    extension.huge_page_bytes = _PAGE_BYTES[vm.huge_pages]
    extension.balloon_min_bytes = parse_bytes(vm.balloon.min_memory) if vm.balloon else 0
    extension.clock_base = "" if vm.clock is ClockBase.UTC else vm.clock
    extension.no_serial_console = not vm.serial_console
    extension.no_guest_agent = not vm.guest_agent
    extension.suspend = vm.on_node_restart is NodeRestart.SUSPEND


def fill_isolation(app: App, config: AppInstanceConfig) -> None:
    """A container shares the kernel of the device, or has one of its own (which EVE calls a shim VM)."""
    is_apart = app.spec.isolation is Isolation.VM
    config.fixedresources.virtualizationMode = HVM if is_apart else NOHYPER
    config.eaves.isolation = Isolation.VM if is_apart else ""


def _want_mode(firmware: Firmware, model: DeviceModel) -> VmMode.ValueType:
    if model is DeviceModel.LEGACY:
        return LEGACY
    return FML if firmware is Firmware.UEFI else HVM


def _has_screen(vm: VmSpec) -> bool:
    return vm.vnc is not None and vm.vnc.enabled


def _has_password(vm: VmSpec) -> bool:
    return _has_screen(vm) and vm.vnc is not None and vm.vnc.password_secret_key_ref is not None


def want_machine_secrets(app: App, lookup: Lookup) -> EncryptionBlock | None:
    """First-boot data and password, for the device's eyes only; None when there are none. Raises :class:`HeldBackError`."""
    vm = vm_of(app.spec)
    block = EncryptionBlock()
    if vm.cloud_init is not None and vm.cloud_init.datasource is not Datasource.NONE:
        _fill_documents(app, vm.cloud_init, block, lookup)
    if _has_password(vm):
        block.eaves.vnc_password = _want_password(app, vm, lookup)
    return block if block.ListFields() else None


def _fill_documents(app: App, data: CloudInit, block: EncryptionBlock, lookup: Lookup) -> None:
    user_data = _document(app, "userData", data.user_data, data.user_data_from, lookup)
    if user_data:
        block.protectedUserData = base64.b64encode(user_data).decode()
    secrets = AppSecrets(
        meta_data=_document(app, "metaData", data.meta_data, data.meta_data_from, lookup),
        network_config=_document(app, "networkConfig", data.network_config, data.network_config_from, lookup),
    )
    if secrets.ListFields():
        block.eaves.CopyFrom(secrets)


def _document(app: App, name: str, inline: str | None, source: DataSource | None, lookup: Lookup) -> bytes:
    if source is None:
        return (inline or "").encode()
    user = f"spec.vm.cloudInit.{name}From"
    return value_of_key(app.metadata.namespace, source.secret_key_ref, source.config_map_key_ref, user, lookup) or b""


def _want_password(app: App, vm: VmSpec, lookup: Lookup) -> str:
    assert vm.vnc is not None
    path = "spec.vm.vnc.passwordSecretKeyRef"
    value = value_of_key(app.metadata.namespace, vm.vnc.password_secret_key_ref, None, path, lookup) or b""
    try:
        password = value.decode("ascii")
    except UnicodeDecodeError as error:
        raise HeldBackError("InvalidVncPassword", f"the password of {path} must be ASCII") from error
    if not 0 < len(password) <= MOST_VNC_PASSWORD or not password.isprintable():
        raise HeldBackError(
            "InvalidVncPassword",
            f"the password of {path} must be 1 to {MOST_VNC_PASSWORD} printable characters, as the VNC protocol has it",
        )
    return password


def unknown_to_eve(app: App) -> Iterator[str]:
    """Fields that an EVE device has no word for, with what it does instead."""
    vm = vm_of(app.spec)
    data = vm.cloud_init or CloudInit()
    asked = (
        (bool(vm.machine), "vm.machine (it has its own)"),
        (vm.huge_pages is not None, "vm.hugePages"),
        (vm.balloon is not None, "vm.balloon"),
        (vm.clock is not ClockBase.UTC, "vm.clock (it shows local time in any case)"),
        (vm.on_node_restart is not NodeRestart.SHUTDOWN, "vm.onNodeRestart"),
        (_has_password(vm), "vm.vnc.passwordSecretKeyRef (there is no screen, since its password would be readable)"),
        (data.meta_data is not None or data.meta_data_from is not None, "vm.cloudInit.metaData"),
        (data.network_config is not None or data.network_config_from is not None, "vm.cloudInit.networkConfig"),
        (
            vm.root_disk.boot_order is not None or any(volume.boot_order is not None for volume in app.spec.volumes),
            "bootOrder (disks boot in their order)",
        ),
        (
            any(volume.device is DiskDevice.CDROM for volume in app.spec.volumes)
            and vm.device_model is DeviceModel.LEGACY,
            "device CDROM with deviceModel Legacy (it is a disk there)",
        ),
    )
    return (text for is_asked, text in asked if is_asked)
