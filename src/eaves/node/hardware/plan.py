"""Which devices an app gets, or why it cannot have them. Pure.

A group goes to one app whole. A PCI device goes to a virtual machine by VFIO, which needs an IOMMU, and everything that shares its
IOMMU group must go with it, since the hardware cannot keep them apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from eaves.node.desired.hardware_model import DesiredIo, IoKind
from eaves.node.desired.model import AppKind, DesiredApp
from eaves.node.desired.vm_model import Isolation
from eaves.node.hardware.inventory import Inventory, UsbDevice
from eaves.node.observed import Fault


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

    ``host_pci``: devices that the machine itself needs, with what for. ``handed``: label → PCI address or interface of what an app
    has already; the kernel shows no interface of a device that is with VFIO or in a container.
    """

    model: tuple[DesiredIo, ...] = ()
    inventory: Inventory = Inventory()
    host_pci: Mapping[str, str] = {}
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
        return _resolve(app, members, hardware)
    except DeviceFaultError as error:
        return error.fault


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
    pci: dict[str, DesiredIo] = {}
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
        elif member.kind is IoKind.USB_DEVICE:
            usb.extend(device.port for device in _find_usb(member, hardware.inventory))
        elif member.kind is IoKind.CAN and not member.pci_address:
            interfaces.append(_find_interface(member, hardware))
            handed.append((member.label, interfaces[-1]))
        else:
            address = _find_pci(member, hardware)
            pci[address] = member
            handed.append((member.label, address))
    if pci and not is_machine:
        label = next(iter(pci.values())).label
        raise DeviceFaultError(
            "DeviceNeedsMachine",
            f"{label} is a PCI device, which goes to a virtual machine alone",
            "use type VirtualMachine, or a CDI name for a GPU",
        )
    _check_groups(pci, hardware)
    return Assignment(
        tuple(sorted(pci)), tuple(sorted(set(usb))), tuple(serial), tuple(interfaces), tuple(cdi), tuple(handed)
    )


def _check_groups(pci: Mapping[str, DesiredIo], hardware: Hardware) -> None:
    for address, member in pci.items():
        if address in hardware.host_pci:
            raise DeviceFaultError(
                "DeviceKept",
                f"{member.label} ({address}) is needed by the node: {hardware.host_pci[address]}",
                "assign another device",
            )
        device = next(device for device in hardware.inventory.pci if device.address == address)
        if not device.iommu_group:
            raise DeviceFaultError(
                "NoIommu",
                f"{member.label} ({address}) cannot be assigned: the machine has no IOMMU, or it is off",
                "switch VT-d or AMD-Vi on in the firmware, and boot Linux with intel_iommu=on on Intel",
            )
        shared = [
            other.address
            for other in hardware.inventory.group_members(device.iommu_group)
            if other.address not in pci and not other.is_bridge
        ]
        if shared:
            raise DeviceFaultError(
                "IommuGroupShared",
                f"{member.label} ({address}) shares IOMMU group {device.iommu_group} with {', '.join(shared)}",
                "put these devices into one group of the hardware model, or use another slot",
            )


def _find_pci(member: DesiredIo, hardware: Hardware) -> str:
    inventory = hardware.inventory
    address = member.pci_address
    if not address and member.interface:
        parents = (port.pci_parent for port in inventory.network if port.name == member.interface)
        address = next(parents, hardware.handed.get(member.label, ""))
    if not address:
        raise _missing(member, member.interface or "no PCI address")
    if not any(device.address == address for device in inventory.pci):
        raise _missing(member, address)
    return address


def _find_usb(member: DesiredIo, inventory: Inventory) -> list[UsbDevice]:
    wanted = member.usb_address.replace(":", "-", 1)
    found = [
        device
        for device in inventory.usb
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
