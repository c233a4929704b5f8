"""PCI and USB devices: found on the buses, handed to VFIO with an IOMMU, and given back.

The guest's machine has an IOMMU, an e1000e card behind a port of its own, and on USB a tablet, a disk and a network adapter.
"""

from __future__ import annotations

import contextlib
import fcntl
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from eaves.kit import process
from eaves.node.hardware import apply
from eaves.node.hardware.hostuse import observe_host_use
from eaves.node.hardware.inventory import Inventory, PciDevice, load_inventory
from eaves.node.hardware.plan import Assignment
from eaves.node.vms.model import Architecture
from eaves.node.vms.passthrough import render_passthrough

E1000E = (0x8086, 0x10D3)
TABLET, STICK, ADAPTER = "0627:0001", "46f4:0001", "0525:a4a2"
USBDEVFS_CLAIMINTERFACE = 0x8004550F
"""Of linux/usbdevice_fs.h."""


def find_card(inventory: Inventory) -> PciDevice:
    (card,) = [device for device in inventory.pci if (device.vendor, device.device) == E1000E]
    return card


@pytest.fixture(autouse=True)
async def with_vfio() -> None:
    await process.run(["modprobe", "--remove", "vfio-pci"])
    await apply.load_vfio()


@pytest.fixture(scope="module", autouse=True)
def drivers() -> None:
    """On a Debian udev would load them."""
    for module in ("e1000e", "xhci-pci", "usbhid", "usb-storage", "sd_mod", "cdc_ether", "rndis_host"):
        subprocess.run(["modprobe", module], check=True)
    # The kernel looks at the bus in its own time.
    wait_for(
        lambda: {TABLET, STICK, ADAPTER} <= {device.product_id for device in load_inventory().usb},
        "not all devices on USB show",
    )


def wait_for(accept: Callable[[], object], otherwise: str) -> None:
    end = time.monotonic() + 60
    while not accept():
        assert time.monotonic() < end, otherwise
        time.sleep(0.1)


def find_socket(product_id: str) -> str:
    return next(device.port for device in load_inventory().usb if device.product_id == product_id)


def test_buses_are_read() -> None:
    inventory = load_inventory()
    card = find_card(inventory)
    assert card.iommu_group
    assert [device.address for device in inventory.group_members(card.iommu_group)] == [card.address]
    assert [port.kind for port in inventory.network if port.pci_parent == card.address] == ["ethernet"]
    assert TABLET in [device.product_id for device in inventory.usb]


def test_usb_device_has_a_device_file() -> None:
    sockets = [device.port for device in load_inventory().usb if device.product_id == TABLET]
    assert sockets
    assert all(Path(node).is_char_device() for node in apply.list_usb_nodes(sockets))


def test_pci_device_goes_to_vfio_and_back() -> None:
    card = find_card(load_inventory())
    assert card.driver == "e1000e"
    for _ in range(2):
        apply.bind_vfio(card.address)
        assert find_card(load_inventory()).driver == apply.VFIO_DRIVER
    assert Path("/dev/vfio", card.iommu_group).is_char_device()
    for _ in range(2):
        apply.release_vfio(card.address)
        assert find_card(load_inventory()).driver == "e1000e"


@contextlib.contextmanager
def machine_with(assignment: Assignment) -> Iterator[None]:
    """A machine that has it, and no disk to boot from."""
    args = render_passthrough(assignment, Architecture.X86_64, has_pci_bus=False)
    command = ["qemu-system-x86_64", "-M", "q35,accel=tcg", "-m", "64", "-nodefaults", "-display", "none"]
    process = subprocess.Popen(
        [*command, "-qmp", "stdio", *args], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write('{"execute":"qmp_capabilities"}')
        process.stdin.flush()
        greeting, answer = process.stdout.readline(), process.stdout.readline()
        assert "return" in answer, f"it answers once all its devices are there: {greeting}{answer}"
        yield
    finally:
        process.kill()
        process.communicate()


def test_pci_device_of_a_machine_that_runs_is_given_back_when_it_has_ended() -> None:
    card = find_card(load_inventory())
    apply.bind_vfio(card.address)
    with machine_with(Assignment(pci=(card.address,))), pytest.raises(apply.DeviceError, match="still has it"):
        apply.release_vfio(card.address)
    apply.release_vfio(card.address)
    assert find_card(load_inventory()).driver == "e1000e"


def test_usb_disk_that_is_mounted_is_the_nodes_own(tmp_path: Path) -> None:
    port = find_socket(STICK)
    folder = Path("/sys/bus/usb/devices", port).resolve()
    wait_for(lambda: list(folder.glob("*/host*/target*/*/block/*/dev")), "the disk does not show")
    disk = f"/dev/{next(folder.glob('*/host*/target*/*/block/*')).name}"
    subprocess.run(["mkfs.ext4", "-q", "-F", disk], check=True)
    assert port not in observe_host_use(()).usb
    place = tmp_path / "mnt"
    place.mkdir()
    subprocess.run(["mount", disk, place], check=True)
    try:
        assert observe_host_use(()).usb[port] == f"disk of {place}"
    finally:
        subprocess.run(["umount", place], check=True)
    assert port not in observe_host_use(()).usb


def test_usb_network_adapter_that_is_the_way_out_is_the_nodes_own() -> None:
    port = find_socket(ADAPTER)
    wait_for(lambda: port in [found.usb_parent for found in load_inventory().network], "the adapter does not show")
    (interface,) = [found.name for found in load_inventory().network if found.usb_parent == port]
    assert port not in observe_host_use(()).usb
    assert observe_host_use([interface]).usb[port] == f"port {interface}"
    subprocess.run(["ip", "link", "set", interface, "up"], check=True)
    subprocess.run(["ip", "route", "add", "default", "dev", interface], check=True)
    try:
        assert observe_host_use(()).usb[port] == f"port {interface}"
    finally:
        subprocess.run(["ip", "link", "set", interface, "down"], check=True)


def find_usb_drivers(port: str) -> list[str]:
    links = (folder / "driver" for folder in Path("/sys/bus/usb/devices").glob(f"{port}:*"))
    return [link.resolve().name if link.exists() else "" for link in links]


def test_usb_device_of_a_machine_that_was_killed_gets_its_driver_again() -> None:
    port = find_socket(TABLET)
    assert find_usb_drivers(port) == ["usbhid"]
    with machine_with(Assignment(usb=(port,))):
        # QEMU takes it in its own time.
        wait_for(lambda: find_usb_drivers(port) != ["usbhid"], "the machine does not take it")
    assert find_usb_drivers(port) == [""], "who is killed gives nothing back"
    for _ in range(2):
        apply.release_usb(port)
        assert find_usb_drivers(port) == ["usbhid"]


def test_usb_device_that_somebody_has_is_left_alone() -> None:
    port = find_socket(TABLET)
    (node,) = apply.list_usb_nodes([port])
    Path(f"/sys/bus/usb/devices/{port}:1.0/driver/unbind").write_text(f"{port}:1.0")
    with Path(node).open("r+b", buffering=0) as file:
        fcntl.ioctl(file, USBDEVFS_CLAIMINTERFACE, struct.pack("I", 0))
        with pytest.raises(apply.DeviceError, match="still has it"):
            apply.release_usb(port)
    apply.release_usb(port)
    assert find_usb_drivers(port) == ["usbhid"]
