"""Virtual machines of a config, as Eaves writes them and as any other EVE controller does."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest

from eaves.node.desired.model import AppKind, DesiredApp, DesiredNode, ObjectKind, VolumeMode
from eaves.node.desired.parse import parse_config
from eaves.node.desired.vm_model import (
    ClockBase,
    CloudInit,
    Datasource,
    DesiredSnapshot,
    DesiredVm,
    DeviceModel,
    DiskDevice,
    Firmware,
    Isolation,
    SnapshotTrigger,
)
from eaves.testing.device_configs import APP_ID, DATA_ID, ROOT_ID, TREE_ID, want_app, want_config, want_vm_config
from eaves.wire.pb.config import appconfig_pb2, storage_pb2, vm_pb2
from eaves.wire.pb.config.appconfig_pb2 import AppInstanceConfig, SnapshotDesc, VolumeRef
from eaves.wire.pb.config.devcommon_pb2 import Adapter
from eaves.wire.pb.config.devconfig_pb2 import EdgeDevConfig
from eaves.wire.pb.config.storage_pb2 import ContentTree, VolumeContentOrigin
from eaves.wire.pb.eaves.extension_pb2 import AppSecrets, SnapshotDescExtension, VmExtension
from eaves.wire.pb.evecommon.acipherinfo_pb2 import CipherBlock, EncryptionBlock

SNAPSHOT_ID = "80000000-0000-4000-8000-000000000001"
ISO_TREE, ISO_VOLUME = "20000000-0000-4000-8000-000000000007", "30000000-0000-4000-8000-000000000007"


def parse(config: EdgeDevConfig, block: EncryptionBlock | None = None) -> DesiredNode:
    def decrypt(_: CipherBlock) -> bytes:
        return (block or EncryptionBlock()).SerializeToString()

    return parse_config(config, "hash-1", decrypt)


def app_of(config: EdgeDevConfig, block: EncryptionBlock | None = None) -> DesiredApp:
    node = parse(config, block)
    assert node.problems == ()
    return node.apps[0]


def vm_of(config: EdgeDevConfig, block: EncryptionBlock | None = None) -> DesiredVm:
    vm = app_of(config, block).vm
    assert vm is not None
    return vm


def cloud_init_of(config: EdgeDevConfig, block: EncryptionBlock | None = None) -> CloudInit:
    cloud_init = vm_of(config, block).cloud_init
    assert cloud_init is not None
    return cloud_init


def changed(change: Callable[[AppInstanceConfig], object]) -> EdgeDevConfig:
    config = want_vm_config()
    change(config.apps[0])
    return config


def give_all_the_first_place(app: AppInstanceConfig) -> None:
    for reference in app.volumeRefList:
        reference.eaves.boot_order = 1


def only_problem(config: EdgeDevConfig) -> str:
    node = parse(config)
    assert node.apps == ()
    (problem,) = (problem for problem in node.problems if problem.kind is ObjectKind.APP)
    assert problem.is_fatal
    return problem.code


def add_iso(config: EdgeDevConfig) -> None:
    config.contentInfo.append(
        ContentTree(uuid=ISO_TREE, dsId=config.datastores[0].id, URL="cd.iso", iformat=storage_pb2.ISO, sha256="0" * 64)
    )
    config.volumes.append(
        storage_pb2.Volume(
            uuid=ISO_VOLUME,
            displayName="cd",
            origin=VolumeContentOrigin(type=storage_pb2.VCOT_DOWNLOAD, downloadContentTreeID=ISO_TREE),
        )
    )
    config.apps[0].volumeRefList.append(VolumeRef(uuid=ISO_VOLUME))


def test_a_machine_as_any_controller_writes_it() -> None:
    app = app_of(want_vm_config())
    assert (app.kind, app.image_id, app.root_volume_id) == (AppKind.VIRTUAL_MACHINE, TREE_ID, ROOT_ID)
    assert (app.memory_bytes, app.cpu_millis, app.stop_grace_s, app.env) == (256 << 20, 2000, 60, {})
    assert [mount.volume_id for mount in app.mounts] == [DATA_ID]
    vm = app.vm
    assert vm is not None
    assert (vm.vcpus, vm.firmware, vm.device_model) == (2, Firmware.BIOS, DeviceModel.VIRTIO)
    assert (vm.has_vtpm, vm.has_vnc, vm.has_serial_console, vm.has_guest_agent) == (True, False, True, True)
    root, data = vm.disks
    assert (root.volume_id, root.is_root, root.device, root.boot_index) == (ROOT_ID, True, DiskDevice.DISK, 1)
    assert (data.volume_id, data.is_root, data.boot_index) == (DATA_ID, False, 2)


@pytest.mark.parametrize(
    ("fields", "firmware", "model"),
    [
        ({"virtualizationMode": vm_pb2.HVM}, Firmware.BIOS, DeviceModel.VIRTIO),
        ({"virtualizationMode": vm_pb2.PV}, Firmware.BIOS, DeviceModel.VIRTIO),
        ({"virtualizationMode": vm_pb2.FML}, Firmware.UEFI, DeviceModel.VIRTIO),
        ({"virtualizationMode": vm_pb2.LEGACY}, Firmware.BIOS, DeviceModel.LEGACY),
        ({"virtualizationMode": vm_pb2.HVM, "boot_mode": vm_pb2.VM_BOOT_MODE_UEFI}, Firmware.UEFI, DeviceModel.VIRTIO),
        (
            {"virtualizationMode": vm_pb2.LEGACY, "bootloader": "/usr/lib/xen/boot/ovmf.bin"},
            Firmware.UEFI,
            DeviceModel.LEGACY,
        ),
    ],
)
def test_modes_of_the_device_api(fields: dict[str, object], firmware: Firmware, model: DeviceModel) -> None:
    config = want_vm_config()
    for name, value in fields.items():
        setattr(config.apps[0].fixedresources, name, value)
    vm = vm_of(config)
    assert (vm.firmware, vm.device_model) == (firmware, model)


def test_the_extension_says_what_the_device_api_cannot() -> None:
    config = want_vm_config()
    app = config.apps[0]
    app.fixedresources.disable_vtpm = True
    app.fixedresources.pin_cpu = True
    app.fixedresources.enable_vnc = True
    app.eaves.vm.CopyFrom(
        VmExtension(
            firmware="UEFI", machine="pc", device_model="Legacy", huge_page_bytes=2 << 20, balloon_min_bytes=64 << 20,
            clock_base="LocalTime", no_serial_console=True, no_guest_agent=True,
        )
    )  # fmt: skip
    parsed = app_of(config)
    vm = parsed.vm
    assert vm is not None
    assert (vm.firmware, vm.machine, vm.device_model) == (Firmware.UEFI, "pc", DeviceModel.LEGACY)
    assert (vm.huge_page_bytes, vm.balloon_min_bytes, vm.clock_base) == (2 << 20, 64 << 20, ClockBase.LOCAL_TIME)
    assert (vm.has_vtpm, vm.dedicated_cpus, vm.has_vnc) == (False, True, True)
    assert (vm.has_serial_console, vm.has_guest_agent) == (False, False)


def test_a_clear_password_of_an_old_controller_is_taken_and_never_shown() -> None:
    config = want_vm_config()
    config.apps[0].fixedresources.vncPasswd = "hunter2"
    vm = vm_of(config)
    assert vm.vnc_password.reveal() == "hunter2"
    assert "hunter2" not in repr(vm)


def test_an_iso_is_a_cdrom_and_boots_after_the_disks_before_it() -> None:
    config = want_vm_config()
    add_iso(config)
    root, _, cdrom = vm_of(config).disks
    assert (cdrom.device, cdrom.read_only, cdrom.boot_index) == (DiskDevice.CDROM, True, 3)
    assert root.boot_index == 1


def test_a_place_in_the_boot_order_goes_before_the_root() -> None:
    config = want_vm_config()
    add_iso(config)
    config.apps[0].volumeRefList[2].eaves.boot_order = 7
    assert [disk.boot_index for disk in vm_of(config).disks] == [2, 3, 1]
    config.apps[0].volumeRefList[1].eaves.boot_order = 2
    assert [disk.boot_index for disk in vm_of(config).disks] == [3, 1, 2]


def test_the_device_that_is_asked_for_counts() -> None:
    config = want_vm_config()
    config.apps[0].volumeRefList[1].eaves.device = "CDROM"
    assert vm_of(config).disks[1].device is DiskDevice.CDROM


def test_a_blank_first_disk_is_the_root_of_a_machine_that_is_installed_from_a_cdrom() -> None:
    config = want_vm_config()
    add_iso(config)
    refs = [VolumeRef(uuid=DATA_ID), VolumeRef(uuid=ISO_VOLUME)]
    del config.apps[0].volumeRefList[:]
    config.apps[0].volumeRefList.extend(refs)
    app = app_of(config)
    assert (app.kind, app.image_id, app.root_volume_id) == (AppKind.VIRTUAL_MACHINE, "", DATA_ID)
    assert app.vm is not None
    assert [(disk.is_root, disk.device) for disk in app.vm.disks] == [
        (True, DiskDevice.DISK),
        (False, DiskDevice.CDROM),
    ]


def test_volumes_of_a_machine_and_of_disk_images_are_disks() -> None:
    node = parse(want_vm_config())
    assert {volume.mode for volume in node.volumes} == {VolumeMode.BLOCK}
    assert {volume.mode for volume in parse(want_config()).volumes} == {VolumeMode.FILESYSTEM}


def test_a_container_cannot_mount_a_disk_of_a_machine() -> None:
    config = want_config()
    machine = want_vm_config()
    other = "50000000-0000-4000-8000-000000000002"
    disk = "30000000-0000-4000-8000-000000000005"
    tree = "20000000-0000-4000-8000-000000000005"
    machine.contentInfo[0].uuid = tree
    machine.volumes[0].uuid = disk
    machine.volumes[0].origin.downloadContentTreeID = tree
    config.contentInfo.append(machine.contentInfo[0])
    config.volumes.append(machine.volumes[0])
    vm = want_app(other, "plc")
    vm.volumeRefList[0].uuid = disk
    config.apps.append(vm)
    node = parse(config)
    assert [app.name for app in node.apps] == ["plc"]
    (problem,) = node.problems
    assert (problem.code, problem.element) == ("VolumeModeMismatch", "app web")
    assert "web-data" in problem.message


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda app: setattr(app.fixedresources, "memory", 15 << 10), "MemoryTooSmall"),
        (lambda app: setattr(app.eaves.vm, "firmware", "coreboot"), "BadHardware"),
        (lambda app: setattr(app.eaves.vm, "device_model", "Xen"), "BadHardware"),
        (lambda app: setattr(app.eaves.vm, "clock_base", "Mars"), "BadHardware"),
        (lambda app: setattr(app.eaves.vm, "machine", "q35,accel=kvm"), "BadHardware"),
        (lambda app: setattr(app.eaves.vm, "huge_page_bytes", 3), "BadHardware"),
        (lambda app: setattr(app.eaves.vm, "huge_page_bytes", 1 << 30), "BadHardware"),
        (lambda app: setattr(app.eaves.vm, "balloon_min_bytes", 1 << 40), "BadHardware"),
        (lambda app: setattr(app.volumeRefList[1].eaves, "device", "Floppy"), "BadHardware"),
        (give_all_the_first_place, "DuplicateBootOrder"),
        (lambda app: setattr(app, "userData", "***"), "BadUserData"),
    ],
)
def test_impossible_machines_are_left_out_with_a_reason(
    change: Callable[[AppInstanceConfig], object], code: str
) -> None:
    assert only_problem(changed(change)) == code


def test_a_format_that_is_no_disk_is_refused_with_those_that_are() -> None:
    config = want_vm_config()
    config.contentInfo[0].iformat = storage_pb2.PVC
    assert only_problem(config) == "ImageFormatUnsupported"


def test_user_data_of_a_machine_is_kept_byte_for_byte() -> None:
    script = b"#!/bin/sh\necho \xff\n"
    config = changed(lambda app: setattr(app, "userData", base64.b64encode(script).decode()))
    cloud_init = cloud_init_of(config)
    assert cloud_init.user_data.reveal() == script
    assert (cloud_init.datasource, cloud_init.split_multipart) == (Datasource.NO_CLOUD, False)
    assert (cloud_init.instance_id, cloud_init.hostname) == (f"{APP_ID}/1", "plc")
    assert "echo" not in repr(cloud_init)


def test_the_version_of_cloud_init_makes_the_instance_and_not_the_apps() -> None:
    config = changed(lambda app: setattr(app, "cloud_init_version", 4))
    config.apps[0].uuidandversion.version = "9"
    assert cloud_init_of(config).instance_id == f"{APP_ID}/4"


@pytest.mark.parametrize(
    ("user_data", "hostname"),
    [
        (b"#cloud-config\npackages: [nginx]\n", "plc"),
        (b"#cloud-config\nhostname: mine\n", ""),
        (b"#cloud-config\nfqdn: mine.example\n", ""),
        (b"#!/bin/sh\nhostname: mine\n", "plc"),
    ],
)
def test_the_guest_is_named_after_the_app_unless_the_user_data_names_it(user_data: bytes, hostname: str) -> None:
    config = changed(lambda app: setattr(app, "userData", base64.b64encode(user_data).decode()))
    assert cloud_init_of(config).hostname == hostname


def test_a_name_that_is_no_host_name_gives_way_to_the_id() -> None:
    config = changed(lambda app: setattr(app, "userData", base64.b64encode(b"#!/bin/sh\n").decode()))
    config.apps[0].displayname = "My PLC"
    assert cloud_init_of(config).hostname == APP_ID


def test_kinds_of_metadata() -> None:
    config = changed(lambda app: setattr(app, "userData", base64.b64encode(b"x").decode()))
    config.apps[0].metaDataType = appconfig_pb2.MetaDataOpenStack
    assert cloud_init_of(config).datasource is Datasource.CONFIG_DRIVE
    config.apps[0].metaDataType = appconfig_pb2.MetaDataDriveMultipart
    assert cloud_init_of(config).split_multipart
    config.apps[0].metaDataType = appconfig_pb2.MetaDataNone
    assert vm_of(config).cloud_init is None


def test_a_property_of_the_device_lays_archives_out_for_every_machine() -> None:
    config = changed(lambda app: setattr(app, "userData", base64.b64encode(b"x").decode()))
    assert not cloud_init_of(config).split_multipart
    config.configItems.add(key="process.cloud-init.multipart", value="true")
    assert cloud_init_of(config).split_multipart


def test_a_machine_without_any_data_gets_none() -> None:
    assert vm_of(want_vm_config()).cloud_init is None


def test_secrets_come_encrypted() -> None:
    config = changed(lambda app: setattr(app.cipherData, "cipherContextId", "x"))
    block = EncryptionBlock(
        protectedUserData=base64.b64encode(b"#cloud-config\n").decode(),
        eaves=AppSecrets(vnc_password="hunter2", meta_data=b"instance-id: a\n", network_config=b"version: 2\n"),
    )
    vm = vm_of(config, block)
    assert vm.vnc_password.reveal() == "hunter2"
    assert vm.cloud_init is not None
    assert vm.cloud_init.meta_data.reveal() == b"instance-id: a\n"
    assert vm.cloud_init.network_config.reveal() == b"version: 2\n"
    assert "hunter2" not in repr(vm)
    assert "version: 2" not in repr(vm)


def test_snapshots_and_the_order_to_go_back() -> None:
    config = want_vm_config()
    snapshot = config.apps[0].snapshot
    snapshot.max_snapshots = 3
    snapshot.active_snapshot = SNAPSHOT_ID.upper()
    snapshot.rollback_cmd.counter = 2
    snapshot.snapshots.append(
        SnapshotDesc(
            id=SNAPSHOT_ID,
            type=appconfig_pb2.SNAPSHOT_TYPE_IMMEDIATE,
            eaves=SnapshotDescExtension(name="before-upgrade", with_memory=True),
        )
    )
    orders = app_of(config).snapshots
    assert orders.wanted == (DesiredSnapshot(SNAPSHOT_ID, "before-upgrade", SnapshotTrigger.IMMEDIATE, True),)
    assert (orders.active_id, orders.rollback_counter, orders.max_count) == (SNAPSHOT_ID, 2, 3)


def test_a_snapshot_without_a_usable_id_is_a_problem_and_the_machine_goes_on() -> None:
    config = want_vm_config()
    config.apps[0].snapshot.snapshots.append(SnapshotDesc(id="../x", type=appconfig_pb2.SNAPSHOT_TYPE_IMMEDIATE))
    node = parse(config)
    assert [problem.code for problem in node.problems] == ["BadSnapshot"]
    assert node.apps[0].snapshots.wanted == ()


def test_a_container_may_ask_for_a_kernel_of_its_own() -> None:
    config = want_config()
    config.apps[0].eaves.isolation = "VM"
    app = app_of(config)
    assert (app.kind, app.isolation, app.vm) == (AppKind.CONTAINER, Isolation.VM, None)
    config.apps[0].eaves.isolation = "Cage"
    assert only_problem(config) == "BadIsolation"


def test_a_container_of_another_controller_runs_as_processes_whatever_its_mode() -> None:
    config = want_config()
    config.apps[0].fixedresources.virtualizationMode = vm_pb2.HVM
    assert app_of(config).isolation is Isolation.PROCESS


def test_devices_are_assignment_groups() -> None:
    config = want_vm_config()
    config.apps[0].adapters.extend([Adapter(name="usb-1"), Adapter(name="gpu"), Adapter(name="usb-1")])
    node = parse(config)
    assert node.apps[0].devices == ("usb-1", "gpu")
    assert node.problems == ()
