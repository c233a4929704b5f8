"""EdgeNode: one device. What it is asked to be, and what is known of it.

``metadata.uid`` is the device's UUID in the device API. ``v1 Node`` is a view of this kind (:mod:`eaves.kinds.node`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Struct

from eaves.kinds.app_rules import check_counter
from eaves.kinds.columns import at, condition, count, get
from eaves.kinds.fields import AddressType, Conditions, NodeAddress, Quantity, Taint, Time, about, keyed
from eaves.kinds.hardwaremodel import ModelDeviceType
from eaves.kinds.metadata import ObjectMeta
from eaves.kinds.port_rules import check_ports
from eaves.kinds.port_spec import Bond, Uplink, Vlan
from eaves.kinds.rules import invalid
from eaves.kinds.serving import eaves_resource, text_at
from eaves.kube import names
from eaves.kube.errors import FieldError
from eaves.kube.quantity import parse_bytes
from eaves.kube.resource import Column, Object
from eaves.wire import timers


class EdgeNodeSpec(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """What the device is asked to be."""

    approved: Annotated[bool, about("An operator trusts this device; nothing but a baseline is sent before.")] = False
    serial: Annotated[
        str, about("Serial number of the hardware, to expect a device before it calls.", max_length=256)
    ] = ""
    model: Annotated[str, about("Name of the HardwareModel.", max_length=253)] = ""
    uplinks: Annotated[
        list[Uplink], keyed("name", description="Ports to the world; left to the device when absent.")
    ] = []
    vlans: Annotated[
        list[Vlan], keyed("name", description="VLANs of ports, as ports of their own.", max_length=64)
    ] = []
    bonds: Annotated[list[Bond], keyed("name", description="Several ports as one.", max_length=32)] = []
    properties: Annotated[dict[str, str], about("Device properties, such as timer.config.interval: 60.")] = {}
    unschedulable: Annotated[bool, about("No new app is placed here (kubectl cordon).")] = False
    taints: Annotated[
        list[Taint], keyed("key", "effect", description="Keep workloads away that do not tolerate them.")
    ] = []
    os_version: Annotated[str, about("Wanted version of the operating system, where Eaves manages it.")] = ""
    reboot_counter: Annotated[int, about("Raise it by one to reboot the device.", ge=0, le=0xFFFFFFFF)] = 0
    shutdown_counter: Annotated[
        int, about("Raise it by one to stop all apps and prepare for power off.", ge=0, le=0xFFFFFFFF)
    ] = 0
    maintenance: Annotated[bool, about("Stop all apps and keep their data until this is false again.")] = False


class EdgeNodePhase(StrEnum):
    PENDING = "Pending"
    """Known, not approved."""
    ONBOARDED = "Onboarded"
    """Approved, nothing heard of its state yet."""
    READY = "Ready"
    NOT_READY = "NotReady"
    MAINTENANCE = "Maintenance"


class Resources(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Amounts a node has."""

    cpu: Annotated[Quantity | None, about("Processors.")] = None
    memory: Annotated[Quantity | None, about("Memory in bytes.")] = None
    storage: Annotated[Quantity | None, about("Storage for images and volumes in bytes.")] = None
    pods: Annotated[Quantity | None, about("Number of apps.")] = None


