"""What the machine needs for itself and no app may have: its ports, and the disks of its file systems and swap.

Blocking; call it in threads. Facts: sysfs-block (``slaves`` of stacked block devices), sysfs-class-net (``lower_*`` links of stacked
interfaces) below Documentation/ABI/testing, and proc(5) for mountinfo, swaps, route and ipv6_route.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from msgspec import Struct

from eaves.node.hardware.inventory import PCI_ADDRESS, SYSFS, USB_ADDRESS

PROC = Path("/proc")
_LOWER = "lower_"
_PORT_CLASSES = ("net", "usbmisc", "wwan", "tty")
"""A modem is known by the file that it is commanded by."""
_NO_DEVICE = "0"
"""Major number of file systems without a block device, or, as btrfs, with several."""


class HostUse(Struct, frozen=True):
    """PCI address, or USB socket → what the machine needs the device for. Whatever it hangs on is needed for the same."""

    pci: dict[str, str] = {}
    usb: dict[str, str] = {}


def observe_host_use(ports: Iterable[str], sysfs: Path = SYSFS, proc: Path = PROC) -> HostUse:
    """``ports``: interfaces that the node reaches its controller by; those of the default routes count without being named."""
    found = HostUse({}, {})
    for interface in dict.fromkeys((*ports, *_list_default_ports(proc))):
        for lower in _list_lower_ports(interface, sysfs):
            for kind in _PORT_CLASSES:
                _note(sysfs / "class" / kind / lower / "device", f"port {interface}", found)
    for used, purpose in _list_used_disks(sysfs, proc):
        for disk in _list_lower_disks(used):
            _note(disk, purpose, found)
    return found


def _note(device: Path, purpose: str, found: HostUse) -> None:
    if not os.path.lexists(device):
        return
    real = device.resolve()
    for folder in (real, *real.parents):
        if USB_ADDRESS.fullmatch(folder.name):
            found.usb.setdefault(folder.name, purpose)
        elif PCI_ADDRESS.fullmatch(folder.name):
            found.pci.setdefault(folder.name, purpose)
            # What is above are bridges, which nobody can be given.
            return


def _list_default_ports(proc: Path) -> Iterator[str]:
    """The interfaces by which the host itself leaves, in IPv4 and IPv6: the default route of lowest metric each."""
    routes = [line.split() for line in _lines(proc / "net/route")[1:]]
    defaults = [(int(route[6]), route[0]) for route in routes if len(route) > 7 and route[1] == route[7] == "00000000"]
    routes = [line.split() for line in _lines(proc / "net/ipv6_route")]
    defaults_v6 = [
        (int(route[5], 16), route[9])
        for route in routes
        if len(route) > 9 and route[0] == "0" * 32 and route[1] == "00" and route[9] != "lo"
    ]
    for found in (defaults, defaults_v6):
        if found:
            yield min(found)[1]


def _list_lower_ports(interface: str, sysfs: Path) -> Iterator[str]:
    """It, and what a VLAN, a bond or a bridge stands on."""
    yield interface
    for link in sorted((sysfs / "class/net" / interface).glob(f"{_LOWER}*")):
        yield from _list_lower_ports(link.name.removeprefix(_LOWER), sysfs)


def _list_used_disks(sysfs: Path, proc: Path) -> Iterator[tuple[Path, str]]:
    """Folders of block devices, which may not be there, with what for. A file with swap is on a disk with a file system."""
    for line in _lines(proc / "self/mountinfo"):
        fields = line.split(" ")
        number, place = fields[2], fields[4]
        disk = sysfs / "dev/block" / number
        if number.partition(":")[0] == _NO_DEVICE:
            disk = _find_disk(fields[fields.index("-") + 2], sysfs)
        yield disk, f"disk of {place}"
    for line in _lines(proc / "swaps")[1:]:
        yield _find_disk(line.split()[0], sysfs), "swap"


def _find_disk(source: str, sysfs: Path) -> Path:
    """By the file of a block device, which may be a link, such as those of device-mapper."""
    name = os.path.realpath(source) if source.startswith("/dev/") else ""
    return sysfs / "class/block" / (name.rpartition("/")[2] or "none")


def _list_lower_disks(disk: Path) -> Iterator[Path]:
    """It, and what a volume of LVM, of dm-crypt or a RAID stands on. A partition's disk is among the parents of its folder."""
    yield disk
    for link in sorted((disk / "slaves").glob("*")):
        yield from _list_lower_disks(link)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
