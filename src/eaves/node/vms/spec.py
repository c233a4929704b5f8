"""Desired app and its ready dependencies → the machine's spec. Pure."""

from __future__ import annotations

import msgspec

from eaves.node.containers.spec import check_app
from eaves.node.desired.model import AppKind, DesiredApp
from eaves.node.desired.vm_model import DeviceModel, DiskDevice, Firmware, VmDisk
from eaves.node.vms.isolation.model import OVERHEAD_BYTES, ContainerGuest, Share
from eaves.node.vms.model import Architecture, Disk, DiskFormat, Nic, VmHost, VmSpec
from eaves.node.workloads.abc import EngineKind, Ready
from eaves.node.workloads.errors import SpecImpossibleError
from eaves.node.workloads.spec import digest_spec

_SERIAL_LIMIT = 20
"""What virtio-blk keeps of a serial number."""
_IDE_LIMIT = 4
_AHCI_LIMIT = 6
_MACHINES = {
    Architecture.X86_64: ("q35", "pc"),
    Architecture.AARCH64: ("virt",),
}


def want_spec(app: DesiredApp, ready: Ready, architecture: Architecture, *, log_path: str, key: bytes) -> VmSpec:
    """The spec of ``app``; ``key`` makes digests useless to who guesses secrets.

    Raises SpecImpossibleError for what no machine can have; what this node lacks :func:`check_host` says.
    """
    if app.kind is AppKind.CONTAINER:
        return _want_guest(app, ready, architecture, log_path=log_path, key=key)
    if app.vm is None:
        raise SpecImpossibleError("the config says nothing of its hardware", element=f"app {app.name}")
    vm = app.vm
    spec = VmSpec(
        app_id=app.id,
        engine=EngineKind.VM,
        name=app.name,
        root=f"{app.root_generation}.{app.purge_counter}",
        log_path=log_path,
        memory_bytes=app.memory_bytes,
        vcpus=vm.vcpus,
        cpu_millis=app.cpu_millis,
        firmware=vm.firmware,
        machine=vm.machine or want_machine(vm.device_model, architecture),
        device_model=vm.device_model,
        disks=tuple(_want_disk(disk, ready) for disk in vm.disks),
        nics=tuple(Nic(tap.link, tap.mac, tap.mtu) for tap in ready.connection.taps),
        cloud_init=vm.cloud_init,
        has_vtpm=vm.has_vtpm,
        has_vnc=vm.has_vnc,
        vnc_password=vm.vnc_password,
        has_serial_console=vm.has_serial_console,
        has_guest_agent=vm.has_guest_agent,
        dedicated_cpus=vm.dedicated_cpus,
        huge_page_bytes=vm.huge_page_bytes,
        balloon_min_bytes=vm.balloon_min_bytes,
        clock_base=vm.clock_base,
        devices=ready.devices,
    )
    _check_machine(spec, architecture)
    _check_disks(spec)
    return msgspec.structs.replace(spec, digest=digest_spec(spec, key))


def _want_guest(app: DesiredApp, ready: Ready, architecture: Architecture, *, log_path: str, key: bytes) -> VmSpec:
    """A container with a kernel of its own. What the app asked for is its container's; the kernel has its memory on top."""
    check_app(app)
    connection = ready.connection
    guest = ContainerGuest(
        image=ready.image,
        hostname=connection.hostname,
        env=app.env,
        command=app.command,
        args=app.args,
        working_dir=app.working_dir,
        shares=tuple(
            Share(ready.volumes[mount.volume_id, mount.generation], mount.mount_path, mount.read_only)
            for mount in app.mounts
        ),
        files=app.files,
    )
    spec = VmSpec(
        app_id=app.id,
        engine=EngineKind.VM,
        name=app.name,
        root=f"{app.root_generation}.{app.purge_counter}",
        log_path=log_path,
        memory_bytes=app.memory_bytes + OVERHEAD_BYTES,
        vcpus=max(1, -(-app.cpu_millis // 1000)),
        cpu_millis=app.cpu_millis,
        machine=want_machine(DeviceModel.VIRTIO, architecture),
        nics=tuple(Nic(tap.link, tap.mac, tap.mtu) for tap in connection.taps),
        has_guest_agent=False,
        devices=ready.devices,
        container=guest,
    )
    return msgspec.structs.replace(spec, digest=digest_spec(spec, key))


def want_machine(model: DeviceModel, architecture: Architecture) -> str:
    """The machine type that suits: old systems know the chips of the old one."""
    if architecture is Architecture.AARCH64:
        return "virt"
    return "pc" if model is DeviceModel.LEGACY else "q35"


def is_pc(machine: str) -> bool:
    """Whether it is the old PC (i440FX), which has IDE where q35 has AHCI; versions of it are called ``pc-i440fx-…``."""
    return machine == "pc" or machine.startswith("pc-i440fx")


def _want_disk(disk: VmDisk, ready: Ready) -> Disk:
    path = ready.volumes[disk.volume_id, disk.generation]
    suffix = path.rpartition(".")[2]
    return Disk(
        path,
        DiskFormat.QCOW2 if suffix == DiskFormat.QCOW2 else DiskFormat.RAW,
        disk.device,
        disk.boot_index,
        disk.volume_id.replace("-", "")[:_SERIAL_LIMIT],
        disk.read_only,
    )


def check_host(spec: VmSpec, host: VmHost) -> None:
    """Raises SpecImpossibleError for what this node cannot give."""
    element = f"app {spec.name}"
    if spec.firmware is Firmware.UEFI and not host.uefi_code:
        raise SpecImpossibleError(
            "this node has no UEFI firmware",
            element=element,
            resolution="install the package ovmf (qemu-efi-aarch64 on Arm), or use firmware: BIOS",
        )
    if spec.has_vtpm and not host.swtpm:
        raise SpecImpossibleError(
            "this node cannot emulate a TPM",
            element=element,
            resolution="install the package swtpm, or leave the vTPM out",
        )


def _check_machine(spec: VmSpec, architecture: Architecture) -> None:
    element = f"app {spec.name}"
    known = _MACHINES[architecture]
    if not any(spec.machine == name or spec.machine.startswith((f"pc-{name}-", f"{name}-")) for name in known):
        raise SpecImpossibleError(
            f"this node has no machine {spec.machine!r}", element=element, resolution=f"use {' or '.join(known)}"
        )
    if spec.firmware is Firmware.BIOS and architecture is not Architecture.X86_64:
        raise SpecImpossibleError("this node has no BIOS", element=element, resolution="use firmware: UEFI")


def _check_disks(spec: VmSpec) -> None:
    limit = _IDE_LIMIT if is_pc(spec.machine) else _AHCI_LIMIT
    is_legacy = spec.device_model is DeviceModel.LEGACY
    on_cable = [disk for disk in spec.disks if is_legacy or disk.device is DiskDevice.CDROM]
    seeds = 1 if is_legacy and spec.cloud_init is not None else 0
    if len(on_cable) + seeds > limit and spec.machine.split("-", maxsplit=1)[0] != "virt":
        raise SpecImpossibleError(
            f"{len(on_cable) + seeds} disks and CD-ROMs do not fit the {limit} places of machine {spec.machine}",
            element=f"app {spec.name}",
            resolution="use deviceModel: Virtio for disks, or fewer of them",
        )
