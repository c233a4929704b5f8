"""Hands devices to apps and back. Blocking where it is no coroutine; call that in threads.

Facts: Documentation/driver-api/vfio.rst, and ``driver_override`` of Documentation/ABI/testing/sysfs-bus-pci.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable
from pathlib import Path

from eaves.kit import process
from eaves.kit.errors import EavesError
from eaves.node.hardware.inventory import SYSFS

VFIO_DRIVER = "vfio-pci"


class DeviceError(EavesError):
    """A device cannot be handed over."""

    code = "DeviceNotHandedOver"


async def load_vfio(sysfs: Path = SYSFS) -> None:
    """Have the kernel load vfio-pci, which nothing else does. Raises DeviceError."""
    driver = sysfs / "bus/pci/drivers" / VFIO_DRIVER
    if driver.exists():
        return
    details = ""
    try:
        await process.run(["modprobe", VFIO_DRIVER])
    except (process.ProcessError, process.ProgramMissingError) as error:
        details = error.details or str(error)
    if not driver.exists():
        raise DeviceError(
            f"PCI devices cannot be assigned: the kernel's module {VFIO_DRIVER} cannot be loaded",
            code="VfioMissing",
            details=details,
            resolution=f"boot a kernel that has it, such as Debian's linux-image-amd64, and try: modprobe {VFIO_DRIVER} (package kmod)",
        )


def bind_vfio(address: str, sysfs: Path = SYSFS) -> None:
    """Take the device from its driver and give it to vfio-pci, which is loaded; nothing to do when it is there. Raises DeviceError."""
    folder = sysfs / "bus/pci/devices" / address
    if _driver(folder) == VFIO_DRIVER:
        return
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
