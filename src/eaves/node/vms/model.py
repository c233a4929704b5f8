"""What a virtual machine is made of: its spec, its folders and sockets, and what the host gives. Pure data."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from msgspec import Struct

from eaves.node.desired.secret import Secret
from eaves.node.desired.vm_model import ClockBase, CloudInit, DeviceModel, DiskDevice, Firmware
from eaves.node.hardware.plan import Assignment
from eaves.node.observed_vm import Accelerator
from eaves.node.vms.isolation.model import ContainerGuest
from eaves.node.workloads.abc import WorkloadSpec


class Architecture(StrEnum):
    X86_64 = "x86_64"
    AARCH64 = "aarch64"


class DiskFormat(StrEnum):
    RAW = "raw"
    QCOW2 = "qcow2"


class Disk(Struct, frozen=True):
    """A disk of the guest. ``boot_index``: from 1; ``serial`` is what the guest sees as the disk's serial number."""

    path: str
    format: DiskFormat
    device: DiskDevice
    boot_index: int
    serial: str
    read_only: bool = False


class Nic(Struct, frozen=True):
    """A network card behind a tap of the host."""

    tap: str
    mac: str
    mtu: int


class VmSpec(WorkloadSpec, frozen=True):
    """Everything that QEMU needs to make a machine. ``machine`` empty = the best for the host's architecture.

    ``root`` is the identity of the root volume: another one gets fresh firmware variables and a fresh TPM.
    """

    name: str
    root: str
    log_path: str
    memory_bytes: int
    vcpus: int
    cpu_millis: int = 0
    firmware: Firmware = Firmware.BIOS
    machine: str = ""
    device_model: DeviceModel = DeviceModel.VIRTIO
    disks: tuple[Disk, ...] = ()
    nics: tuple[Nic, ...] = ()
    cloud_init: CloudInit | None = None
    has_vtpm: bool = False
    has_vnc: bool = False
    vnc_password: Secret = Secret("")
    has_serial_console: bool = True
    has_guest_agent: bool = True
    dedicated_cpus: bool = False
    huge_page_bytes: int = 0
    balloon_min_bytes: int = 0
    clock_base: ClockBase = ClockBase.UTC
    container: ContainerGuest | None = None
    """What a small guest runs; None for a machine that boots from its disks."""
    devices: Assignment = Assignment()


class VmHost(Struct, frozen=True):
    """What this node offers to machines. ``note`` says for people why there is no KVM; paths are empty where nothing is installed."""

    architecture: Architecture
    qemu: str
    qemu_version: tuple[int, ...]
    accelerator: Accelerator
    note: str = ""
    uefi_code: str = ""
    uefi_vars: str = ""
    swtpm: str = ""


class VmFolders(Struct, frozen=True):
    """Where one machine's things are: ``keep`` outlives reboots, ``run`` does not. ``root`` as in the spec."""

    keep: Path
    run: Path
    root: str

    @property
    def nvram(self) -> Path:
        """Firmware variables; qcow2, so that snapshots can hold them."""
        return self.keep / f"nvram-{self.root}.qcow2"

    @property
    def tpm_state(self) -> Path:
        return self.keep / f"tpm-{self.root}"

    @property
    def tpm_socket(self) -> Path:
        return self.run / "tpm.sock"

    @property
    def seed(self) -> Path:
        """The image with the guest's first-boot data; on a memory file system, because it holds secrets."""
        return self.run / "seed.iso"

    @property
    def vnc_secret(self) -> Path:
        return self.run / "vnc.secret"

    @property
    def qmp(self) -> Path:
        """For the daemon; one client at a time."""
        return self.run / "qmp.sock"

    @property
    def monitor_qmp(self) -> Path:
        """For the machine's monitor."""
        return self.run / "monitor-qmp.sock"

    @property
    def serial(self) -> Path:
        """QEMU's end of the serial line; the monitor is its one client."""
        return self.run / "serial.sock"

    @property
    def console(self) -> Path:
        """The monitor's end of the serial line, for any number of clients."""
        return self.run / "console.sock"

    @property
    def live(self) -> Path:
        """The same for those who listen from now on."""
        return self.run / "live.sock"

    @property
    def exec(self) -> Path:
        """QEMU's end of the line to a small guest's agent; the daemon is its one client."""
        return self.run / "exec.sock"

    @property
    def vnc(self) -> Path:
        return self.run / "vnc.sock"

    @property
    def agent(self) -> Path:
        return self.run / "agent.sock"
