"""What the machine needs for itself, from trees like sysfs and procfs."""

from __future__ import annotations

from pathlib import Path

import pytest

from eaves.node.hardware.hostuse import HostUse, observe_host_use
from tests.unit.node.hardware.test_inventory import link, make_device, make_tree

ROUTES = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n"
ROUTE_V6 = f"{'0' * 32} 00 {'0' * 32} 00 {'f' * 32} {{metric}} 00000001 00000000 00000003 {{name}}\n"
PROC_MOUNT = "23 22 0:21 / /proc rw - proc proc rw"
CONTROLLER, HUB, STICK = "0000:00:14.0", "1-2", "1-2.3"


def make_proc(
    folder: Path, *, mounts: str = PROC_MOUNT, swaps: str = "", routes: str = "", routes_v6: str = ""
) -> Path:
    make_device(folder / "self", mountinfo=mounts)
    make_device(folder / "net", route=ROUTES + routes, ipv6_route=routes_v6)
    (folder / "swaps").write_text("Filename Type Size Used Priority\n" + swaps)
    return folder


def make_stick(sysfs: Path) -> Path:
    """A USB disk of one partition, 8:17, behind a hub."""
    disk = make_device((sysfs / "bus/usb/devices" / STICK).resolve() / f"{STICK}:1.0/host6/block/sdb/sdb1")
    link(sysfs / "dev/block/8:17", disk)
    link(sysfs / "class/block/sdb1", disk)
    return disk


def stand_on(folder: Path, device: Path) -> None:
    link(folder / "slaves" / device.name, device)


def test_ports_and_mounted_disks_by_their_pci_devices(tmp_path: Path) -> None:
    sysfs = make_tree(tmp_path / "sys")
    link(sysfs / "dev/block/8:1", make_device(sysfs / "devices/pci0000:00/0000:00:17.0/ata1/block/sda/sda1"))
    mounts = f"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n{PROC_MOUNT}"
    found = observe_host_use(["enp3s0", "absent0"], sysfs, make_proc(tmp_path / "proc", mounts=mounts))
    assert found == HostUse({"0000:03:00.0": "port enp3s0", "0000:00:17.0": "disk of /"}, {})


def test_a_mounted_usb_disk_with_its_hub_and_its_controller(tmp_path: Path) -> None:
    sysfs = make_tree(tmp_path / "sys")
    make_stick(sysfs)
    proc = make_proc(tmp_path / "proc", mounts="22 1 8:17 / /var/lib/eaves rw - ext4 /dev/sdb1 rw")
    used = "disk of /var/lib/eaves"
    assert observe_host_use((), sysfs, proc) == HostUse({CONTROLLER: used}, {HUB: used, STICK: used})


def test_a_usb_disk_below_a_volume_of_lvm_that_is_encrypted(tmp_path: Path) -> None:
    sysfs = make_tree(tmp_path / "sys")
    inner, outer = (make_device(sysfs / "devices/virtual/block" / name) for name in ("dm-0", "dm-1"))
    stand_on(inner, make_stick(sysfs))
    stand_on(outer, inner)
    link(sysfs / "dev/block/253:1", outer)
    proc = make_proc(tmp_path / "proc", mounts="22 1 253:1 / / rw - ext4 /dev/mapper/root rw")
    assert observe_host_use((), sysfs, proc).usb[STICK] == "disk of /"


@pytest.mark.parametrize(
    ("mounts", "swaps", "used"),
    [
        (f"{PROC_MOUNT}\n22 1 0:30 / /srv rw - btrfs /dev/sdb1 rw", "", "disk of /srv"),
        (PROC_MOUNT, "/dev/sdb1 partition 1048572 0 -2\n", "swap"),
    ],
    ids=["btrfs", "swap"],
)
def test_a_usb_disk_that_is_known_by_its_file_alone(tmp_path: Path, mounts: str, swaps: str, used: str) -> None:
    sysfs = make_tree(tmp_path / "sys")
    make_stick(sysfs)
    assert observe_host_use((), sysfs, make_proc(tmp_path / "proc", mounts=mounts, swaps=swaps)).usb[STICK] == used


def test_a_network_adapter_on_usb_by_the_default_route_of_lowest_metric(tmp_path: Path) -> None:
    sysfs = make_tree(tmp_path / "sys")
    for name, socket in (("enx1", STICK), ("enx2", "1-2.4")):
        interface = make_device((sysfs / "bus/usb/devices" / HUB).resolve() / f"{socket}/{socket}:1.0/net/{name}")
        link(interface / "device", interface.parent.parent)
        link(sysfs / "class/net" / name, interface)
    routes = "enx2 00000000 0100A8C0 0003 0 0 200 00000000 0 0 0\nenx1 00000000 0101A8C0 0003 0 0 100 00000000 0 0 0\n"
    found = observe_host_use((), sysfs, make_proc(tmp_path / "v4", routes=routes))
    assert found.usb == {STICK: "port enx1", HUB: "port enx1"}
    lines = ROUTE_V6.format(metric="00000400", name="enx2") + ROUTE_V6.format(metric="ffffffff", name="lo")
    assert observe_host_use((), sysfs, make_proc(tmp_path / "v6", routes_v6=lines)).usb["1-2.4"] == "port enx2"


def test_the_port_below_a_bridge_of_a_vlan(tmp_path: Path) -> None:
    sysfs = make_tree(tmp_path / "sys")
    for upper, lower in (("br0", "vlan7"), ("vlan7", "enp3s0")):
        (sysfs / "class/net" / upper).mkdir()
        link(sysfs / "class/net" / upper / f"lower_{lower}", sysfs / "class/net" / lower)
    found = observe_host_use(["br0"], sysfs, make_proc(tmp_path / "proc"))
    assert found.pci == {"0000:03:00.0": "port br0"}


def test_nothing_is_known_of_a_machine_without_procfs(tmp_path: Path) -> None:
    assert observe_host_use(["eth0"], tmp_path, tmp_path) == HostUse({}, {})