class Inventory(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """What the hardware is."""

    manufacturer: Annotated[str, about("Maker.")] = ""
    product: Annotated[str, about("Product name.")] = ""
    serial: Annotated[str, about("Serial number.")] = ""
    bios: Annotated[str, about("Firmware vendor, version and date.")] = ""
    architecture: Annotated[str, about("amd64, arm64 … as in image platforms.")] = ""
    cpus: Annotated[int, about("Number of processors.")] = 0
    memory: Annotated[Quantity | None, about("Memory in bytes.")] = None
    storage: Annotated[Quantity | None, about("Storage in bytes.")] = None
    hsm: Annotated[str, about("Hardware security module: its name, Disabled or NotFound.")] = ""


class Versions(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """What software runs."""

    daemon: Annotated[str, about("Version of the Eaves node daemon; empty on other devices.")] = ""
    os: Annotated[str, about("Operating system.")] = ""
    kernel: Annotated[str, about("Kernel release.")] = ""
    container_runtime: Annotated[str, about("Container engine, as podman://4.3.1.")] = ""
    eve: Annotated[str, about("Version of EVE; empty on Eaves nodes.")] = ""


class PortMedium(StrEnum):
    ETHERNET = "Ethernet"
    WIFI = "WiFi"
    CELLULAR = "Cellular"


class ModemStatus(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """A modem and the mobile network that it is in."""

    imei: Annotated[str, about("Number of the modem.")] = ""
    model: Annotated[str, about("Maker and model.")] = ""
    iccid: Annotated[str, about("Number of the SIM card in use.")] = ""
    imsi: Annotated[str, about("The subscriber's number on it.")] = ""
    operator: Annotated[str, about("Name of the mobile network, or its number.")] = ""
    roaming: Annotated[bool, about("Whether that is another operator's than the card's.")] = False
    technologies: Annotated[list[str], about("GSM, UMTS, LTE or 5GNR.")] = []
    apn: Annotated[str, about("Access point that is connected.")] = ""


class PortStatus(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """A network port as the device reports it."""

    name: Annotated[str, about("Label of the port.")]
    interface: Annotated[str, about("Linux name.")] = ""
    up: Annotated[bool, about("Whether the link is up.")] = False
    management: Annotated[bool, about("Whether the device reaches the controller by it.")] = False
    medium: Annotated[PortMedium, about("What carries it.")] = PortMedium.ETHERNET
    dhcp: Annotated[bool, about("Whether it has its address by DHCP.")] = False
    cost: Annotated[int, about("Cost of use.")] = 0
    mac_address: Annotated[str, about("Hardware address.")] = ""
    addresses: Annotated[list[str], about("IP addresses.")] = []
    ntp_servers: Annotated[list[str], about("Time servers, of its settings and by DHCP.")] = []
    modem: Annotated[ModemStatus | None, about("Of a port of a mobile network.")] = None
    error: Annotated[str, about("Last fault.")] = ""


class DeviceStatus(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """A device on a bus of the box, as it reports it; a HardwareModel can name it."""

    type: Annotated[ModelDeviceType, about("What it is.")]
    pci_address: Annotated[str, about("PCI address.")] = ""
    usb_address: Annotated[str, about("USB socket as BUS:PORT.")] = ""
    serial_device: Annotated[str, about("Serial line.")] = ""
    interface: Annotated[str, about("Linux name of a network or CAN interface.")] = ""
    mac_address: Annotated[str, about("Hardware address of a port.")] = ""
    product: Annotated[str, about("Vendor and product number in hexadecimal digits.")] = ""
    driver: Annotated[str, about("Driver of the host.")] = ""
    iommu_group: Annotated[str, about("IOMMU group; empty without an IOMMU.")] = ""


class ConfigStatus(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Which config the device should have and which it has."""

    wanted: Annotated[str, about("Hash of the config made for the device.")] = ""
    applied: Annotated[str, about("Hash of the config that the device says it applied.")] = ""
    applied_time: Annotated[Time | None, about("When the device applied it.")] = None


class EdgeNodeStatus(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """What is known of the device."""

    phase: Annotated[EdgeNodePhase | None, about("Summary of the conditions.")] = None
    conditions: Conditions = []
    capacity: Annotated[Resources | None, about("What the device has.")] = None
    allocatable: Annotated[Resources | None, about("What apps may use.")] = None
    inventory: Annotated[Inventory | None, about("What the hardware is.")] = None
    addresses: Annotated[list[NodeAddress], about("Names and addresses of the device.")] = []
    ports: Annotated[list[PortStatus], keyed("name", description="Network ports.")] = []
    devices: Annotated[list[DeviceStatus], about("Devices on the buses, as of the last boot.")] = []
    versions: Annotated[Versions | None, about("What software runs.")] = None
    config: Annotated[ConfigStatus | None, about("Config made and applied.")] = None
    last_seen: Annotated[Time | None, about("Last contact, as of the last change of this status.")] = None
    boot_time: Annotated[Time | None, about("When the device booted.")] = None
    boot_reason: Annotated[str, about("Why it booted.")] = ""
    restart_counter: Annotated[int, about("How often it booted.")] = 0
    problems: Annotated[list[str], about("What is wrong with the device itself.")] = []
    property_errors: Annotated[dict[str, str], about("Properties that the device refused, and why.")] = {}
    observed_generation: Annotated[int, about("Generation of the spec that the conditions are of.")] = 0


class EdgeNode(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """One edge device. It appears by registering with an onboarding key and runs apps once approved."""

    api_version: Annotated[str, about("Version of the schema of this object.")] = ""
    kind: Annotated[str, about("Kind of this object.")] = ""
    metadata: ObjectMeta = ObjectMeta()
    spec: EdgeNodeSpec = EdgeNodeSpec()
    status: EdgeNodeStatus = EdgeNodeStatus()


def decode(obj: Object) -> EdgeNode:
    """Typed view of a stored object. Raises ``msgspec.ValidationError`` when it does not fit the schema."""
    return msgspec.convert(obj, EdgeNode)


def allocatable_memory_bytes(obj: Object) -> int:
    """What apps may use of the node's memory; 0 while the device has not told. For admission."""
    text = get(obj, ["status", "allocatable", "memory"], None)
    return parse_bytes(text) if text is not None else 0


def check_edgenode(new: Object, old: Object | None) -> Sequence[FieldError]:
    """Every fault of an EdgeNode, and of a change of one."""
    spec = msgspec.convert(new.get("spec") or {}, EdgeNodeSpec)
    faults = [
        *check_ports(spec.uplinks, spec.vlans, spec.bonds),
        *_check_properties(spec),
        *check_taints("spec.taints", spec.taints),
    ]
    if old is not None:
        before = msgspec.convert(old.get("spec") or {}, EdgeNodeSpec)
        faults.extend(check_counter("spec.rebootCounter", spec.reboot_counter, before.reboot_counter))
        faults.extend(check_counter("spec.shutdownCounter", spec.shutdown_counter, before.shutdown_counter))
    return faults


def _check_properties(spec: EdgeNodeSpec) -> Iterator[FieldError]:
    """Values of the properties that Eaves knows; others are the device's business, which tells what it refused."""
    for key, value in sorted(spec.properties.items()):
        if key in timers.SWITCHES or key in timers.NUMBERS:
            _, error = timers.parse_value(key, value)
            if error:
                yield invalid(f"spec.properties[{key}]", value, error)


def check_taints(path: str, taints: Sequence[Taint]) -> Iterator[FieldError]:
    """Keys and values as Kubernetes has them for labels."""
    for index, taint in enumerate(taints):
        for text in names.check_qualified_name(taint.key):
            yield invalid(f"{path}[{index}].key", taint.key, text)
        for text in names.check_label_value(taint.value or ""):
            yield invalid(f"{path}[{index}].value", taint.value, text)


def _address(obj: Object, _now: float) -> str:
    addresses = get(obj, ["status", "addresses"], ())
    return next((entry["address"] for entry in addresses if entry.get("type") == AddressType.INTERNAL_IP), "")


RESOURCE = eaves_resource(
    EdgeNode,
    "edgenodes",
    namespaced=False,
    short_names=("en",),
    categories=("eaves", "all"),
    columns=(
        Column("Phase", "string", at("status.phase"), "Summary of the conditions."),
        Column("Ready", "string", condition("Ready"), "Whether apps can run."),
        Column("Approved", "boolean", at("spec.approved", False), "Whether an operator trusts the device."),
        Column("Address", "string", _address, "Address of the device."),
        Column("Model", "string", at("status.inventory.product"), "Product name.", priority=1),
        Column("Serial", "string", at("status.inventory.serial"), "Serial number.", priority=1),
        Column("Version", "string", at("status.versions.os"), "Operating system.", priority=1),
        Column("Problems", "integer", count("status.problems"), "Faults of the device itself.", priority=1),
    ),
    selectable_fields={
        "spec.unschedulable": text_at("spec", "unschedulable"),
        "spec.approved": text_at("spec", "approved"),
        "spec.serial": text_at("spec", "serial"),
        "status.phase": text_at("status", "phase"),
    },
    validate=check_edgenode,
)
