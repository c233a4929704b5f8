"""What an App of type VirtualMachine asks for besides what every App has: the Structs of ``spec.vm``."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

from eaves.kinds.fields import KeyReference, Quantity, about


class Firmware(StrEnum):
    UEFI = "UEFI"
    BIOS = "BIOS"


class DeviceModel(StrEnum):
    VIRTIO = "Virtio"
    LEGACY = "Legacy"


class ClockBase(StrEnum):
    UTC = "UTC"
    LOCAL_TIME = "LocalTime"


class HugePages(StrEnum):
    TWO_MIB = "2Mi"
    ONE_GIB = "1Gi"


class DiskDevice(StrEnum):
    DISK = "Disk"
    CDROM = "CDROM"


class NodeRestart(StrEnum):
    SHUTDOWN = "Shutdown"
    SUSPEND = "Suspend"


class Datasource(StrEnum):
    NO_CLOUD = "NoCloud"
    CONFIG_DRIVE = "ConfigDrive"
    NONE = "None"


MOST_INLINE = 128 * 1024
"""Characters of a document in the App itself; a Secret or ConfigMap may hold more."""

Document = Annotated[str, Meta(max_length=MOST_INLINE)]
BootOrder = Annotated[int, Meta(ge=1, le=64)]


class DataSource(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Where a document comes from: exactly one of the fields."""

    secret_key_ref: Annotated[KeyReference | None, about("A key of a Secret.")] = None
    config_map_key_ref: Annotated[KeyReference | None, about("A key of a ConfigMap.")] = None


class CloudInit(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """What the guest reads at its first start; it travels encrypted to the node."""

    datasource: Annotated[
        Datasource, about("How the guest finds it: a disk labelled cidata (NoCloud) or config-2 (ConfigDrive).")
    ] = Datasource.NO_CLOUD
    user_data: Annotated[Document | None, about("#cloud-config, a script, or whatever the guest understands.")] = None
    user_data_from: Annotated[DataSource | None, about("Take userData from a Secret or ConfigMap.")] = None
    meta_data: Annotated[
        Document | None,
        about(
            "Replaces the meta-data that the node makes: YAML for NoCloud, the JSON of OpenStack for ConfigDrive.",
        ),
    ] = None
    meta_data_from: Annotated[DataSource | None, about("Take metaData from a Secret or ConfigMap.")] = None
    network_config: Annotated[
        Document | None,
        about(
            "Network settings: YAML of cloud-init for NoCloud, OpenStack's JSON for ConfigDrive.",
        ),
    ] = None
    network_config_from: Annotated[DataSource | None, about("Take networkConfig from a Secret or ConfigMap.")] = None
    version: Annotated[
        int, about("Raise it by one to let the guest run all of it again at its next start.", ge=1, le=0xFFFFFFFF)
    ] = 1


class RootDisk(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """The disk that is made from spec.image."""

    size: Annotated[
        Quantity | None, about("Size; that of the image when absent or smaller. It may grow, never shrink.")
    ] = None
    boot_order: Annotated[
        BootOrder | None, about("Place in the boot order; after the disks that name one when absent.")
    ] = None


class Vnc(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """The screen, reached by kubectl eaves vnc; no port of the node is opened."""

    enabled: Annotated[bool, about("Whether there is a screen.")] = True
    password_secret_key_ref: Annotated[
        KeyReference | None, about("A key of a Secret with the password, up to 8 characters.")
    ] = None


class Balloon(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Memory that the node may take back from the guest when it is short."""

    min_memory: Annotated[Quantity, about("What the guest keeps in any case.")]


class VmSpec(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """The hardware of a virtual machine, and its first-boot data."""

    firmware: Annotated[
        Firmware | None, about("UEFI or BIOS; UEFI with devices of model Virtio, BIOS with Legacy when absent.")
    ] = None
    machine: Annotated[
        str, about("QEMU machine type such as q35, pc or virt; the node chooses when empty.", max_length=64)
    ] = ""
    device_model: Annotated[
        DeviceModel, about("Virtio is fast and needs drivers; Legacy (IDE, e1000) works with every old system.")
    ] = DeviceModel.VIRTIO
    root_disk: Annotated[RootDisk, about("The disk that is made from spec.image.")] = RootDisk()
    cloud_init: Annotated[CloudInit | None, about("What the guest reads at its first start.")] = None
    vtpm: Annotated[bool, about("A TPM 2.0 whose state is kept; needs UEFI.")] = False
    vnc: Annotated[Vnc | None, about("The screen; none when absent.")] = None
    serial_console: Annotated[
        bool, about("A serial port, shown by kubectl logs and opened by kubectl attach and kubectl eaves console.")
    ] = True
    guest_agent: Annotated[bool, about("The channel for the QEMU guest agent, which tells addresses.")] = True
    dedicated_cpus: Annotated[
        bool,
        about("It runs on as many processors of the node as it has, which no other machine gets as dedicated ones."),
    ] = False
    huge_pages: Annotated[HugePages | None, about("Pages of this size back the memory; the node must have them.")] = (
        None
    )
    balloon: Annotated[Balloon | None, about("Memory that the node may take back; none when absent.")] = None
    clock: Annotated[ClockBase, about("What the hardware clock shows; Windows expects LocalTime.")] = ClockBase.UTC
    on_node_restart: Annotated[
        NodeRestart,
        about(
            "Before the node reboots by order it is shut down, or its memory is saved and it goes on after the boot."
        ),
    ] = NodeRestart.SHUTDOWN


def firmware_of(vm: VmSpec) -> Firmware:
    """As written, or by the model of the devices."""
    if vm.firmware is not None:
        return vm.firmware
    return Firmware.BIOS if vm.device_model is DeviceModel.LEGACY else Firmware.UEFI
