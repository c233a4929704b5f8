"""Devices of the host that a machine has for itself → QEMU's arguments. Pure.

Facts: QEMU's documentation of vfio-pci, usb-host, chardevs and CAN (docs/system/devices).
"""

from __future__ import annotations

from eaves.node.hardware.plan import Assignment
from eaves.node.vms.model import Architecture


def render_passthrough(devices: Assignment, architecture: Architecture, *, has_pci_bus: bool) -> list[str]:
    """``has_pci_bus``: the old PC, which has no PCI Express ports."""
    return [
        *_render_pci(devices, has_pci_bus=has_pci_bus),
        *_render_usb(devices),
        *_render_serial(devices, architecture),
        *_render_can(devices),
    ]


def _render_pci(devices: Assignment, *, has_pci_bus: bool) -> list[str]:
    args: list[str] = []
    for number, address in enumerate(devices.pci):
        device = f"vfio-pci,host={address},id=host-pci{number}"
        if not has_pci_bus:
            # A port each: drivers of PCI Express devices look at the link above.
            args += ["-device", f"pcie-root-port,id=host-port{number},chassis={number + 1}"]
            device += f",bus=host-port{number}"
        args += ["-device", device]
    return args


def _render_usb(devices: Assignment) -> list[str]:
    """By socket: what is plugged in there later is the machine's too."""
    if not devices.usb:
        return []
    args = ["-device", "qemu-xhci,id=host-usb"]
    for number, socket in enumerate(devices.usb):
        bus, _, port = socket.partition("-")
        args += ["-device", f"usb-host,bus=host-usb.0,hostbus={bus},hostport={port},id=host-usb{number}"]
    return args


def _render_serial(devices: Assignment, architecture: Architecture) -> list[str]:
    kind = "isa-serial" if architecture is Architecture.X86_64 else "pci-serial"
    args: list[str] = []
    for number, path in enumerate(devices.serial):
        args += ["-chardev", f"serial,id=host-serial{number},path={path}"]
        args += ["-device", f"{kind},chardev=host-serial{number}"]
    return args


def _render_can(devices: Assignment) -> list[str]:
    args: list[str] = []
    for number, interface in enumerate(devices.interfaces):
        bus = f"host-can{number}"
        args += ["-object", f"can-bus,id={bus}"]
        args += ["-object", f"can-host-socketcan,id={bus}-host,if={interface},canbus={bus}"]
        args += ["-device", f"kvaser_pci,canbus={bus}"]
    return args
