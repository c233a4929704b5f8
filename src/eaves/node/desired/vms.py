"""The hardware, disks and first-boot data of virtual machines.

What Eaves' extension says counts; without it the same is concluded from the device API's own fields as EVE reads them: mode FML is
UEFI firmware, LEGACY is BIOS with AHCI disks and e1000, all others are BIOS with virtio; an ISO image is a CD-ROM; the version of the
cloud-init data, else that of the app, is part of the instance id.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping

from msgspec import Struct

from eaves.node.desired.draft import Draft, clean_name
from eaves.node.desired.errors import ObjectError, UserDataError
from eaves.node.desired.model import DesiredImage, DesiredVolume, ImageFormat, ObjectKind, Secret, VolumeMount
from eaves.node.desired.secret import SecretBytes
from eaves.node.desired.vm_model import (
    ClockBase,
    CloudInit,
    Datasource,
    DesiredSnapshot,
    DesiredVm,
    DeviceModel,
    DiskDevice,
    Firmware,
    SnapshotOrders,
    SnapshotTrigger,
    VmDisk,
)
from eaves.wire.identifiers import is_uuid
from eaves.wire.pb.config import appconfig_pb2, vm_pb2
from eaves.wire.pb.config.appconfig_pb2 import AppInstanceConfig, SnapshotConfig
from eaves.wire.pb.eaves.extension_pb2 import AppSecrets

DISK_FORMATS = frozenset(
    {
        ImageFormat.RAW,
        ImageFormat.QCOW,
        ImageFormat.QCOW2,
        ImageFormat.VMDK,
        ImageFormat.VHD,
        ImageFormat.VHDX,
        ImageFormat.OVA,
        ImageFormat.ISO,
    }
)
LEAST_MEMORY_BYTES = 16 << 20

_MACHINE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,63}")
_HOSTNAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_DECLARES_HOSTNAME = re.compile(rb"^(hostname|fqdn|preserve_hostname)[ \t]*:", re.MULTILINE)
_CLOUD_CONFIG = b"#cloud-config"
_HUGE_PAGES = (0, 2 << 20, 1 << 30)
_USER_DATA_LIMIT_BYTES = 16 << 20
_DATASOURCES = {
    appconfig_pb2.MetaDataDrive: Datasource.NO_CLOUD,
    appconfig_pb2.MetaDataDriveMultipart: Datasource.NO_CLOUD,
    appconfig_pb2.MetaDataOpenStack: Datasource.CONFIG_DRIVE,
}
_TRIGGERS = {
    appconfig_pb2.SNAPSHOT_TYPE_APP_UPDATE: SnapshotTrigger.APP_UPDATE,
    appconfig_pb2.SNAPSHOT_TYPE_IMMEDIATE: SnapshotTrigger.IMMEDIATE,
}


class AppData(Struct, frozen=True):
    """User data of an app as it came (base64), and the secrets of the extension."""

    user_data: str = ""
    secrets: AppSecrets = AppSecrets()


def parse_vm(
    config: AppInstanceConfig,
    app_id: str,
    mounts: Iterable[VolumeMount],
    images: Mapping[str, DesiredImage],
    volumes: Mapping[str, DesiredVolume],
    data: AppData,
    *,
    splits_multipart: bool = False,
) -> DesiredVm:
    """The machine of an app whose root is the first of ``mounts``. Raises ObjectError and UserDataError."""
    sizes, extension = config.fixedresources, config.eaves.vm
    _check_hardware(config)
    return DesiredVm(
        vcpus=max(1, sizes.vcpus),
        firmware=_parse_firmware(config),
        machine=extension.machine,
        device_model=_parse_device_model(config),
        disks=parse_disks(config, mounts, images, volumes),
        cloud_init=_parse_cloud_init(config, app_id, data, splits_multipart=splits_multipart),
        has_vtpm=not sizes.disable_vtpm,
        has_vnc=sizes.enable_vnc,
        vnc_password=Secret(data.secrets.vnc_password or sizes.vncPasswd),
        has_serial_console=not extension.no_serial_console,
        has_guest_agent=not extension.no_guest_agent,
        dedicated_cpus=sizes.pin_cpu,
        huge_page_bytes=extension.huge_page_bytes,
        balloon_min_bytes=extension.balloon_min_bytes,
        clock_base=ClockBase(extension.clock_base or ClockBase.UTC),
        is_suspended=extension.suspend,
    )


def _check_hardware(config: AppInstanceConfig) -> None:
    sizes, extension = config.fixedresources, config.eaves.vm
    memory_bytes = sizes.memory << 10
    if memory_bytes < LEAST_MEMORY_BYTES:
        raise ObjectError(
            f"{sizes.memory} KiB of memory is too little for a virtual machine",
            code="MemoryTooSmall",
            resolution="give it 16 MiB or more",
        )
    choices = (
        ("firmware", extension.firmware, Firmware),
        ("device model", extension.device_model, DeviceModel),
        ("clock base", extension.clock_base, ClockBase),
    )
    for what, text, kind in choices:
        if text and text not in list(kind):
            raise ObjectError(f"{what} {clean_name(text)[:32]!r} is not known", code="BadHardware")
    if extension.machine and not _MACHINE.fullmatch(extension.machine):
        raise ObjectError(f"{clean_name(extension.machine)[:64]!r} is no machine type", code="BadHardware")
    if extension.huge_page_bytes not in _HUGE_PAGES:
        raise ObjectError(f"there are no pages of {extension.huge_page_bytes} bytes", code="BadHardware")
    if extension.huge_page_bytes and memory_bytes % extension.huge_page_bytes:
        raise ObjectError(
            f"its memory is no multiple of its huge pages of {extension.huge_page_bytes >> 20} MiB", code="BadHardware"
        )
    if extension.balloon_min_bytes > memory_bytes:
        raise ObjectError("the least memory of its balloon is more than its memory", code="BadHardware")


def _parse_firmware(config: AppInstanceConfig) -> Firmware:
    sizes = config.fixedresources
    if config.eaves.vm.firmware:
        return Firmware(config.eaves.vm.firmware)
    if "ovmf" in sizes.bootloader.lower() or sizes.boot_mode == vm_pb2.VM_BOOT_MODE_UEFI:
        return Firmware.UEFI
    return Firmware.UEFI if sizes.virtualizationMode == vm_pb2.FML else Firmware.BIOS


def _parse_device_model(config: AppInstanceConfig) -> DeviceModel:
    if config.eaves.vm.device_model:
        return DeviceModel(config.eaves.vm.device_model)
    return DeviceModel.LEGACY if config.fixedresources.virtualizationMode == vm_pb2.LEGACY else DeviceModel.VIRTIO


def parse_disks(
    config: AppInstanceConfig,
    mounts: Iterable[VolumeMount],
    images: Mapping[str, DesiredImage],
    volumes: Mapping[str, DesiredVolume],
) -> tuple[VmDisk, ...]:
    """The disks in the order of the config. Those with a place in the boot order come first, then the root, then the rest."""
    references = {ref.uuid.lower(): ref.eaves for ref in config.volumeRefList}
    mounts = list(mounts)
    orders = {mount.volume_id: references[mount.volume_id].boot_order for mount in mounts}
    given = [order for order in orders.values() if order]
    if len(given) != len(set(given)):
        raise ObjectError("two of its disks have the same place in the boot order", code="DuplicateBootOrder")
    ranked = sorted(mounts, key=lambda mount: orders[mount.volume_id] or len(orders) + max(given, default=0))
    places = {mount.volume_id: place for place, mount in enumerate(ranked, start=1)}
    disks = []
    for index, mount in enumerate(mounts):
        volume = volumes[mount.volume_id]
        device = _parse_device(references[mount.volume_id].device, volume, images)
        disks.append(
            VmDisk(
                volume.id,
                volume.generation,
                volume.name,
                device,
                places[volume.id],
                mount.read_only or device is DiskDevice.CDROM,
                is_root=index == 0,
            )
        )
    return tuple(disks)


def _parse_device(text: str, volume: DesiredVolume, images: Mapping[str, DesiredImage]) -> DiskDevice:
    if text:
        try:
            return DiskDevice(text)
        except ValueError as error:
            raise ObjectError(
                f"volume {volume.name} cannot be a {clean_name(text)[:32]!r}", code="BadHardware"
            ) from error
    image = images.get(volume.image_id)
    return DiskDevice.CDROM if image is not None and image.format is ImageFormat.ISO else DiskDevice.DISK


def _parse_cloud_init(
    config: AppInstanceConfig, app_id: str, data: AppData, *, splits_multipart: bool
) -> CloudInit | None:
    """None when the guest is to get none, or there is nothing to tell it."""
    datasource = _DATASOURCES.get(config.metaDataType)
    user_data = _decode_user_data(data.user_data)
    secrets = data.secrets
    has_data = bool(user_data or secrets.meta_data or secrets.network_config)
    if datasource is None or not (has_data or config.cloud_init_version):
        return None
    return CloudInit(
        datasource,
        instance_id=f"{app_id}/{config.cloud_init_version or config.uuidandversion.version}",
        hostname="" if declares_hostname(user_data) else _want_hostname(config.displayname, app_id),
        user_data=SecretBytes(user_data),
        meta_data=SecretBytes(secrets.meta_data),
        network_config=SecretBytes(secrets.network_config),
        split_multipart=splits_multipart or config.metaDataType == appconfig_pb2.MetaDataDriveMultipart,
    )


def _decode_user_data(encoded: str) -> bytes:
    try:
        data = base64.b64decode("".join(encoded.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise UserDataError("user data is not base64") from error
    if len(data) > _USER_DATA_LIMIT_BYTES:
        raise UserDataError(f"user data is larger than {_USER_DATA_LIMIT_BYTES >> 20} MiB")
    return data


def declares_hostname(user_data: bytes) -> bool:
    """Whether the user data is a cloud-config that names the guest itself: then meta-data must not name it otherwise."""
    return user_data.lstrip().startswith(_CLOUD_CONFIG) and _DECLARES_HOSTNAME.search(user_data) is not None


def _want_hostname(name: str, app_id: str) -> str:
    return name if _HOSTNAME.fullmatch(name) else app_id


def parse_snapshots(config: SnapshotConfig, app_id: str, name: str, draft: Draft) -> SnapshotOrders:
    """What snapshots an app is to have. Ids become names on disk, so nothing but a UUID will do."""
    wanted = []
    for snapshot in config.snapshots:
        trigger = _TRIGGERS.get(snapshot.type)
        snapshot_id = snapshot.id.lower()
        if trigger is None or not is_uuid(snapshot_id):
            message = f"snapshot {clean_name(snapshot.id)[:64]!r} has no UUID or no type that this node knows"
            draft.add(ObjectKind.APP, app_id, name, "BadSnapshot", message)
            continue
        wanted.append(
            DesiredSnapshot(snapshot_id, clean_name(snapshot.eaves.name), trigger, snapshot.eaves.with_memory)
        )
    return SnapshotOrders(
        tuple(dict.fromkeys(wanted)),
        config.active_snapshot.lower(),
        config.rollback_cmd.counter,
        config.max_snapshots,
    )
