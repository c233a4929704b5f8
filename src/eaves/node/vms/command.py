"""Spec and host → QEMU's command line. Pure.

No default devices, no TCP port, every part named: what is not written here the guest does not have.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator

from eaves.node.desired.vm_model import ClockBase, DeviceModel, DiskDevice, Firmware
from eaves.node.observed_vm import Accelerator
from eaves.node.vms.isolation.model import EXEC_PORT, GuestBoot
from eaves.node.vms.model import Architecture, Disk, DiskFormat, Nic, VmFolders, VmHost, VmSpec
from eaves.node.vms.passthrough import render_passthrough
from eaves.node.vms.spec import is_pc

_TCG_CACHE_MIB = 64
"""For translated code; QEMU would take a gigabyte on a big host."""
_NAMES_LIMIT = 60


def render_command(spec: VmSpec, host: VmHost, folders: VmFolders, boot: GuestBoot | None = None) -> list[str]:
    """QEMU's argv. ``boot``: what a small guest boots from; a machine boots from its disks."""
    return [
        host.qemu,
        *_render_base(spec, host),
        *_render_memory(spec),
        *_render_clock(spec, host),
        *_render_firmware(spec, host, folders),
        *_render_channels(spec, folders),
        *_render_disks(spec, host, folders),
        *_render_nics(spec, host),
        *_render_screen(spec, host, folders),
        *_render_tpm(spec, host, folders),
        *render_passthrough(spec.devices, host.architecture, has_pci_bus=is_pc(spec.machine)),
        *_render_helpers(spec, host),
        *(_render_guest(spec, boot) if boot is not None else []),
    ]


def _render_base(spec: VmSpec, host: VmHost) -> list[str]:
    machine = [spec.machine, "dump-guest-core=off", "memory-backend=ram0"]
    if host.architecture is Architecture.X86_64:
        machine.append("vmport=off")
    else:
        machine.append("gic-version=max")
    is_kvm = host.accelerator is Accelerator.KVM
    accelerator = "kvm" if is_kvm else f"tcg,thread=multi,tb-size={_TCG_CACHE_MIB}"
    return [
        "-name",
        f"guest={_escape(spec.name[:_NAMES_LIMIT])},debug-threads=on",
        "-uuid",
        str(want_uuid(spec.app_id)),
        "-nodefaults",
        "-no-user-config",
        "-machine",
        ",".join(machine),
        "-accel",
        accelerator,
        "-cpu",
        "host" if is_kvm else "max",
        "-smp",
        f"{spec.vcpus},sockets=1,cores={spec.vcpus},threads=1",
        "-boot",
        "strict=on",
        # A guest that panics ends as one that crashed; its own reboots stay inside of the process.
        "-action",
        "panic=shutdown,reboot=reset,shutdown=poweroff",
        "-smbios",
        f"type=1,manufacturer=Eaves,product=Virtual machine,uuid={want_uuid(spec.app_id)}",
    ]


def _render_memory(spec: VmSpec) -> list[str]:
    size = f"size={spec.memory_bytes}"
    if spec.huge_page_bytes:
        backend = f"memory-backend-memfd,id=ram0,{size},hugetlb=on,hugetlbsize={spec.huge_page_bytes},prealloc=on"
    else:
        backend = f"memory-backend-ram,id=ram0,{size}"
    return ["-m", f"{spec.memory_bytes}B", "-object", backend]


def _render_clock(spec: VmSpec, host: VmHost) -> list[str]:
    base = "localtime" if spec.clock_base is ClockBase.LOCAL_TIME else "utc"
    drift = ",driftfix=slew" if host.architecture is Architecture.X86_64 else ""
    return ["-rtc", f"base={base},clock=host{drift}"]


def _render_firmware(spec: VmSpec, host: VmHost, folders: VmFolders) -> list[str]:
    if spec.firmware is not Firmware.UEFI:
        return []
    return [
        *_blockdev("fw-code-file", driver="file", filename=host.uefi_code, read_only=True),
        *_blockdev("fw-code", driver="raw", file="fw-code-file", read_only=True),
        *_blockdev("fw-vars-file", driver="file", filename=str(folders.nvram)),
        *_blockdev("fw-vars", driver="qcow2", file="fw-vars-file"),
        "-machine",
        "pflash0=fw-code,pflash1=fw-vars",
    ]


