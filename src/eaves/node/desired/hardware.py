"""The hardware model of a config: which devices there are, under which names, and for whom."""

from __future__ import annotations

import re
from collections.abc import Sequence

from eaves.node.desired.draft import Draft, clean_name
from eaves.node.desired.hardware_model import DesiredIo, IoKind
from eaves.node.desired.model import ObjectKind
from eaves.wire.pb.config.devmodel_pb2 import PhysicalIO
from eaves.wire.pb.evecommon import devmodelcommon_pb2 as common

CDI_ATTRIBUTE = "cdi"
"""Free attribute in which Eaves sends a CDI name; the public API has no field for one."""

_KINDS = {
    common.PhyIoNetEth: IoKind.ETHERNET,
    common.PhyIoNetEthPF: IoKind.ETHERNET,
    common.PhyIoNetEthVF: IoKind.ETHERNET,
    common.PhyIoNetWLAN: IoKind.WIFI,
    common.PhyIoNetWWAN: IoKind.CELLULAR,
    common.PhyIoUSBController: IoKind.USB_CONTROLLER,
    common.PhyIoUSB: IoKind.USB_DEVICE,
    common.PhyIoUSBDevice: IoKind.USB_DEVICE,
    common.PhyIoCOM: IoKind.SERIAL,
    common.PhyIoCAN: IoKind.CAN,
    common.PhyIoVCAN: IoKind.CAN,
    common.PhyIoLCAN: IoKind.CAN,
}
_FOR_APPS = (common.PhyIoUsageNone, common.PhyIoUsageDedicated)
_PCI = re.compile(r"([0-9a-f]{4}):([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])")
_USB_PRODUCT = re.compile(r"[0-9a-f]{4}:[0-9a-f]{4}")
_USB_ADDRESS = re.compile(r"\d{1,3}:\d{1,3}(\.\d{1,3})*")
_SERIAL = re.compile(r"/dev/tty[A-Za-z0-9]{1,16}")
_INTERFACE = re.compile(r"[^\s/]{1,15}")
_CDI = re.compile(r"[A-Za-z0-9.-]+/[A-Za-z0-9_.-]+=[A-Za-z0-9_.:-]+")


def parse_hardware(members: Sequence[PhysicalIO], draft: Draft) -> tuple[DesiredIo, ...]:
    """Members whose addresses can be understood; each other one is a problem and left out."""
    found: dict[str, DesiredIo] = {}
    for member in members:
        label = clean_name(member.logicallabel or member.phylabel)
        if not label or member.usage == common.PhyIoUsageDisabled:
            continue
        # EVE's own models write the keys with capitals, older and newer ones without.
        addresses = {key.lower(): value.strip() for key, value in member.phyaddrs.items()}
        fault = _check_addresses(addresses, member)
        if fault:
            draft.add(
                ObjectKind.NODE, label, f"device {label}", "DeviceAddressInvalid", fault, "correct the hardware model"
            )
            continue
        found.setdefault(
            label,
            DesiredIo(
                label=label,
                kind=_KINDS.get(member.ptype, IoKind.OTHER),
                group=clean_name(member.assigngrp),
                parent_group=clean_name(member.parentassigngrp),
                pci_address=addresses.get("pcilong", "").lower(),
                interface=addresses.get("ifname", ""),
                serial_path=addresses.get("serial", ""),
                usb_address=addresses.get("usbaddr", ""),
                usb_product=addresses.get("usbproduct", "").lower(),
                cdi_name=member.cbattr.get(CDI_ATTRIBUTE, ""),
                is_kept=member.usage not in _FOR_APPS,
                physical_label=clean_name(member.phylabel),
                io_type=member.ptype,
                usage=member.usage,
            ),
        )
    return tuple(found.values())


def _check_addresses(addresses: dict[str, str], member: PhysicalIO) -> str:
    """What is wrong; empty = nothing. These become paths and arguments."""
    cdi = member.cbattr.get(CDI_ATTRIBUTE, "")
    checks = (
        ("pcilong", addresses.get("pcilong", "").lower(), _PCI, "0000:02:00.0"),
        ("ifname", addresses.get("ifname", ""), _INTERFACE, "enp2s0"),
        ("serial", addresses.get("serial", ""), _SERIAL, "/dev/ttyS0"),
        ("usbaddr", addresses.get("usbaddr", ""), _USB_ADDRESS, "1:2.3"),
        ("usbproduct", addresses.get("usbproduct", "").lower(), _USB_PRODUCT, "0951:1666"),
        (CDI_ATTRIBUTE, cdi, _CDI, "nvidia.com/gpu=0"),
    )
    for name, value, pattern, example in checks:
        if value and not pattern.fullmatch(value):
            return f"{name} {value!r} is not like {example}"
    return ""
