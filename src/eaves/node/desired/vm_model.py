"""What a config asks of a virtual machine, in the node's own words: the part of ``DesiredApp`` that containers lack.

Made by :mod:`eaves.node.desired.vms`, read by the engine that runs virtual machines.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from eaves.node.desired.secret import Secret, SecretBytes


class Isolation(StrEnum):
    """What keeps a container apart: the host's kernel, or a kernel of its own in a small virtual machine."""

    PROCESS = "Process"
    VM = "VM"


class Firmware(StrEnum):
    BIOS = "BIOS"
    UEFI = "UEFI"


class DeviceModel(StrEnum):
    """LEGACY stands for devices that every old system has drivers for: IDE or AHCI disks, e1000 network, VGA."""

    VIRTIO = "Virtio"
    LEGACY = "Legacy"


class ClockBase(StrEnum):
    """What the hardware clock shows: most systems expect UTC, Windows local time."""

    UTC = "UTC"
    LOCAL_TIME = "LocalTime"


class DiskDevice(StrEnum):
    DISK = "Disk"
    CDROM = "CDROM"


class VmDisk(Struct, frozen=True):
    """A volume as the guest sees it. Its file comes from the volumes, by (volume_id, generation)."""

    volume_id: str
    generation: int
    name: str
    device: DiskDevice = DiskDevice.DISK
    boot_index: int = 0
    """Place in the boot order from 1, unique among the disks of one machine."""
    read_only: bool = False
    is_root: bool = False
    has_snapshots: bool = False
    """Among the disks that snapshots of the app are made of."""


class Datasource(StrEnum):
    """How cloud-init in the guest finds its data."""

    NO_CLOUD = "NoCloud"
    CONFIG_DRIVE = "ConfigDrive"


class CloudInit(Struct, frozen=True):
    """First-boot data of the guest. All of it may hold secrets; it goes into an image that only the guest reads."""

    datasource: Datasource
    instance_id: str
    """cloud-init runs anew when it differs from the one that the guest has seen."""
    hostname: str = ""
    """For meta-data that the operator does not give; empty = the user data set one."""
    user_data: SecretBytes = SecretBytes(b"")
    meta_data: SecretBytes = SecretBytes(b"")
    """YAML of the operator's own, which replaces what would be made; empty = made from instance_id and hostname."""
    network_config: SecretBytes = SecretBytes(b"")
    split_multipart: bool = False
    """User data is a MIME archive whose parts are the files of the image (EVE's MetaDataDriveMultipart)."""


class DesiredVm(Struct, frozen=True):
    """The hardware of a virtual machine. Memory, CPU limit and interfaces are those of the app."""

    vcpus: int
    firmware: Firmware = Firmware.BIOS
    machine: str = ""
    """QEMU machine type such as ``q35`` or ``pc``; empty = the best for the host's architecture."""
    device_model: DeviceModel = DeviceModel.VIRTIO
    disks: tuple[VmDisk, ...] = ()
    """In the order of the config, the root disk among them (first in most configs)."""
    cloud_init: CloudInit | None = None
    has_vtpm: bool = False
    has_vnc: bool = False
    vnc_password: Secret = Secret("")
    has_serial_console: bool = True
    has_guest_agent: bool = True
    """Whether the channel of the QEMU guest agent is there; whether the guest answers on it is its own matter."""
    dedicated_cpus: bool = False
    """Each virtual CPU has a host CPU of its own."""
    huge_page_bytes: int = 0
    """Size of the pages that back its memory, 0 = ordinary ones."""
    balloon_min_bytes: int = 0
    """The node may take memory away down to this much when it is short; 0 = never."""
    clock_base: ClockBase = ClockBase.UTC
    is_suspended: bool = False
    """Before the node reboots by order its memory is saved, and it goes on after the boot; else it is shut down."""


class SnapshotTrigger(StrEnum):
    """When a snapshot is taken: as soon as it is asked for, or when the app next stops for an update."""

    IMMEDIATE = "Immediate"
    APP_UPDATE = "AppUpdate"


class DesiredSnapshot(Struct, frozen=True):
    """One snapshot that is to exist."""

    id: str
    name: str = ""
    trigger: SnapshotTrigger = SnapshotTrigger.IMMEDIATE
    with_memory: bool = False


class SnapshotOrders(Struct, frozen=True):
    """All snapshots that an app is to have; one that the node has and this lacks is to be deleted."""

    wanted: tuple[DesiredSnapshot, ...] = ()
    active_id: str = ""
    """What to go back to when ``rollback_counter`` differs from the one handled last."""
    rollback_counter: int = 0
    max_count: int = 0
    """The oldest go when there are more; 0 = no limit."""
    volumes: tuple[str, ...] = ()
    """Ids of the volumes of a container that they are made of; the disks of a machine are marked."""
