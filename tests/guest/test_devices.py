"""PCI and USB devices: found on the buses, handed to VFIO with an IOMMU, and given back.

The guest's machine has an IOMMU, an e1000e card behind a port of its own and a USB tablet.
"""

from __future__ import annotations

import contextlib
import fcntl
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from eaves.node.hardware import apply
from eaves.node.hardware.inventory import Inventory, PciDevice, load_inventory
from eaves.node.hardware.plan import Assignment
from eaves.node.vms.model import Architecture
from eaves.node.vms.passthrough import render_passthrough

E1000E = (0x8086, 0x10D3)
TABLET = "0627:0001"
USBDEVFS_CLAIMINTERFACE = 0x8004550F
"""Of linux/usbdevice_fs.h."""


def find_card(inventory: Inventory) -> PciDevice:
    (card,) = [device for device in inventory.pci if (device.vendor, device.device) == E1000E]
    return card


@pytest.fixture(scope="module", autouse=True)
def drivers() -> None:
    for module in ("vfio-pci", "e1000e", "xhci-pci", "usbhid"):
        subprocess.run(["modprobe", module], check=True)
    # The kernel looks at the bus in its own time.
    end = time.monotonic() + 60
    while TABLET not in [device.product_id for device in load_inventory().usb]:
        assert time.monotonic() < end, "the tablet does not show"
        time.sleep(0.1)


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


def find_usb_drivers(port: str) -> list[str]:
    links = (folder / "driver" for folder in Path("/sys/bus/usb/devices").glob(f"{port}:*"))
    return [link.resolve().name if link.exists() else "" for link in links]


def test_usb_device_of_a_machine_that_was_killed_gets_its_driver_again() -> None:
    (port,) = [device.port for device in load_inventory().usb if device.product_id == TABLET]
    assert find_usb_drivers(port) == ["usbhid"]
    with machine_with(Assignment(usb=(port,))):
        # QEMU takes it in its own time.
        end = time.monotonic() + 60
        while find_usb_drivers(port) == ["usbhid"]:
            assert time.monotonic() < end, "the machine does not take it"
            time.sleep(0.1)
    assert find_usb_drivers(port) == [""], "who is killed gives nothing back"
    for _ in range(2):
        apply.release_usb(port)
        assert find_usb_drivers(port) == ["usbhid"]


def test_usb_device_that_somebody_has_is_left_alone() -> None:
    (port,) = [device.port for device in load_inventory().usb if device.product_id == TABLET]
    (node,) = apply.list_usb_nodes([port])
    Path(f"/sys/bus/usb/devices/{port}:1.0/driver/unbind").write_text(f"{port}:1.0")
    with Path(node).open("r+b", buffering=0) as file:
        fcntl.ioctl(file, USBDEVFS_CLAIMINTERFACE, struct.pack("I", 0))
        with pytest.raises(apply.DeviceError, match="still has it"):
            apply.release_usb(port)
    apply.release_usb(port)
    assert find_usb_drivers(port) == ["usbhid"]


def test_qemu_opens_the_device() -> None:
    card = find_card(load_inventory())
    apply.bind_vfio(card.address)
    try:
        args = render_passthrough(Assignment(pci=(card.address,)), Architecture.X86_64, has_pci_bus=False)
        command = ["qemu-system-x86_64", "-M", "q35,accel=tcg", "-m", "64", "-nodefaults", "-display", "none", "-S"]
        talk = '{"execute":"qmp_capabilities"}{"execute":"qom-list","arguments":{"path":"/machine/peripheral"}}{"execute":"quit"}'
        done = subprocess.run(
            [*command, "-qmp", "stdio", *args], input=talk, capture_output=True, text=True, timeout=200, check=False
        )
        assert done.returncode == 0, done.stderr
        assert '{"name": "host-pci0", "type": "child<vfio-pci>"}' in done.stdout, done.stdout
    finally:
        apply.release_vfio(card.address)
