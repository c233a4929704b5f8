"""Rules for an App that its schema cannot express, as far as they differ between containers and virtual machines."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import yaml

from eaves.kinds import rules
from eaves.kinds.app_spec import AppSpec, AppVolume, Isolation, image_format_of, vm_of
from eaves.kinds.app_status import AppStatus
from eaves.kinds.image_format import ImageFormat
from eaves.kinds.rules import forbidden, invalid, required
from eaves.kinds.vm_spec import (
    CloudInit,
    DataSource,
    Datasource,
    DeviceModel,
    DiskDevice,
    Firmware,
    HugePages,
    VmSpec,
    firmware_of,
)
from eaves.kube.errors import FieldError
from eaves.kube.quantity import QuantityError, parse_bytes, render_bytes

LEAST_VM_MEMORY = "16Mi"
SECTOR_BYTES = 512

_MACHINE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,63}")
_OF_CONTAINERS = ("command", "args", "working_dir", "env", "env_from", "files")
_PAGE_BYTES = {HugePages.TWO_MIB: 2 << 20, HugePages.ONE_GIB: 1 << 30}


def check_container(spec: AppSpec) -> Iterator[FieldError]:
    """What a container cannot have."""
    detail = "only an app of type VirtualMachine has it"
    if spec.vm is not None:
        yield forbidden("spec.vm", detail)
    if spec.image_format not in (None, ImageFormat.CONTAINER):
        yield invalid("spec.imageFormat", spec.image_format, "a container starts from a Container image")
    if spec.rollback is not None:
        yield from rules.check_dns_subdomain("spec.rollback.snapshotName", spec.rollback.snapshot_name)
    for index, volume in enumerate(spec.volumes):
        path = f"spec.volumes[{index}]"
        if volume.device is not None:
            yield forbidden(f"{path}.device", f"{detail}; a container mounts volumes at mountPath")
        if volume.boot_order is not None:
            yield forbidden(f"{path}.bootOrder", detail)
        if not volume.mount_path:
            yield required(f"{path}.mountPath", "a container needs the place to mount it at")


def check_machine(spec: AppSpec) -> Iterator[FieldError]:
    """A virtual machine, and what it cannot have."""
    for name in _OF_CONTAINERS:
        if getattr(spec, name):
            head, *rest = name.split("_")
            path = "spec." + head + "".join(word.title() for word in rest)
            yield forbidden(path, "a virtual machine gets its settings by spec.vm.cloudInit")
    if spec.isolation is Isolation.VM:
        yield forbidden("spec.isolation", "a virtual machine has a kernel of its own in any case")
    yield from _check_format(spec)
    vm = vm_of(spec)
    yield from _check_disks(spec, vm)
    yield from _check_hardware(spec, vm)
    yield from _check_memory(spec, vm)
    if vm.cloud_init is not None:
        yield from _check_cloud_init("spec.vm.cloudInit", vm.cloud_init)
    if spec.rollback is not None:
        yield from rules.check_dns_subdomain("spec.rollback.snapshotName", spec.rollback.snapshot_name)


def find_warnings(spec: AppSpec, status: AppStatus) -> Iterator[str]:
    """What is allowed of a machine and hardly wanted."""
    if text := explain_small_root(spec, status):
        yield f"spec.vm.rootDisk.size: {text}"
    yield from _find_boot_warnings(spec)


def explain_small_root(spec: AppSpec, status: AppStatus) -> str:
    """What becomes of a root disk for which less is asked than its image takes; empty when that is not so, or when no node has told
    yet how large the image is. Sizes of disks are whole sectors, so one may be larger by less than that.
    """
    asked, disk = vm_of(spec).root_disk.size, status.root_disk
    if asked is None or disk is None or disk.size is None or disk.image != spec.image:
        return ""
    if parse_bytes(disk.size) - parse_bytes(asked) < SECTOR_BYTES:
        return ""
    size = render_bytes(parse_bytes(disk.size))
    return (
        f"{asked} is less than the {size} of the image, so the disk has {size}; ask for {size} or more, or leave it out"
    )


def _find_boot_warnings(spec: AppSpec) -> Iterator[str]:
    vm = vm_of(spec)
    if firmware_of(vm) is not Firmware.BIOS or image_format_of(spec) is ImageFormat.ISO:
        return
    root = vm.root_disk.boot_order
    for index, volume in enumerate(spec.volumes):
        if volume.boot_order is None or volume.device is DiskDevice.CDROM or volume.volume_name:
            continue
        if root is None or volume.boot_order < root:
            yield (
                f"spec.volumes[{index}].bootOrder: BIOS boots from the first disk alone, and this one is empty; "
                "set spec.vm.rootDisk.bootOrder to a smaller number, or use UEFI"
            )
            return


def _check_format(spec: AppSpec) -> Iterator[FieldError]:
    if spec.image_format is ImageFormat.CONTAINER:
        yield invalid("spec.imageFormat", spec.image_format, "a virtual machine starts from a disk image")
    elif image_format_of(spec) is None:
        yield required("spec.imageFormat", "the name of the image may mean several formats")


def _check_disks(spec: AppSpec, vm: VmSpec) -> Iterator[FieldError]:
    orders = [("spec.vm.rootDisk.bootOrder", vm.root_disk.boot_order)]
    for index, volume in enumerate(spec.volumes):
        path = f"spec.volumes[{index}]"
        yield from _check_disk(path, volume)
        orders.append((f"{path}.bootOrder", volume.boot_order))
    yield from rules.check_no_repeats((path, order) for path, order in orders if order is not None)
    if vm.root_disk.size is not None:
        if image_format_of(spec) is ImageFormat.ISO:
            yield forbidden("spec.vm.rootDisk.size", "an ISO image is a CD-ROM; add a disk to spec.volumes")
        else:
            yield from rules.check_quantity("spec.vm.rootDisk.size", vm.root_disk.size, minimum="1Mi", maximum="64Ti")


def _check_disk(path: str, volume: AppVolume) -> Iterator[FieldError]:
    if volume.mount_path:
        yield forbidden(f"{path}.mountPath", "a virtual machine sees a disk, which its own system mounts; leave it out")
    if volume.device is DiskDevice.CDROM and not volume.volume_name:
        yield required(f"{path}.volumeName", "a CD-ROM comes from a Volume whose source is an ISO image")


def _check_hardware(spec: AppSpec, vm: VmSpec) -> Iterator[FieldError]:
    if vm.machine and not _MACHINE.fullmatch(vm.machine):
        yield invalid("spec.vm.machine", vm.machine, "must be lower-case letters, digits, '.', '+' and '-'")
    if vm.vtpm and firmware_of(vm) is Firmware.BIOS:
        yield forbidden("spec.vm.vtpm", "BIOS firmware knows no TPM 2.0; set spec.vm.firmware to UEFI")
    elif vm.vtpm and vm.device_model is DeviceModel.LEGACY:
        yield forbidden("spec.vm.vtpm", "a machine with legacy devices has no TPM; use deviceModel Virtio")
    if vm.vnc is not None and not vm.vnc.enabled and vm.vnc.password_secret_key_ref is not None:
        yield forbidden("spec.vm.vnc.passwordSecretKeyRef", "there is no screen to protect; set enabled to true")
    if vm.dedicated_cpus and spec.resources.cpus is None:
        yield required("spec.resources.cpus", "dedicatedCpus needs the number of processors")


def _check_memory(spec: AppSpec, vm: VmSpec) -> Iterator[FieldError]:
    try:
        memory = parse_bytes(spec.resources.memory)
    except QuantityError:
        return
    if memory < parse_bytes(LEAST_VM_MEMORY):
        detail = f"must be greater than or equal to {LEAST_VM_MEMORY} for a virtual machine"
        yield invalid("spec.resources.memory", spec.resources.memory, detail)
    if vm.huge_pages is not None and memory % _PAGE_BYTES[vm.huge_pages]:
        detail = f"must be a multiple of spec.vm.hugePages, {vm.huge_pages}"
        yield invalid("spec.resources.memory", spec.resources.memory, detail)
    if vm.balloon is None:
        return
    path = "spec.vm.balloon.minMemory"
    yield from rules.check_quantity(path, vm.balloon.min_memory, minimum=LEAST_VM_MEMORY, maximum="16Ti")
    try:
        if parse_bytes(vm.balloon.min_memory) > memory:
            yield invalid(path, vm.balloon.min_memory, "must not be more than spec.resources.memory")
    except QuantityError:
        pass
    if vm.huge_pages is not None:
        yield forbidden("spec.vm.balloon", "huge pages cannot be taken back; leave out one of the two")
    if spec.devices:
        yield forbidden("spec.vm.balloon", "assigned devices need all memory in place; leave out one of the two")


def _check_cloud_init(path: str, data: CloudInit) -> Iterator[FieldError]:
    documents = (
        ("userData", data.user_data, data.user_data_from),
        ("metaData", data.meta_data, data.meta_data_from),
        ("networkConfig", data.network_config, data.network_config_from),
    )
    for name, inline, source in documents:
        yield from _check_source(f"{path}.{name}", inline, source)
        if data.datasource is Datasource.NONE and (inline is not None or source is not None):
            yield forbidden(f"{path}.{name}", "datasource None gives the guest nothing")
    if data.user_data is not None and data.user_data.startswith("#cloud-config"):
        yield from _check_yaml(f"{path}.userData", data.user_data)
    is_json = data.datasource is Datasource.CONFIG_DRIVE
    for name, inline, _ in documents[1:]:
        if inline is not None:
            yield from _check_json(f"{path}.{name}", inline) if is_json else _check_yaml(f"{path}.{name}", inline)


def _check_source(path: str, inline: str | None, source: DataSource | None) -> Iterator[FieldError]:
    if source is None:
        return
    if inline is not None:
        yield forbidden(f"{path}From", f"may not be given together with {path.rpartition('.')[2]}")
    given = [source.secret_key_ref, source.config_map_key_ref]
    if given.count(None) == 2:
        yield required(f"{path}From", "must specify one of: secretKeyRef, configMapKeyRef")
    elif given.count(None) == 0:
        yield forbidden(f"{path}From", "may not have more than one of secretKeyRef, configMapKeyRef")


def _check_yaml(path: str, text: str) -> Iterator[FieldError]:
    """The guest would take a document that is no YAML for none at all, and say so only in its own log."""
    try:
        # Nodes alone: nothing is made of them that anchors could blow up.
        node = yaml.compose(text, Loader=yaml.CSafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        yield invalid(path, "", f"is not YAML{f' (line {mark.line + 1})' if mark else ''}")
        return
    if node is not None and not isinstance(node, yaml.MappingNode):
        yield invalid(path, "", "must be a YAML mapping")


def _check_json(path: str, text: str) -> Iterator[FieldError]:
    try:
        loaded = json.loads(text)
    except (ValueError, RecursionError):
        yield invalid(path, "", "must be JSON for datasource ConfigDrive")
        return
    if not isinstance(loaded, dict):
        yield invalid(path, "", "must be a JSON object")
