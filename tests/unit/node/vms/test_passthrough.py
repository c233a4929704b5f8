"""Devices of the host on QEMU's command line."""

from __future__ import annotations

from eaves.node.hardware.plan import Assignment
from eaves.node.vms.model import Architecture
from eaves.node.vms.passthrough import render_passthrough


def render(devices: Assignment, *, has_pci_bus: bool = False) -> list[str]:
    return render_passthrough(devices, Architecture.X86_64, has_pci_bus=has_pci_bus)


def test_machine_without_devices_gets_nothing() -> None:
    assert render(Assignment()) == []


def test_each_pci_device_has_a_port_of_its_own_on_pci_express() -> None:
    assert render(Assignment(pci=("0000:03:00.0",))) == [
        "-device",
        "pcie-root-port,id=host-port0,chassis=1",
        "-device",
        "vfio-pci,host=0000:03:00.0,id=host-pci0,bus=host-port0",
    ]


def test_old_pc_takes_pci_devices_on_its_bus() -> None:
    assert render(Assignment(pci=("0000:03:00.0",)), has_pci_bus=True) == [
        "-device",
        "vfio-pci,host=0000:03:00.0,id=host-pci0",
    ]


def test_usb_devices_are_known_by_their_socket() -> None:
    assert render(Assignment(usb=("1-2.3",)))[-1] == "usb-host,bus=host-usb.0,hostbus=1,hostport=2.3,id=host-usb0"


def test_serial_line_comes_after_the_console() -> None:
    args = render_passthrough(Assignment(serial=("/dev/ttyS1",)), Architecture.AARCH64, has_pci_bus=False)
    assert args == ["-chardev", "serial,id=host-serial0,path=/dev/ttyS1", "-device", "pci-serial,chardev=host-serial0"]


def test_can_interface_is_bridged_to_a_card() -> None:
    args = render(Assignment(interfaces=("can0",)))
    assert "can-host-socketcan,id=host-can0-host,if=can0,canbus=host-can0" in args
