"""QEMU's command line for every kind of machine: nothing in it that was not asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from eaves.node.desired.secret import Secret
from eaves.node.desired.vm_model import ClockBase, CloudInit, Datasource, DeviceModel, DiskDevice, Firmware
from eaves.node.observed_vm import Accelerator
from eaves.node.vms.command import render_command, render_tpm_command, want_uuid
from eaves.node.vms.model import Architecture, Disk, DiskFormat, Nic, VmFolders, VmHost, VmSpec
from eaves.node.workloads.abc import EngineKind

FOLDERS = VmFolders(Path("/keep"), Path("/run/vm"), "0.0")
HOST = VmHost(
    Architecture.X86_64, "/usr/bin/qemu", (7, 2, 0), Accelerator.TCG, "", "/fw/code.fd", "/fw/vars.fd", "/usr/bin/swtpm"
)
ARM = msgspec.structs.replace(HOST, architecture=Architecture.AARCH64)
DISK = Disk("/volumes/root.qcow2", DiskFormat.QCOW2, DiskDevice.DISK, 1, "rootserial")
CDROM = Disk("/volumes/install.raw", DiskFormat.RAW, DiskDevice.CDROM, 2, "cd", read_only=True)
SPEC = VmSpec(
    app_id="5f2b6d3e-0f57-4f0e-9d4b-1f8d5a3a7c11",
    engine=EngineKind.VM,
    name="old, erp",
    root="0.0",
    log_path="/log/current.log",
    memory_bytes=512 << 20,
    vcpus=2,
    machine="q35",
    disks=(DISK,),
    nics=(Nic("evv01", "02:00:00:00:00:01", 1400),),
)


def render(host: VmHost = HOST, **changes: Any) -> list[str]:
    return render_command(msgspec.structs.replace(SPEC, **changes), host, FOLDERS)


def values(argv: list[str], option: str) -> list[str]:
    return [argv[index + 1] for index, word in enumerate(argv) if word == option]


def devices(argv: list[str]) -> dict[str, str]:
    """Kind of each device → its options."""
    return dict(text.partition(",")[::2] for text in values(argv, "-device"))


def nodes(argv: list[str]) -> dict[str, dict[str, Any]]:
    return {node["node-name"]: node for node in map(json.loads, values(argv, "-blockdev"))}


def test_nothing_is_there_that_was_not_asked_for() -> None:
    argv = render()
    assert {"-nodefaults", "-no-user-config"} <= set(argv)
    assert values(argv, "-display") == ["none"]
    assert set(devices(argv)) == {
        "virtio-blk-pci",
        "virtio-net-pci",
        "virtio-serial-pci",
        "virtserialport",
        "virtio-rng-pci",
        "virtio-balloon-pci",
        "pvpanic-pci",
    }


@pytest.mark.parametrize("changes", [{}, {"has_vnc": True}, {"has_vtpm": True}, {"device_model": DeviceModel.LEGACY}])
def test_no_part_of_it_listens_on_the_network(changes: dict[str, Any]) -> None:
    argv = render(**changes)
    sockets = [text for text in values(argv, "-chardev") if "server=on" in text]
    assert all("path=/run/vm/" in text for text in sockets)
    assert not any(word in " ".join(argv) for word in ("tcp:", ",host=", ",port=", "telnet", "websocket"))
    assert all(text.startswith("unix:") for text in values(argv, "-vnc"))


def test_disks_are_addressed_by_name_and_stop_the_guest_when_there_is_no_room() -> None:
    argv = render(disks=(DISK, CDROM))
    found = nodes(argv)
    assert found["disk0"]["driver"] == "qcow2"
    assert found["disk0"]["file"] == "disk0-file"
    assert found["disk0-file"]["filename"] == "/volumes/root.qcow2"
    assert found["disk1-file"]["read-only"] is True
    assert "bootindex=1" in devices(argv)["virtio-blk-pci"]
    assert "werror=stop" in devices(argv)["virtio-blk-pci"]
    assert "bus=ide.0" in devices(argv)["ide-cd"]
    assert "bootindex=2" in devices(argv)["ide-cd"]


def test_legacy_machines_have_what_old_systems_know() -> None:
    second = msgspec.structs.replace(DISK, boot_index=2)
    argv = render(machine="pc", device_model=DeviceModel.LEGACY, disks=(DISK, second, CDROM))
    places = [text for text in values(argv, "-device") if text.startswith("ide-")]
    assert [text.rpartition(",bus=")[2] for text in places] == ["ide.0,unit=0", "ide.0,unit=1", "ide.1,unit=0"]
    assert {"e1000", "VGA", "pvpanic"} <= set(devices(argv))
    assert not any(kind.startswith("virtio-") for kind in set(devices(argv)) - {"virtio-serial-pci"})


@pytest.mark.parametrize(
    ("host", "machine", "device"),
    [(HOST, "q35", "tpm-crb"), (HOST, "pc", "tpm-crb"), (ARM, "virt", "tpm-tis-device")],
)
def test_vtpm_fits_the_machine(host: VmHost, machine: str, device: str) -> None:
    argv = render(host, machine=machine, firmware=Firmware.UEFI, has_vtpm=True)
    assert device in devices(argv)
    assert "tpm-tis" in devices(render(machine=machine, has_vtpm=True))
    assert f"dir={FOLDERS.tpm_state},mode=0600" in render_tpm_command(HOST, FOLDERS)


def test_uefi_has_code_of_the_host_and_variables_of_its_own() -> None:
    found = nodes(render(firmware=Firmware.UEFI))
    assert found["fw-code-file"]["filename"] == "/fw/code.fd"
    assert found["fw-code"]["read-only"] is True
    assert found["fw-vars-file"]["filename"] == "/keep/nvram-0.0.qcow2"
    assert "fw-code" not in nodes(render())


def test_secrets_are_on_no_command_line() -> None:
    cloud_init = CloudInit(Datasource.NO_CLOUD, "i-1")
    argv = render(has_vnc=True, vnc_password=Secret("hunter2"), cloud_init=cloud_init)
    assert "hunter2" not in " ".join(argv)
    assert values(argv, "-vnc") == ["unix:/run/vm/vnc.sock,password-secret=vnc0"]
    assert any("file=/run/vm/vnc.secret" in text for text in values(argv, "-object"))
    assert nodes(argv)["seed-file"]["filename"] == "/run/vm/seed.iso"


@pytest.mark.parametrize("model", list(DeviceModel))
def test_first_boot_data_is_a_disk_that_the_guest_has_a_driver_for(model: DeviceModel) -> None:
    argv = render(device_model=model, cloud_init=CloudInit(Datasource.NO_CLOUD, "i-1"))
    kinds = [text for text in values(argv, "-device") if "drive=seed" in text]
    assert [kind.partition(",")[0] for kind in kinds] == ["ide-cd" if model is DeviceModel.LEGACY else "virtio-blk-pci"]


def test_clock_follows_the_host() -> None:
    assert values(render(), "-rtc") == ["base=utc,clock=host,driftfix=slew"]
    assert values(render(clock_base=ClockBase.LOCAL_TIME), "-rtc") == ["base=localtime,clock=host,driftfix=slew"]
    assert values(render(ARM), "-rtc") == ["base=utc,clock=host"]


def test_accelerator_decides_the_cpu() -> None:
    kvm = msgspec.structs.replace(HOST, accelerator=Accelerator.KVM)
    assert (values(render(kvm), "-accel"), values(render(kvm), "-cpu")) == (["kvm"], ["host"])
    assert values(render(), "-accel")[0].startswith("tcg,")
    assert values(render(), "-smp") == ["2,sockets=1,cores=2,threads=1"]


def test_huge_pages_back_the_memory() -> None:
    found = values(render(huge_page_bytes=2 << 20), "-object")
    assert found == [f"memory-backend-memfd,id=ram0,size={512 << 20},hugetlb=on,hugetlbsize={2 << 20},prealloc=on"]


def test_a_network_card_is_behind_a_tap_and_knows_its_mtu() -> None:
    argv = render()
    assert values(argv, "-netdev") == ["tap,id=net0,ifname=evv01,script=no,downscript=no"]
    assert "host_mtu=1400" in devices(argv)["virtio-net-pci"]
    assert "mac=02:00:00:00:00:01" in devices(argv)["virtio-net-pci"]
    assert "host_mtu" not in devices(render(device_model=DeviceModel.LEGACY))["e1000"]


def test_what_is_not_wanted_is_left_out() -> None:
    argv = render(has_serial_console=False, has_guest_agent=False, nics=())
    assert not values(argv, "-serial")
    assert not values(argv, "-netdev")
    assert "virtserialport" not in devices(argv)


def test_arm_machine() -> None:
    argv = render(ARM, machine="virt", firmware=Firmware.UEFI, has_vnc=True, disks=(DISK, CDROM))
    assert values(argv, "-machine")[0].startswith("virt,")
    assert {"virtio-gpu-pci", "usb-kbd", "scsi-cd", "virtio-scsi-pci"} <= set(devices(argv))


def test_names_with_commas_are_escaped() -> None:
    assert values(render(), "-name") == ["guest=old,, erp,debug-threads=on"]


def test_machine_has_the_apps_uuid() -> None:
    assert str(want_uuid(SPEC.app_id)) == SPEC.app_id
    assert want_uuid("app-web") == want_uuid("app-web") != want_uuid("app-db")