def _render_channels(spec: VmSpec, folders: VmFolders) -> list[str]:
    """Sockets for the daemon, the monitor and the guest's agent; QEMU serves them and goes on whoever comes and goes."""
    args = [
        *_socket("qmp0", str(folders.qmp)),
        "-mon",
        "chardev=qmp0,mode=control",
        *_socket("qmp1", str(folders.monitor_qmp)),
        "-mon",
        "chardev=qmp1,mode=control",
    ]
    if spec.has_serial_console:
        args += [*_socket("serial0", str(folders.serial)), "-serial", "chardev:serial0"]
    if spec.has_guest_agent:
        args += [
            *_socket("agent0", str(folders.agent)),
            "-device",
            "virtio-serial-pci,id=channel0",
            "-device",
            "virtserialport,chardev=agent0,name=org.qemu.guest_agent.0",
        ]
    if spec.container is not None:
        args += [
            *_socket("exec0", str(folders.exec)),
            "-device",
            "virtio-serial-pci,id=channel0",
            "-device",
            f"virtserialport,chardev=exec0,name={EXEC_PORT}",
        ]
    return args


def _render_disks(spec: VmSpec, host: VmHost, folders: VmFolders) -> list[str]:
    args: list[str] = []
    places = _cable_places(spec.machine)
    if _has_scsi(spec, host):
        args += ["-device", "virtio-scsi-pci,id=scsi0"]
    for number, disk in enumerate(spec.disks):
        node = f"disk{number}"
        args += _render_nodes(node, disk)
        is_cable = spec.device_model is DeviceModel.LEGACY or disk.device is DiskDevice.CDROM
        options = {"drive": node, "id": f"{node}-device", "bootindex": disk.boot_index, "serial": disk.serial}
        # A full disk of the host pauses the guest instead of telling it of a broken disk.
        options |= {"werror": "stop", "rerror": "report"}
        if disk.device is DiskDevice.CDROM:
            args += _device("scsi-cd" if host.architecture is Architecture.AARCH64 else "ide-cd", options, places)
        elif is_cable and host.architecture is Architecture.X86_64:
            args += _device("ide-hd", options, places)
        else:
            args += _device("virtio-blk-pci", options, places)
    if spec.cloud_init is not None:
        seed = Disk(str(folders.seed), DiskFormat.RAW, DiskDevice.CDROM, 0, "seed", read_only=True)
        args += _render_nodes("seed", seed)
        # Cloud kernels have virtio but often no AHCI; what looks for the data looks at every disk's label.
        is_cable = spec.device_model is DeviceModel.LEGACY and host.architecture is Architecture.X86_64
        args += _device("ide-cd" if is_cable else "virtio-blk-pci", {"drive": "seed", "id": "seed-device"}, places)
    return args


def _render_nodes(node: str, disk: Disk) -> list[str]:
    """The file and the format as nodes of their own, by which snapshots and sizes are addressed."""
    return [
        *_blockdev(
            f"{node}-file",
            driver="file",
            filename=disk.path,
            read_only=disk.read_only,
            discard="unmap",
            # Through the host's cache: a flush of the guest reaches the disk all the same.
            cache={"direct": False, "no-flush": False},
        ),
        *_blockdev(node, driver=disk.format.value, file=f"{node}-file", read_only=disk.read_only, discard="unmap"),
    ]


def _render_nics(spec: VmSpec, host: VmHost) -> list[str]:
    args: list[str] = []
    is_legacy = spec.device_model is DeviceModel.LEGACY and host.architecture is Architecture.X86_64
    for number, nic in enumerate(spec.nics):
        args += ["-netdev", f"tap,id=net{number},ifname={nic.tap},script=no,downscript=no"]
        args += ["-device", _render_nic(nic, number, is_legacy=is_legacy)]
    return args


def _render_nic(nic: Nic, number: int, *, is_legacy: bool) -> str:
    # Without ROM: nobody boots from the network here, and looking for it would take time at every start.
    kind = "e1000" if is_legacy else f"virtio-net-pci,host_mtu={nic.mtu}"
    return f"{kind},netdev=net{number},id=nic{number},mac={nic.mac},romfile="


def _render_screen(spec: VmSpec, host: VmHost, folders: VmFolders) -> list[str]:
    is_x86 = host.architecture is Architecture.X86_64
    is_legacy = spec.device_model is DeviceModel.LEGACY
    # Old systems do not boot without a screen even when nobody looks at it.
    card = ["-device", "VGA" if is_x86 else "virtio-gpu-pci"] if spec.has_vnc or (is_legacy and is_x86) else []
    if not spec.has_vnc:
        return [*card, "-display", "none"]
    hub = "piix3-usb-uhci,id=usb0" if is_legacy and is_x86 and is_pc(spec.machine) else "qemu-xhci,id=usb0"
    pointer = ["-device", hub, "-device", "usb-tablet,bus=usb0.0"]
    if not is_x86:
        pointer += ["-device", "usb-kbd,bus=usb0.0"]
    vnc = f"unix:{_escape(str(folders.vnc))}"
    if not spec.vnc_password:
        return [*card, *pointer, "-vnc", vnc]
    secret = f"secret,id=vnc0,file={_escape(str(folders.vnc_secret))}"
    return [*card, *pointer, "-object", secret, "-vnc", f"{vnc},password-secret=vnc0"]


