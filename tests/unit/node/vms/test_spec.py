"""What a machine is made of, and what none can have."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from eaves.node.desired.model import AppKind, DesiredApp
from eaves.node.desired.secret import Secret, SecretBytes
from eaves.node.desired.vm_model import CloudInit, Datasource, DesiredVm, DeviceModel, DiskDevice, Firmware, VmDisk
from eaves.node.networks.connection import Connection, Tap
from eaves.node.observed_vm import Accelerator
from eaves.node.vms.model import Architecture, DiskFormat, VmHost, VmSpec
from eaves.node.vms.spec import check_host, want_spec
from eaves.node.workloads.abc import Ready
from eaves.node.workloads.errors import SpecImpossibleError

CLOUD_INIT = CloudInit(Datasource.NO_CLOUD, "i-1", user_data=SecretBytes(b"#cloud-config\npassword: hunter2\n"))
VM = DesiredVm(
    2,
    disks=(VmDisk("root", 0, "root", boot_index=1, is_root=True), VmDisk("data", 3, "data", boot_index=2)),
    cloud_init=CLOUD_INIT,
    vnc_password=Secret("hunter2"),
)
APP = DesiredApp(
    id="app",
    version="1",
    name="erp",
    namespace="default",
    kind=AppKind.VIRTUAL_MACHINE,
    activate=True,
    image_id="image",
    root_volume_id="root",
    root_generation=0,
    memory_bytes=512 << 20,
    cpu_millis=0,
    vm=VM,
)
TAPS = (Tap("eth0", "evv01", "02:00:00:00:00:01", 1500),)
READY = Ready(
    "", "", Connection("", "erp", "", "", (), taps=TAPS), {("root", 0): "/v/root#0.qcow2", ("data", 3): "/v/data#3.raw"}
)


def want(
    app: DesiredApp = APP, *, key: bytes = b"k", architecture: Architecture = Architecture.X86_64, **vm: Any
) -> VmSpec:
    app = msgspec.structs.replace(app, vm=msgspec.structs.replace(VM, **vm))
    return want_spec(app, READY, architecture, log_path="/log", key=key)


def change(**changes: Any) -> DesiredApp:
    return msgspec.structs.replace(APP, **changes)


def test_disks_have_the_format_of_their_file_and_networks_their_tap() -> None:
    found = want()
    assert [(disk.path, disk.format) for disk in found.disks] == [
        ("/v/root#0.qcow2", DiskFormat.QCOW2),
        ("/v/data#3.raw", DiskFormat.RAW),
    ]
    assert [(nic.tap, nic.mac, nic.mtu) for nic in found.nics] == [("evv01", "02:00:00:00:00:01", 1500)]


@pytest.mark.parametrize(
    ("model", "architecture", "machine"),
    [
        (DeviceModel.VIRTIO, Architecture.X86_64, "q35"),
        (DeviceModel.LEGACY, Architecture.X86_64, "pc"),
        (DeviceModel.VIRTIO, Architecture.AARCH64, "virt"),
    ],
)
def test_machine_suits_the_host_and_the_devices(model: DeviceModel, architecture: Architecture, machine: str) -> None:
    assert want(device_model=model, architecture=architecture, firmware=Firmware.UEFI).machine == machine


@pytest.mark.parametrize(
    "wanted",
    [
        want(change(memory_bytes=1 << 30)),
        want(change(purge_counter=1)),
        want(change(root_generation=1)),
        want(vcpus=4),
        want(firmware=Firmware.UEFI),
        want(
            cloud_init=msgspec.structs.replace(CLOUD_INIT, user_data=SecretBytes(b"#cloud-config\npassword: hunter3\n"))
        ),
        want(vnc_password=Secret("hunter3")),
        want(key=b"other"),
    ],
)
def test_what_a_machine_cannot_change_makes_another_digest(wanted: VmSpec) -> None:
    assert wanted.digest != want().digest


@pytest.mark.parametrize("app", [change(version="2"), change(restart_counter=9), change(stop_grace_s=99)])
def test_what_it_need_not_know_does_not(app: DesiredApp) -> None:
    assert want(app).digest == want().digest


def test_secrets_do_not_show() -> None:
    assert "hunter2" not in repr(want())


@pytest.mark.parametrize(
    ("vm", "words"),
    [
        ({"machine": "microvm"}, "microvm"),
        ({"machine": "virt"}, "virt"),
        ({"device_model": DeviceModel.LEGACY, "disks": VM.disks * 2}, "4 places"),
        ({"disks": tuple(VmDisk("root", 0, "cd", DiskDevice.CDROM) for _ in range(7))}, "6 places"),
    ],
)
def test_impossible_wishes_are_refused_with_a_reason(vm: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecImpossibleError, match=words):
        want(**vm)


def test_arm_has_no_bios() -> None:
    with pytest.raises(SpecImpossibleError, match="BIOS"):
        want(architecture=Architecture.AARCH64)


def test_versions_of_machines_are_taken() -> None:
    for machine in ("pc-q35-7.2", "pc-i440fx-7.2", "q35"):
        assert want(machine=machine).machine == machine


@pytest.mark.parametrize(("vm", "words"), [({"firmware": Firmware.UEFI}, "UEFI"), ({"has_vtpm": True}, "TPM")])
def test_what_the_node_lacks_is_said_with_the_package(vm: dict[str, Any], words: str) -> None:
    bare = VmHost(Architecture.X86_64, "/qemu", (7, 2), Accelerator.TCG)
    with pytest.raises(SpecImpossibleError, match=words) as caught:
        check_host(want(**vm), bare)
    assert "install" in caught.value.resolution
    check_host(want(), bare)
