"""Devices on the machine's buses → the lists of HardwareInventory."""

from __future__ import annotations

from typing import Any

from eaves.node.hardware.inventory import Inventory, NetworkDevice
from eaves.wire.pb.info import hardware_pb2 as pb

_KINDS = {
    "ethernet": pb.NETWORK_DEVICE_TYPE_ETHERNET,
    "wlan": pb.NETWORK_DEVICE_TYPE_WIFI,
    "wwan": pb.NETWORK_DEVICE_TYPE_WWAN,
}


def want_buses(inventory: Inventory) -> dict[str, Any]:
    """The repeated fields of HardwareInventory by name."""
    return {
        "pci_devices": [
            pb.PCIDevice(
                parent_pci_device_address=_pci(device.parent),
                driver=device.driver,
                address=_pci(device.address),
                vendor_id=device.vendor,
                device_id=device.device,
                revision=device.revision,
                subsystem_id=device.subsystem,
                class_id=device.class_code >> 16,
                subclass_id=device.class_code >> 8 & 0xFF,
                iommu_group=device.iommu_group,
            )
            for device in inventory.pci
        ],
        "usb_devices": [
            pb.USBDevice(
                parent=_parent(device.pci_parent, device.usb_parent),
                vendor_id=device.vendor,
                product_id=device.product,
                bus_port=_usb(device.port),
                driver=device.driver,
                class_id=device.device_class,
            )
            for device in inventory.usb
        ],
        "serial_devices": [
            pb.SerialPort(
                parent=_parent(device.pci_parent, device.usb_parent),
                ioport_range=device.io_ports,
                irq=device.irq,
                devpath=device.path,
            )
            for device in inventory.serial
        ],
        "network_devices": [_network(device) for device in inventory.network if device.kind != "can"],
        "can_devices": [
            pb.CANDevice(parent=_parent(device.pci_parent, device.usb_parent), ifname=device.name)
            for device in inventory.network
            if device.kind == "can"
        ],
    }


def _network(device: NetworkDevice) -> pb.NetworkDevice:
    return pb.NetworkDevice(
        parent=_parent(device.pci_parent, device.usb_parent),
        ifname=device.name,
        type=_KINDS[device.kind],
        mac_address=device.mac,
        speed_mbps=device.speed_mbps,
    )


def _parent(pci: str, usb: str) -> pb.BusParent | None:
    if not pci and not usb:
        return None
    return pb.BusParent(pci_parent=_pci(pci), usb_parent=_usb(usb))


def _pci(address: str) -> pb.PCIAddress | None:
    if not address:
        return None
    domain, bus, rest = address.split(":")
    device, function = rest.split(".")
    return pb.PCIAddress(domain=int(domain, 16), bus=int(bus, 16), device=int(device, 16), function=int(function, 16))


def _usb(port: str) -> pb.USBAddress | None:
    if not port:
        return None
    bus, _, path = port.partition("-")
    return pb.USBAddress(bus=int(bus), port=path)
