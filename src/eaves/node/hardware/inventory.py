"""Devices on the machine's buses, read from sysfs.

Facts: Documentation/ABI/testing/sysfs-bus-pci, sysfs-bus-usb and sysfs-kernel-iommu_groups of the Linux kernel. What cannot be read
stays empty.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

SYSFS = Path("/sys")

PCI_ADDRESS = re.compile(r"([0-9a-f]{4,8}):([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])")
USB_ADDRESS = re.compile(r"(\d+)-(\d+(?:\.\d+)*)")
_HEADER_TYPE = 0x0E
"""Where it is in a PCI device's configuration space; the highest bit tells of several functions."""
_CAN_TYPE = "280"
"""ARPHRD_CAN of ``if_arp.h``."""


class PciDevice(Struct, frozen=True):
    """``address`` is DOMAIN:BUS:DEVICE.FUNCTION as the kernel writes it; ``class_code`` has class, subclass and interface bytes."""

    address: str
    vendor: int
    device: int
    class_code: int
    revision: int = 0
    subsystem: int = 0
    driver: str = ""
    iommu_group: str = ""
    """Empty where there is no IOMMU."""
    parent: str = ""
    header_type: int = 0

    @property
    def is_bridge(self) -> bool:
        """To other PCI devices. A host bridge or an ISA bridge is none, though of the class of bridges: it is a device like others."""
        return self.header_type != 0


class UsbDevice(Struct, frozen=True):
    """``port`` is BUS-PORT[.PORT…]: the socket, which stays when the device is plugged in anew."""

    port: str
    vendor: int
    product: int
    device_class: int
    driver: str = ""
    pci_parent: str = ""
    usb_parent: str = ""
    name: str = ""

    @property
    def product_id(self) -> str:
        return f"{self.vendor:04x}:{self.product:04x}"


class SerialDevice(Struct, frozen=True):
    path: str
    io_ports: str = ""
    irq: int = 0
    pci_parent: str = ""
    usb_parent: str = ""


class NetworkDevice(Struct, frozen=True):
    """An interface with hardware behind it. ``kind``: ethernet, wlan, wwan or can."""

    name: str
    kind: str
    mac: str = ""
    speed_mbps: int = 0
    pci_parent: str = ""
    usb_parent: str = ""


class Inventory(Struct, frozen=True):
    pci: tuple[PciDevice, ...] = ()
    usb: tuple[UsbDevice, ...] = ()
    serial: tuple[SerialDevice, ...] = ()
    network: tuple[NetworkDevice, ...] = ()

    def group_members(self, iommu_group: str) -> tuple[PciDevice, ...]:
        """PCI devices of one IOMMU group, bridges too."""
        return tuple(device for device in self.pci if iommu_group and device.iommu_group == iommu_group)


def load_inventory(sysfs: Path = SYSFS) -> Inventory:
    """Everything on the buses now. Reads a few hundred small files; call it in a thread."""
    return Inventory(
        pci=tuple(_list_pci(sysfs)),
        usb=tuple(_list_usb(sysfs)),
        serial=tuple(_list_serial(sysfs)),
        network=tuple(_list_network(sysfs)),
    )


def _list_pci(sysfs: Path) -> Iterator[PciDevice]:
    for folder in _entries(sysfs / "bus/pci/devices"):
        if not PCI_ADDRESS.fullmatch(folder.name):
            continue
        yield PciDevice(
            address=folder.name,
            vendor=_hex(folder / "vendor"),
            device=_hex(folder / "device"),
            class_code=_hex(folder / "class"),
            revision=_hex(folder / "revision"),
            subsystem=_hex(folder / "subsystem_device"),
            driver=_link_name(folder / "driver"),
            iommu_group=_link_name(folder / "iommu_group"),
            parent=_nearest(folder.resolve().parent, PCI_ADDRESS),
            header_type=_header_type(folder / "config"),
        )


def _list_usb(sysfs: Path) -> Iterator[UsbDevice]:
    """Devices alone: root hubs and interfaces have other names."""
    for folder in _entries(sysfs / "bus/usb/devices"):
        if not USB_ADDRESS.fullmatch(folder.name):
            continue
        real = folder.resolve()
        interfaces = sorted(real.glob(f"{folder.name}:*"))
        yield UsbDevice(
            port=folder.name,
            vendor=_hex(folder / "idVendor"),
            product=_hex(folder / "idProduct"),
            device_class=_hex(folder / "bDeviceClass"),
            driver=_link_name(interfaces[0] / "driver") if interfaces else "",
            pci_parent=_nearest(real.parent, PCI_ADDRESS),
            usb_parent=_nearest(real.parent, USB_ADDRESS),
            name=" ".join(filter(None, (_text(folder / "manufacturer"), _text(folder / "product")))),
        )


def _list_serial(sysfs: Path) -> Iterator[SerialDevice]:
    """Lines with hardware behind them: the platform's UARTs list many that are not there (type 0, unknown)."""
    for folder in _entries(sysfs / "class/tty"):
        if not (folder / "device").exists() or _text(folder / "type") == "0":
            continue
        real = (folder / "device").resolve()
        port = _text(folder / "port")
        yield SerialDevice(
            path=f"/dev/{folder.name}",
            io_ports=port if port not in ("", "0x0") else "",
            irq=int(_text(folder / "irq") or "0"),
            pci_parent=_nearest(real, PCI_ADDRESS),
            usb_parent=_nearest(real, USB_ADDRESS),
        )


def _list_network(sysfs: Path) -> Iterator[NetworkDevice]:
    for folder in _entries(sysfs / "class/net"):
        is_can = _text(folder / "type") == _CAN_TYPE
        if not (folder / "device").exists() and not is_can:
            continue
        real = (folder / "device").resolve()
        speed = _text(folder / "speed")
        yield NetworkDevice(
            name=folder.name,
            kind=_network_kind(folder, is_can=is_can),
            mac="" if is_can else _text(folder / "address"),
            speed_mbps=int(speed) if speed.isdigit() else 0,
            pci_parent=_nearest(real, PCI_ADDRESS),
            usb_parent=_nearest(real, USB_ADDRESS),
        )


def _network_kind(folder: Path, *, is_can: bool) -> str:
    if is_can:
        return "can"
    if (folder / "wireless").exists() or (folder / "phy80211").exists():
        return "wlan"
    return "wwan" if folder.name.startswith("wwan") or "DEVTYPE=wwan" in _text(folder / "uevent") else "ethernet"


def _nearest(path: Path, pattern: re.Pattern[str]) -> str:
    """The nearest of ``path`` and its parents that is named like a device of the bus; empty = none."""
    for folder in (path, *path.parents):
        if pattern.fullmatch(folder.name):
            return folder.name
    return ""


def _link_name(link: Path) -> str:
    return link.resolve().name if link.is_symlink() or link.exists() else ""


def _hex(path: Path) -> int:
    try:
        return int(_text(path) or "0", 16)
    except ValueError:
        return 0


def _header_type(path: Path) -> int:
    try:
        return path.read_bytes()[_HEADER_TYPE] & 0x7F
    except (OSError, IndexError):
        return 0


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _entries(path: Path) -> list[Path]:
    try:
        return sorted(path.iterdir())
    except OSError:
        return []
