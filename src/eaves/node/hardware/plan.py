"""Which devices an app gets, or why it cannot have them. Pure.

A group goes to one app whole. A PCI device goes to a virtual machine by VFIO, which needs an IOMMU, and everything that shares its
IOMMU group must go with it, since the hardware cannot keep them apart. What the machine needs itself goes to nobody.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from msgspec import Struct

from eaves.node.desired.hardware_model import DesiredIo, IoKind
from eaves.node.desired.model import AppKind, DesiredApp
from eaves.node.desired.vm_model import Isolation
from eaves.node.hardware.hostuse import HostUse
from eaves.node.hardware.inventory import USB_ADDRESS, Inventory, PciDevice
from eaves.node.observed import Fault

_VIABLE_DRIVERS = ("", "pci-stub")
"""Of devices that the kernel lets share an IOMMU group with one that VFIO has: nobody uses them."""


class Assignment(Struct, frozen=True):
    """Devices of one app, as the kernel names them.

    ``usb`` are BUS-PORT[.PORT…]; ``interfaces`` are CAN interfaces; ``handed`` see :class:`Hardware`.
    """

    pci: tuple[str, ...] = ()
    usb: tuple[str, ...] = ()
    serial: tuple[str, ...] = ()
    interfaces: tuple[str, ...] = ()
    cdi: tuple[str, ...] = ()
    handed: tuple[tuple[str, str], ...] = ()


class Hardware(Struct, frozen=True):
    """What a decision rests on.

    ``host``: what the machine itself needs. ``handed``: label → PCI address, USB socket or interface of what an app has already; the
    kernel shows no interface of a device that is with VFIO, with a machine or in a container.
    """

    model: tuple[DesiredIo, ...] = ()
    inventory: Inventory = Inventory()
    host: HostUse = HostUse()
    handed: Mapping[str, str] = {}


class DeviceFaultError(Exception):
    """Carries the Fault that an app cannot have a group for."""

    def __init__(self, code: str, message: str, resolution: str) -> None:
        super().__init__(message)
        self.fault = Fault(code, message, resolution)


def want_owners(apps: Sequence[DesiredApp], model: Sequence[DesiredIo]) -> dict[str, str]:
    """Group → id of the app that has it: the first in the config that asks for it, for what hangs on it too.

    An app that is stopped keeps its devices, or another one would find them in an unknown state.
    """
    relatives = _list_relatives(model)
    owners: dict[str, str] = {}
    for app in apps:
        if all(owners.get(group, app.id) == app.id for name in app.devices for group in relatives.get(name, {name})):
            owners.update(
                dict.fromkeys((group for name in app.devices for group in relatives.get(name, {name})), app.id)
            )
    return owners


def plan_assignment(
    app: DesiredApp, hardware: Hardware, owners: Mapping[str, str], names: Mapping[str, str]
) -> Assignment | Fault:
    """``names``: app id → its name, for people."""
    try:
        members = [member for group in app.devices for member in _take_group(app, group, hardware, owners, names)]
        found = _resolve(app, members, hardware)
        _check_groups(found.pci, hardware, _list_pci_of_others(app, hardware, owners))
    except DeviceFaultError as error:
        return error.fault
    return found


def _list_pci_of_others(app: DesiredApp, hardware: Hardware, owners: Mapping[str, str]) -> set[str]:
    return {_find_address(member, hardware) for member in hardware.model if owners.get(member.group, app.id) != app.id}


def _take_group(
    app: DesiredApp, group: str, hardware: Hardware, owners: Mapping[str, str], names: Mapping[str, str]
) -> list[DesiredIo]:
    members = [member for member in hardware.model if member.group == group]
    if not members:
        raise DeviceFaultError(
            "DeviceUnknown", f"the hardware model has no group {group}", "name a group of the node's HardwareModel"
        )
    owner = owners.get(group, "")
    if owner != app.id:
        raise DeviceFaultError(
            "DeviceInUse",
            f"{group} belongs to app {names.get(owner, owner)}" if owner else f"part of {group} belongs to another app",
            "remove it from one of the two",
        )
    kept = next((member.label for member in members if member.is_kept), "")
    if kept:
        raise DeviceFaultError(
            "DeviceKept", f"{kept} of {group} is used by the node itself", "give it the usage Dedicated in the model"
        )
    return members


def _resolve(app: DesiredApp, members: Sequence[DesiredIo], hardware: Hardware) -> Assignment:
    is_machine = app.kind is AppKind.VIRTUAL_MACHINE or app.isolation is Isolation.VM
    pci: list[str] = []
    usb: list[str] = []
    serial: list[str] = []
    interfaces: list[str] = []
    cdi: list[str] = []
    handed: list[tuple[str, str]] = []
    for member in members:
        if member.cdi_name and not is_machine:
            cdi.append(member.cdi_name)
        elif member.kind is IoKind.SERIAL:
            serial.append(_find_serial(member, hardware.inventory))
        elif member.kind is IoKind.USB_DEVICE or (
            not member.pci_address and (member.usb_address or member.usb_product)
        ):
            usb.extend(_find_usb(member, hardware))
        elif member.kind is IoKind.CAN and not member.pci_address:
            interfaces.append(_find_interface(member, hardware))
            handed.append((member.label, interfaces[-1]))
        elif is_machine:
            address = _find_address(member, hardware)
            handed.append((member.label, address))
            if USB_ADDRESS.fullmatch(address):
                usb.append(_check_socket(member, address, hardware))
            else:
                pci.append(_check_pci(member, address, hardware))
        else:
            raise DeviceFaultError(
                "DeviceNeedsMachine",
                f"{member.label} is a PCI device or a network adapter, which goes to a virtual machine alone",
                "use type VirtualMachine, or a CDI name for a GPU",
            )
    return Assignment(
        tuple(sorted(pci)), tuple(sorted(set(usb))), tuple(serial), tuple(interfaces), tuple(cdi), tuple(handed)
    )


def _check_groups(pci: Sequence[str], hardware: Hardware, others: Collection[str]) -> None:
    """``others``: devices of other apps."""
    for address in pci:
        device = next(device for device in hardware.inventory.pci if device.address == address)
        shared = [
            f"{other.address} (driver {other.driver})" if other.driver else other.address
            for other in hardware.inventory.group_members(device.iommu_group)
            if other.address not in pci and (other.address in others or not _is_viable(other))
        ]
        if shared:
            raise DeviceFaultError(
                "IommuGroupShared",
                f"{address} shares IOMMU group {device.iommu_group} with {', '.join(shared)}",
                "put these devices into one group of the hardware model, or use another slot",
            )


def _is_viable(device: PciDevice) -> bool:
    """Whether the kernel lets it stay when VFIO gets another device of its group: a bridge to such devices, or one without driver.

    The same as ``vfio_dev_viable`` of Linux 5 and ``driver_managed_dma`` of Linux 6 say.
    """
    return device.is_bridge or device.driver in _VIABLE_DRIVERS


def _check_pci(member: DesiredIo, address: str, hardware: Hardware) -> str:
    device = next((device for device in hardware.inventory.pci if device.address == address), None)
    if device is None:
        raise _missing(member, address or member.interface or "no PCI address")
    if address in hardware.host.pci:
        raise _kept(member, address, hardware.host.pci[address])
    if device.is_bridge:
        raise DeviceFaultError(
            "DeviceIsBridge",
            f"{member.label} ({address}) is a bridge to other devices, which no machine can have",
            "assign the devices behind it",
        )
    if not device.iommu_group:
        raise DeviceFaultError(
            "NoIommu",
            f"{member.label} ({address}) cannot be assigned: the machine has no IOMMU, or it is off",
            "switch VT-d or AMD-Vi on in the firmware, and boot Linux with intel_iommu=on on Intel",
        )
    return address


def _check_socket(member: DesiredIo, port: str, hardware: Hardware) -> str:
    if port in hardware.host.usb:
        raise _kept(member, port, hardware.host.usb[port])
    return port


def _find_address(member: DesiredIo, hardware: Hardware) -> str:
    """PCI address, or the socket of a network adapter on USB that is known by its interface; empty = it is not there."""
    if member.pci_address or not member.interface:
        return member.pci_address
    parents = (
        port.usb_parent or port.pci_parent for port in hardware.inventory.network if port.name == member.interface
    )
    return next(parents, hardware.handed.get(member.label, ""))


def _find_usb(member: DesiredIo, hardware: Hardware) -> list[str]:
    wanted = member.usb_address.replace(":", "-", 1)
    found = [
        _check_socket(member, device.port, hardware)
        for device in hardware.inventory.usb
        if (wanted or member.usb_product)
        and wanted in ("", device.port)
        and member.usb_product in ("", device.product_id)
    ]
    if not found:
        raise _missing(member, member.usb_address or member.usb_product or "no USB address")
    return found


def _find_serial(member: DesiredIo, inventory: Inventory) -> str:
    if not any(device.path == member.serial_path for device in inventory.serial):
        raise _missing(member, member.serial_path or "no serial line")
    return member.serial_path


def _find_interface(member: DesiredIo, hardware: Hardware) -> str:
    is_here = any(port.name == member.interface for port in hardware.inventory.network)
    if not is_here and hardware.handed.get(member.label) != member.interface:
        raise _missing(member, member.interface or "no interface")
    return member.interface


def _kept(member: DesiredIo, address: str, purpose: str) -> DeviceFaultError:
    return DeviceFaultError(
        "DeviceKept", f"{member.label} ({address}) is needed by the node: {purpose}", "assign another device"
    )


def _missing(member: DesiredIo, what: str) -> DeviceFaultError:
    return DeviceFaultError(
        "DeviceMissing", f"{member.label} is not in the machine: {what}", "plug it in, or correct the hardware model"
    )


def _list_relatives(model: Sequence[DesiredIo]) -> dict[str, set[str]]:
    """Each group with those that must have the same owner: what it hangs on, and what hangs on it."""
    relatives: dict[str, set[str]] = {}
    for member in model:
        relatives.setdefault(member.group, {member.group})
    for member in model:
        if member.group and member.parent_group and member.parent_group != member.group:
            relatives.setdefault(member.parent_group, {member.parent_group}).add(member.group)
            relatives[member.group].add(member.parent_group)
    return relatives
