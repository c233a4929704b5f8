"""Devices from a tree like sysfs."""

from __future__ import annotations

from pathlib import Path

from eaves.node.hardware import apply
from eaves.node.hardware.inventory import load_inventory


def make_device(folder: Path, **values: str) -> Path:
    folder.mkdir(parents=True)
    for name, value in values.items():
        (folder / name.strip("_")).write_text(value + "\n")
    return folder


def make_tree(sysfs: Path) -> Path:
    """A bridge with a network card behind it, a USB controller with a hub, a stick and a serial converter, a UART, a CAN interface."""
    root = sysfs / "devices/pci0000:00"
    bridge = make_device(root / "0000:00:1c.0", vendor="0x8086", device="0x7ab8", class_="0x060400")
    # As the device of several functions says it.
    (bridge / "config").write_bytes(bytes(0x0E) + b"\x81" + bytes(49))
    card = make_device(bridge / "0000:03:00.0", vendor="0x8086", device="0x15f3", class_="0x020000", revision="0x03")
    port = make_device(card / "net/enp3s0", type="1", address="52:54:00:00:00:01", speed="2500")
    controller = make_device(root / "0000:00:14.0", vendor="0x8086", device="0x7ae0", class_="0x0c0330")
    isa = make_device(root / "0000:00:1f.0", vendor="0x8086", device="0x7a86", class_="0x060100")
    (isa / "config").write_bytes(bytes(64))
    hub = make_device(controller / "usb1/1-2", idVendor="05e3", idProduct="0608", bDeviceClass="09")
    stick = make_device(hub / "1-2.3", idVendor="0951", idProduct="1666", bDeviceClass="00", busnum="1", devnum="7")
    (stick / "product").write_text("DataTraveler\n")
    tty = make_device(hub / "1-2.4/1-2.4:1.0/ttyUSB0/tty/ttyUSB0")
    uart = make_device(sysfs / "devices/platform/serial8250/tty/ttyS0", type="4", port="0x3F8", irq="4")
    absent = make_device(sysfs / "devices/platform/serial8250/tty/ttyS1", type="0", port="0x2F8", irq="3")
    can = make_device(sysfs / "devices/virtual/net/vcan0", type="280")
    groups = sysfs / "kernel/iommu_groups/7"
    groups.mkdir(parents=True)
    drivers = sysfs / "bus/pci/drivers/igc"
    drivers.mkdir(parents=True)
    link(card / "iommu_group", groups)
    link(card / "driver", drivers)
    link(port / "device", card)
    link(tty / "device", tty.parent.parent)
    for line in (uart, absent):
        link(line / "device", line.parent.parent)
    for device in (bridge, card, controller, isa):
        link(sysfs / "bus/pci/devices" / device.name, device)
    for device in (hub, stick):
        link(sysfs / "bus/usb/devices" / device.name, device)
    link(sysfs / "bus/usb/devices/usb1", controller / "usb1")
    for line in (tty, uart, absent):
        link(sysfs / "class/tty" / line.name, line)
    for interface in (port, can):
        link(sysfs / "class/net" / interface.name, interface)
    return sysfs


def link(at: Path, target: Path) -> None:
    at.parent.mkdir(parents=True, exist_ok=True)
    at.symlink_to(target)


def test_pci_devices_with_driver_group_and_parent(tmp_path: Path) -> None:
    card = next(device for device in load_inventory(make_tree(tmp_path)).pci if device.address == "0000:03:00.0")
    assert (card.vendor, card.device, card.class_code, card.revision) == (0x8086, 0x15F3, 0x020000, 3)
    assert (card.driver, card.iommu_group, card.parent) == ("igc", "7", "0000:00:1c.0")


def test_bridges_are_known_by_their_header(tmp_path: Path) -> None:
    assert [device.address for device in load_inventory(make_tree(tmp_path)).pci if device.is_bridge] == [
        "0000:00:1c.0"
    ]


def test_usb_devices_hang_on_hubs_and_controllers(tmp_path: Path) -> None:
    found = {device.port: device for device in load_inventory(make_tree(tmp_path)).usb}
    assert set(found) == {"1-2", "1-2.3"}, "root hubs and interfaces are no devices"
    stick = found["1-2.3"]
    assert (stick.product_id, stick.name) == ("0951:1666", "DataTraveler")
    assert (stick.usb_parent, stick.pci_parent) == ("1-2", "0000:00:14.0")


def test_serial_lines_that_are_there(tmp_path: Path) -> None:
    found = {device.path: device for device in load_inventory(make_tree(tmp_path)).serial}
    assert set(found) == {"/dev/ttyUSB0", "/dev/ttyS0"}, "a UART of unknown type is not there"
    assert (found["/dev/ttyS0"].io_ports, found["/dev/ttyS0"].irq) == ("0x3F8", 4)
    assert found["/dev/ttyUSB0"].usb_parent == "1-2.4"


def test_network_interfaces_with_hardware_and_can(tmp_path: Path) -> None:
    found = {device.name: device for device in load_inventory(make_tree(tmp_path)).network}
    assert (found["enp3s0"].kind, found["enp3s0"].speed_mbps) == ("ethernet", 2500)
    assert found["enp3s0"].pci_parent == "0000:03:00.0"
    assert found["vcan0"].kind == "can"


def test_machine_without_buses_has_nothing(tmp_path: Path) -> None:
    assert load_inventory(tmp_path).pci == ()


def test_usb_device_files_follow_the_socket(tmp_path: Path) -> None:
    assert apply.list_usb_nodes(["1-2.3", "1-9"], make_tree(tmp_path)) == ["/dev/bus/usb/001/007"]
