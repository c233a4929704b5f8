"""Hardware inventory of a device → EdgeNode.status: what could be named by a HardwareModel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from eaves.controller.observe.conditions import compact, plan_update, status_of
from eaves.controller.observe.contact import conclude
from eaves.controller.observe.model import DeviceObjects, StatusUpdate
from eaves.kinds.hardwaremodel import ModelDeviceType
from eaves.wire.pb.info import hardware_pb2 as pb
from eaves.wire.pb.info.info_pb2 import ZInfoHardware

MAX_DEVICES = 512
"""A bound for the size of the object; a server with more is one nobody assigns by hand."""

_PCI_TYPES = {
    (0x01, 0x08): ModelDeviceType.NVME,
    (0x01, 0x06): ModelDeviceType.SATA,
    (0x0C, 0x03): ModelDeviceType.USB_CONTROLLER,
}
"""Class and subclass of the PCI code and ID assignment specification → type."""
_PCI_CLASSES = {
    0x01: ModelDeviceType.OTHER,
    0x02: ModelDeviceType.ETHERNET,
    0x03: ModelDeviceType.DISPLAY,
    0x04: ModelDeviceType.AUDIO,
    0x0D: ModelDeviceType.WIFI,
    0x12: ModelDeviceType.OTHER,
}
"""Storage, network, display, multimedia, wireless, accelerators; bridges and system devices go to nobody."""
_USB_HUB = 0x09
_PORT_TYPES = {
    pb.NETWORK_DEVICE_TYPE_WIFI: ModelDeviceType.WIFI,
    pb.NETWORK_DEVICE_TYPE_WWAN: ModelDeviceType.CELLULAR,
}


def observe_hardware(objects: DeviceObjects, info: ZInfoHardware, now: float) -> list[StatusUpdate]:
    """Devices on the buses, and the kernel's release, which EVE tells only here."""
    status = status_of(objects.edgenode)
    devices = list(_list_devices(info.inventory))[:MAX_DEVICES]
    if devices:
        status["devices"] = devices
    versions = {**(status.get("versions") or {}), "kernel": info.kernel_version}
    if info.kernel_version and versions.keys() - {"kernel"}:
        # The node counts as reported once versions are there; the inventory alone is no report.
        status["versions"] = versions
    update = plan_update(objects.edgenode, status, conclude(objects.edgenode, status, now))
    return [] if update is None else [update]


def _list_devices(inventory: pb.HardwareInventory) -> Iterator[dict[str, Any]]:
    """Each device once: a port with its PCI device in one entry."""
    ports = {
        _render_pci(port.parent.pci_parent): port
        for port in inventory.network_devices
        if port.parent.HasField("pci_parent")
    }
    for device in inventory.pci_devices:
        kind = _PCI_TYPES.get((device.class_id, device.subclass_id)) or _PCI_CLASSES.get(device.class_id)
        if kind is None:
            continue
        address = _render_pci(device.address)
        port = ports.pop(address, None)
        yield compact(
            type=_PORT_TYPES.get(port.type, ModelDeviceType.ETHERNET) if port else kind,
            pciAddress=address,
            interface=port.ifname if port else "",
            macAddress=port.mac_address if port else "",
            product=f"{device.vendor_id:04x}:{device.device_id:04x}",
            driver=device.driver,
            iommuGroup=device.iommu_group,
        )
    for port in inventory.network_devices:
        if not port.parent.HasField("pci_parent"):
            kind = _PORT_TYPES.get(port.type, ModelDeviceType.ETHERNET)
            yield compact(type=kind, interface=port.ifname, macAddress=port.mac_address)
    for usb in inventory.usb_devices:
        if usb.class_id != _USB_HUB:
            yield compact(
                type=ModelDeviceType.USB_DEVICE,
                usbAddress=f"{usb.bus_port.bus}:{usb.bus_port.port}",
                product=f"{usb.vendor_id:04x}:{usb.product_id:04x}",
                driver=usb.driver,
            )
    for line in inventory.serial_devices:
        yield compact(type=ModelDeviceType.SERIAL, serialDevice=line.devpath)
    for can in inventory.can_devices:
        yield compact(type=ModelDeviceType.CAN, interface=can.ifname)


def _render_pci(address: pb.PCIAddress) -> str:
    return f"{address.domain:04x}:{address.bus:02x}:{address.device:02x}.{address.function:x}"