def _render_tpm(spec: VmSpec, host: VmHost, folders: VmFolders) -> list[str]:
    if not spec.has_vtpm:
        return []
    x86_device = "tpm-crb" if spec.firmware is Firmware.UEFI else "tpm-tis"
    device = "tpm-tis-device" if host.architecture is Architecture.AARCH64 else x86_device
    return [
        "-chardev",
        f"socket,id=tpm-socket,path={_escape(str(folders.tpm_socket))}",
        "-tpmdev",
        "emulator,id=tpm0,chardev=tpm-socket",
        "-device",
        f"{device},tpmdev=tpm0",
    ]


def _render_helpers(spec: VmSpec, host: VmHost) -> list[str]:
    """Random numbers, memory that can be given back, and a way for a kernel to say that it panicked."""
    args: list[str] = []
    if spec.device_model is DeviceModel.VIRTIO:
        args += ["-device", "virtio-rng-pci"]
    if spec.device_model is DeviceModel.VIRTIO and not spec.devices.pci:
        # A device that reads memory by itself needs all of it in place.
        args += ["-device", "virtio-balloon-pci,id=balloon0,free-page-reporting=on,deflate-on-oom=on"]
    if host.architecture is Architecture.X86_64 and is_pc(spec.machine):
        args += ["-device", "pvpanic"]
    else:
        args += ["-device", "pvpanic-pci"]
    return args


def _render_guest(spec: VmSpec, boot: GuestBoot) -> list[str]:
    """Kernel, initrd and the folders that the guest sees."""
    args = ["-kernel", boot.kernel, "-initrd", boot.initrd]
    args += ["-append", "console=ttyS0 console=ttyAMA0 quiet loglevel=0 panic=0 no_timer_check rdinit=/init"]
    shares = [("root", boot.root, False), ("share", boot.share, False)]
    if spec.container is not None:
        shares += [(f"volume{n}", share.source, share.read_only) for n, share in enumerate(spec.container.shares)]
    for tag, path, read_only in shares:
        option = ",readonly=on" if read_only else ""
        args += ["-fsdev", f"local,id={tag},path={_escape(path)},security_model=passthrough{option}"]
        args += ["-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"]
    return args


def want_uuid(app_id: str) -> uuid.UUID:
    """The machine's UUID: the app's own id where that is one."""
    try:
        return uuid.UUID(app_id)
    except ValueError:
        return uuid.uuid5(uuid.NAMESPACE_OID, app_id)


def render_tpm_command(host: VmHost, folders: VmFolders) -> list[str]:
    """swtpm's argv. It ends with the machine."""
    return [
        host.swtpm,
        "socket",
        "--tpm2",
        "--tpmstate",
        f"dir={folders.tpm_state},mode=0600",
        "--ctrl",
        f"type=unixio,path={folders.tpm_socket},mode=0600",
        "--terminate",
    ]


def _has_scsi(spec: VmSpec, host: VmHost) -> bool:
    is_arm = host.architecture is Architecture.AARCH64
    return is_arm and any(disk.device is DiskDevice.CDROM for disk in spec.disks)


def _cable_places(machine: str) -> Iterator[str]:
    """Bus and unit of each place for a disk: two cables of two on the old PC, a cable each on q35."""
    if is_pc(machine):
        return iter(["bus=ide.0,unit=0", "bus=ide.0,unit=1", "bus=ide.1,unit=0", "bus=ide.1,unit=1"])
    return iter([f"bus=ide.{number}" for number in range(6)])


def _device(kind: str, options: dict[str, object], places: Iterator[str]) -> list[str]:
    text = ",".join(f"{name}={value}" for name, value in options.items() if value not in ("", 0))
    place = f",{next(places)}" if kind.startswith("ide-") else ""
    return ["-device", f"{kind},{text}{place}"]


def _blockdev(node: str, **options: object) -> list[str]:
    # JSON, because a path may hold commas.
    named = {"node-name": node} | {name.replace("_", "-"): value for name, value in options.items()}
    return ["-blockdev", json.dumps(named)]


def _socket(name: str, path: str) -> list[str]:
    return ["-chardev", f"socket,id={name},path={_escape(path)},server=on,wait=off"]


def _escape(text: str) -> str:
    """A comma in a value is written twice."""
    return text.replace(",", ",,")
