"""HardwareModel: the devices of one kind of box by names, so that apps and networks need not know the box.

What the device API calls the list of physical I/O. ``kubectl eaves model-from-node`` writes one from a real box.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Struct

from eaves.kinds import rules
from eaves.kinds.columns import at, count
from eaves.kinds.fields import about, keyed
from eaves.kinds.metadata import ObjectMeta
from eaves.kinds.rules import forbidden, invalid, required
from eaves.kinds.serving import eaves_resource
from eaves.kube.errors import FieldError
from eaves.kube.resource import Column, Object


class ModelDeviceType(StrEnum):
    ETHERNET = "Ethernet"
    WIFI = "WiFi"
    CELLULAR = "Cellular"
    USB_CONTROLLER = "USBController"
    USB_DEVICE = "USBDevice"
    SERIAL = "Serial"
    CAN = "CAN"
    AUDIO = "Audio"
    DISPLAY = "Display"
    NVME = "NVMe"
    SATA = "SATA"
    OTHER = "Other"


class ModelDeviceUsage(StrEnum):
    """Who may use a device."""

    MANAGEMENT_AND_APPS = "ManagementAndApps"
    MANAGEMENT = "Management"
    SHARED = "Shared"
    DEDICATED = "Dedicated"
    DISABLED = "Disabled"


class ModelDevice(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """One device of the box. What it is known by depends on its type."""

    name: Annotated[str, about("Name by which uplinks and networks refer to it.", min_length=1, max_length=63)]
    type: Annotated[ModelDeviceType, about("What it is.")]
    label: Annotated[str, about("What is printed beside it on the box; the name when absent.", max_length=63)] = ""
    usage: Annotated[
        ModelDeviceUsage | None,
        about(
            "ManagementAndApps, Management, Shared between apps by networks, Dedicated to one app, or Disabled;"
            " ManagementAndApps for a port without a group and Dedicated for everything else when absent."
        ),
    ] = None
    group: Annotated[
        str, about("Assignment group: its members go to one app together; to none when empty.", max_length=63)
    ] = ""
    parent_group: Annotated[str, about("Group of what it hangs on, such as a USB controller.", max_length=63)] = ""
    interface: Annotated[str, about("Linux name of a network or CAN interface.", max_length=15)] = ""
    pci_address: Annotated[str, about("PCI address, such as 0000:03:00.0.", max_length=12)] = ""
    usb_address: Annotated[str, about("USB socket as BUS:PORT, such as 1:2.3.", max_length=32)] = ""
    usb_product: Annotated[str, about("USB vendor and product, such as 0951:1666.", max_length=9)] = ""
    serial_device: Annotated[str, about("Serial line, such as /dev/ttyS0.", max_length=64)] = ""
    cdi_device: Annotated[
        str, about("Name by the Container Device Interface, such as nvidia.com/gpu=0.", max_length=253)
    ] = ""


class HardwareModelSpec(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """What the box has."""

    manufacturer: Annotated[str, about("Maker of the box, for people.", max_length=256)] = ""
    product: Annotated[str, about("Product name of the box, for people.", max_length=256)] = ""
    devices: Annotated[list[ModelDevice], keyed("name", description="Its devices.", max_length=512)] = []


class HardwareModel(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Names the ports and assignable devices of a kind of box. EdgeNodes refer to it by spec.model."""

    api_version: Annotated[str, about("Version of the schema of this object.")] = ""
    kind: Annotated[str, about("Kind of this object.")] = ""
    metadata: ObjectMeta = ObjectMeta()
    spec: HardwareModelSpec = HardwareModelSpec()


