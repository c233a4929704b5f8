"""Hands PCI devices to VFIO and back, and looks up which ones the machine itself needs. Blocking; call it in threads.

Facts: Documentation/driver-api/vfio.rst, and ``driver_override`` of Documentation/ABI/testing/sysfs-bus-pci.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterable
from pathlib import Path

from eaves.kit.errors import EavesError
from eaves.node.hardware.inventory import SYSFS

VFIO_DRIVER = "vfio-pci"
_PCI = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")


class DeviceError(EavesError):
    """A device cannot be handed over."""

    code = "DeviceNotHandedOver"


def bind_vfio(address: str, sysfs: Path = SYSFS) -> None:
    """Take the device from its driver and give it to vfio-pci; nothing to do when it is there. Raises DeviceError."""
    folder = sysfs / "bus/pci/devices" / address
    if _driver(folder) == VFIO_DRIVER:
        return
    if not (sysfs / "bus/pci/drivers" / VFIO_DRIVER).exists():
        raise DeviceError(
            f"PCI device {address} cannot be assigned: the kernel has no driver {VFIO_DRIVER}",
            resolution=f"modprobe {VFIO_DRIVER}, or install a kernel that has it",
        )
    try:
        (folder / "driver_override").write_text(VFIO_DRIVER)
        with contextlib.suppress(FileNotFoundError):
            (folder / "driver" / "unbind").write_text(address)
        (sysfs / "bus/pci/drivers_probe").write_text(address)
    except OSError as error:
        raise DeviceError(f"PCI device {address} cannot be given to {VFIO_DRIVER}: {error.strerror}") from error
    if _driver(folder) != VFIO_DRIVER:
        raise DeviceError(
            f"PCI device {address} is not taken by {VFIO_DRIVER}",
            resolution="look into the kernel's log (dmesg) for the reason",
        )


def release_vfio(address: str, sysfs: Path = SYSFS) -> None:
    """Give the device back to the driver that the kernel finds for it. A device that is gone is fine.

    Raises DeviceError, such as while a machine has it still: the kernel would wait for that machine's end, and no signal ends that wait.
    """
    folder = sysfs / "bus/pci/devices" / address
    if not folder.exists():
        return
    if _driver(folder) == VFIO_DRIVER and _is_group_in_use(folder):
        raise DeviceError(f"PCI device {address} is not given back to its driver yet: a machine still has it")
    try:
        (folder / "driver_override").write_text("\n")
        if _driver(folder) == VFIO_DRIVER:
            (folder / "driver" / "unbind").write_text(address)
        (sysfs / "bus/pci/drivers_probe").write_text(address)
    except OSError as error:
        raise DeviceError(f"PCI device {address} cannot be given back to its driver: {error.strerror}") from error


def release_usb(port: str, sysfs: Path = SYSFS) -> None:
    """Have the kernel find drivers for the device in a socket, as it does by itself only for who gives it back in order.

    A device that is gone is fine. Raises DeviceError, such as while an app has it still.
    """
    for folder in (sysfs / "bus/usb/devices").glob(f"{port}:*"):
        match _driver(folder):
            case "usbfs":
                raise DeviceError(f"USB device {port} is not given back to its driver yet: an app still has it")
            case "":
                try:
                    (sysfs / "bus/usb/drivers_probe").write_text(folder.name)
                except OSError as error:
                    # Not every interface has a driver, and a device may be pulled out meanwhile.
                    if error.errno not in (errno.ENODEV, errno.EINVAL):
                        raise DeviceError(
                            f"USB device {port} cannot be given back to its driver: {error.strerror}"
                        ) from error


def observe_host_pci(
    uplinks: Iterable[str], sysfs: Path = SYSFS, mounts: Path = Path("/proc/self/mountinfo")
) -> dict[str, str]:
    """PCI address → what the machine needs it for: its own ports, and disks with a mounted file system."""
    found: dict[str, str] = {}
    for interface in uplinks:
        if address := _nearest_pci(sysfs / "class/net" / interface / "device"):
            found[address] = f"port {interface}"
    for line in mounts.read_text(encoding="utf-8", errors="replace").splitlines():
        fields = line.split(" ")
        if not fields[2].startswith("0:") and (address := _nearest_pci(sysfs / "dev/block" / fields[2])):
            found.setdefault(address, f"disk of {fields[4]}")
    return found


def list_usb_nodes(ports: Iterable[str], sysfs: Path = SYSFS) -> list[str]:
    """Device files of USB devices by their sockets; numbers change whenever one is plugged in anew."""
    nodes = []
    for port in ports:
        folder = sysfs / "bus/usb/devices" / port
        with contextlib.suppress(OSError, ValueError):
            bus, number = (int((folder / name).read_text()) for name in ("busnum", "devnum"))
            nodes.append(f"/dev/bus/usb/{bus:03d}/{number:03d}")
    return nodes


def _is_group_in_use(folder: Path) -> bool:
    """A group's file is opened by one process at a time."""
    try:
        os.close(os.open(Path("/dev/vfio") / (folder / "iommu_group").resolve().name, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return error.errno == errno.EBUSY
    return False


def _driver(folder: Path) -> str:
    link = folder / "driver"
    return link.resolve().name if link.exists() else ""


def _nearest_pci(link: Path) -> str:
    if not os.path.lexists(link):
        return ""
    real = link.resolve()
    return next((folder.name for folder in (real, *real.parents) if _PCI.fullmatch(folder.name)), "")
