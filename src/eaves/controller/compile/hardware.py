"""A HardwareModel → the list of physical I/O that devices understand."""

from __future__ import annotations

from collections.abc import Iterator

from eaves.kinds.hardwaremodel import HardwareModel, ModelDevice, ModelDeviceType, ModelDeviceUsage, usage_of
from eaves.wire.pb.config.devmodel_pb2 import PhysicalIO
from eaves.wire.pb.evecommon import devmodelcommon_pb2 as common

CDI_ATTRIBUTE = "cdi"
"""Free attribute for what the public API has no field for; other devices ignore it."""

_TYPES = {
    ModelDeviceType.ETHERNET: common.PhyIoNetEth,
    ModelDeviceType.WIFI: common.PhyIoNetWLAN,
    ModelDeviceType.CELLULAR: common.PhyIoNetWWAN,
    ModelDeviceType.USB_CONTROLLER: common.PhyIoUSBController,
    ModelDeviceType.USB_DEVICE: common.PhyIoUSBDevice,
    ModelDeviceType.SERIAL: common.PhyIoCOM,
    ModelDeviceType.CAN: common.PhyIoCAN,
    ModelDeviceType.AUDIO: common.PhyIoAudio,
    ModelDeviceType.DISPLAY: common.PhyIoHDMI,
    ModelDeviceType.NVME: common.PhyIoNVMEStorage,
    ModelDeviceType.SATA: common.PhyIoSATAStorage,
    ModelDeviceType.OTHER: common.PhyIoOther,
}
_USAGES = {
    ModelDeviceUsage.MANAGEMENT_AND_APPS: common.PhyIoUsageMgmtAndApps,
    ModelDeviceUsage.MANAGEMENT: common.PhyIoUsageMgmtOnly,
    ModelDeviceUsage.SHARED: common.PhyIoUsageShared,
    ModelDeviceUsage.DEDICATED: common.PhyIoUsageDedicated,
    ModelDeviceUsage.DISABLED: common.PhyIoUsageDisabled,
}


def want_physical_io(model: HardwareModel) -> dict[str, PhysicalIO]:
    """Name → member, in the order of names."""
    devices = sorted(model.spec.devices, key=lambda device: device.name)
    return {
        device.name: PhysicalIO(
            ptype=type_of(device),
            phylabel=device.label or device.name,
            logicallabel=device.name,
            assigngrp=device.group,
            parentassigngrp=device.parent_group,
            phyaddrs=dict(_addresses(device)),
            usage=_USAGES[usage_of(device)],
            cbattr={CDI_ATTRIBUTE: device.cdi_device} if device.cdi_device else {},
        )
        for device in devices
    }


def type_of(device: ModelDevice) -> common.PhyIoType.ValueType:
    return _TYPES[device.type]


def _addresses(device: ModelDevice) -> Iterator[tuple[str, str]]:
    """By the keys that EVE reads, see the device API's PhysicalIO.phyaddrs."""
    pairs = (
        ("ifname", device.interface),
        ("pcilong", device.pci_address),
        ("usbaddr", device.usb_address),
        ("usbproduct", device.usb_product),
        ("serial", device.serial_device),
    )
    return (pair for pair in pairs if pair[1])
