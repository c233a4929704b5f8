"""What a config says of the machine's devices. Part of the desired state; see :mod:`eaves.node.desired.model`."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class IoKind(StrEnum):
    """What a member of the hardware model is, as far as it matters for handing it to an app."""

    ETHERNET = "Ethernet"
    WIFI = "WiFi"
    CELLULAR = "Cellular"
    USB_CONTROLLER = "USBController"
    USB_DEVICE = "USBDevice"
    SERIAL = "Serial"
    CAN = "CAN"
    OTHER = "Other"
    """Audio, display, storage, GPU …: known by its PCI address or its CDI name."""


class DesiredIo(Struct, frozen=True):
    """One device of the hardware model. Members of one ``group`` go to one app together; without a group it goes to none.

    ``parent_group``: the group of what this hangs on, such as a USB controller; the two cannot have different owners.
    ``is_kept``: the node uses it itself, or shares it between apps by networks.
    """

    label: str
    kind: IoKind
    group: str = ""
    parent_group: str = ""
    pci_address: str = ""
    """DOMAIN:BUS:DEVICE.FUNCTION in lower case."""
    interface: str = ""
    serial_path: str = ""
    usb_address: str = ""
    """BUS:PORT[.PORT…], as EVE writes it."""
    usb_product: str = ""
    """VENDOR:PRODUCT, four hex digits each."""
    cdi_name: str = ""
    """VENDOR/CLASS=NAME of the Container Device Interface."""
    is_kept: bool = False
    physical_label: str = ""
    """The model's name of the part itself, by which it is reported; empty = ``label``."""
    io_type: int = 0
    """PhyIoType of the config, told back as it came."""
    usage: int = 0
    """PhyIoMemberUsage of the config, told back as it came."""