_PORTS = (ModelDeviceType.ETHERNET, ModelDeviceType.WIFI, ModelDeviceType.CELLULAR)
_PATTERNS = {
    "pciAddress": (re.compile(r"[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]"), "0000:03:00.0"),
    "usbAddress": (re.compile(r"\d{1,3}:\d{1,3}(\.\d{1,3})*"), "1:2.3"),
    "usbProduct": (re.compile(r"[0-9a-f]{4}:[0-9a-f]{4}"), "0951:1666"),
    "serialDevice": (re.compile(r"/dev/tty[A-Za-z0-9]{1,16}"), "/dev/ttyS0"),
    "cdiDevice": (re.compile(r"[A-Za-z0-9.-]+/[A-Za-z0-9_.-]+=[A-Za-z0-9_.:-]+"), "nvidia.com/gpu=0"),
    "interface": (re.compile(r"[^\s/]{1,15}"), "enp3s0"),
}
_KNOWN_BY = {
    ModelDeviceType.SERIAL: ("serialDevice",),
    ModelDeviceType.USB_DEVICE: ("usbAddress", "usbProduct"),
    ModelDeviceType.CAN: ("interface", "pciAddress"),
    **dict.fromkeys(_PORTS, ("interface", "pciAddress")),
}


def decode(obj: Object) -> HardwareModel:
    """Typed view of a stored object. Raises ``msgspec.ValidationError`` when it does not fit the schema."""
    return msgspec.convert(obj, HardwareModel)


def usage_of(device: ModelDevice) -> ModelDeviceUsage:
    """As written, or what its type and group mean."""
    if device.usage is not None:
        return device.usage
    is_port = device.type in _PORTS and not device.group
    return ModelDeviceUsage.MANAGEMENT_AND_APPS if is_port else ModelDeviceUsage.DEDICATED


def check_hardwaremodel(new: Object, old: Object | None) -> Sequence[FieldError]:
    """Every fault of a HardwareModel."""
    spec = msgspec.convert(new.get("spec") or {}, HardwareModelSpec)
    groups = {device.group for device in spec.devices if device.group}
    return [
        fault
        for index, device in enumerate(spec.devices)
        for fault in _check_device(f"spec.devices[{index}]", device, groups)
    ] + list(_check_addresses_once(spec))


def _check_device(path: str, device: ModelDevice, groups: set[str]) -> Iterator[FieldError]:
    given = _addresses(device)
    for name, value in given.items():
        pattern, example = _PATTERNS[name]
        if not pattern.fullmatch(value):
            yield invalid(f"{path}.{name}", value, f"must be like {example}, in lower case")
    wanted = _KNOWN_BY.get(device.type, ("pciAddress", "cdiDevice"))
    if not any(name in given for name in wanted):
        yield required(f"{path}.{wanted[0]}", f"a device of type {device.type} is known by {' or '.join(wanted)}")
    if device.usage is ModelDeviceUsage.DEDICATED and not device.group:
        yield required(f"{path}.group", "a device that is dedicated to an app needs an assignment group")
    if device.parent_group and device.parent_group not in groups:
        yield invalid(f"{path}.parentGroup", device.parent_group, "no device of the model has this group")
    if device.parent_group and device.parent_group == device.group:
        yield forbidden(f"{path}.parentGroup", "a device does not hang on its own group; leave it out")


def _check_addresses_once(spec: HardwareModelSpec) -> Iterator[FieldError]:
    """Two names for one device would give it to two apps. Products may be there twice, sockets not."""
    for name in ("pciAddress", "usbAddress", "serialDevice", "interface"):
        named = (
            (f"spec.devices[{index}].{name}", _addresses(device).get(name, ""))
            for index, device in enumerate(spec.devices)
        )
        yield from rules.check_no_repeats([(path, value) for path, value in named if value])


def _addresses(device: ModelDevice) -> dict[str, str]:
    """What the device is known by: field → value."""
    every = {
        "interface": device.interface,
        "pciAddress": device.pci_address,
        "usbAddress": device.usb_address,
        "usbProduct": device.usb_product,
        "serialDevice": device.serial_device,
        "cdiDevice": device.cdi_device,
    }
    return {name: value for name, value in every.items() if value}


RESOURCE = eaves_resource(
    HardwareModel,
    "hardwaremodels",
    namespaced=False,
    short_names=("hwm",),
    columns=(
        Column("Manufacturer", "string", at("spec.manufacturer"), "Maker of the box."),
        Column("Product", "string", at("spec.product"), "Product name."),
        Column("Devices", "integer", count("spec.devices"), "How many devices it names."),
    ),
    validate=check_hardwaremodel,
)
