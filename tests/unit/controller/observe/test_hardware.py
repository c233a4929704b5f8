"""Hardware inventory → EdgeNode.status."""

from __future__ import annotations

from typing import Any

from eaves.controller.observe.hardware import MAX_DEVICES, observe_hardware
from eaves.controller.observe.model import DeviceObjects
from eaves.testing.objects import make_edgenode
from eaves.wire.pb.info import hardware_pb2 as pb
from eaves.wire.pb.info.info_pb2 import ZInfoHardware

NIC, GPU = pb.PCIAddress(bus=3), pb.PCIAddress(bus=4)


def observe(inventory: pb.HardwareInventory, **status: Any) -> list[dict[str, Any]]:
    objects = DeviceObjects(edgenode=make_edgenode(status=status or {"versions": {"daemon": "0.1.0"}}))
    updates = observe_hardware(objects, ZInfoHardware(inventory=inventory, kernel_version="6.1"), 1e9)
    return list((updates[0].status or {}).get("devices", [])) if updates else []


def test_port_and_its_pci_device_are_one() -> None:
    inventory = pb.HardwareInventory(
        pci_devices=[
            pb.PCIDevice(address=NIC, class_id=2, vendor_id=0x8086, device_id=0x15F3, driver="igc", iommu_group="7"),
            pb.PCIDevice(address=pb.PCIAddress(), class_id=6),
        ],
        network_devices=[
            pb.NetworkDevice(parent=pb.BusParent(pci_parent=NIC), ifname="enp3s0", mac_address="52:54:00:00:00:01")
        ],
    )
    assert observe(inventory) == [
        {
            "type": "Ethernet",
            "pciAddress": "0000:03:00.0",
            "interface": "enp3s0",
            "macAddress": "52:54:00:00:00:01",
            "product": "8086:15f3",
            "driver": "igc",
            "iommuGroup": "7",
        }
    ]


def test_usb_serial_and_can_without_hubs() -> None:
    inventory = pb.HardwareInventory(
        usb_devices=[
            pb.USBDevice(bus_port=pb.USBAddress(bus=1, port="2"), class_id=9),
            pb.USBDevice(bus_port=pb.USBAddress(bus=1, port="2.3"), vendor_id=0x0951, product_id=0x1666),
        ],
        serial_devices=[pb.SerialPort(devpath="/dev/ttyS0")],
        can_devices=[pb.CANDevice(ifname="can0")],
    )
    assert observe(inventory) == [
        {"type": "USBDevice", "usbAddress": "1:2.3", "product": "0951:1666"},
        {"type": "Serial", "serialDevice": "/dev/ttyS0"},
        {"type": "CAN", "interface": "can0"},
    ]


def test_report_without_devices_keeps_what_is_known() -> None:
    known = [{"type": "Serial", "serialDevice": "/dev/ttyS0"}]
    assert observe(pb.HardwareInventory(), devices=known, versions={"daemon": "0.1.0"}) == known


def test_number_of_devices_is_bounded() -> None:
    many = pb.HardwareInventory(can_devices=[pb.CANDevice(ifname=f"can{number}") for number in range(MAX_DEVICES + 9)])
    assert len(observe(many)) == MAX_DEVICES


def test_same_report_again_changes_nothing() -> None:
    inventory = pb.HardwareInventory(can_devices=[pb.CANDevice(ifname="can0")])
    objects = DeviceObjects(edgenode=make_edgenode(status={"versions": {"daemon": "0.1.0"}}))
    (first,) = observe_hardware(objects, ZInfoHardware(inventory=inventory, kernel_version="6.1"), 1e9)
    again = DeviceObjects(edgenode=make_edgenode(status=dict(first.status or {})))
    assert observe_hardware(again, ZInfoHardware(inventory=inventory, kernel_version="6.1"), 1e9) == []
