"""Which devices an app gets, or why not."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from eaves.node.desired.hardware_model import DesiredIo, IoKind
from eaves.node.desired.model import AppKind, DesiredApp
from eaves.node.hardware.hostuse import HostUse
from eaves.node.hardware.inventory import Inventory, NetworkDevice, PciDevice, SerialDevice, UsbDevice
from eaves.node.hardware.plan import Assignment, Hardware, plan_assignment, want_owners
from eaves.node.observed import Fault

NIC, SOUND, GPU, BRIDGE = "0000:03:00.0", "0000:03:00.1", "0000:04:00.0", "0000:00:1c.0"
INVENTORY = Inventory(
    pci=(
        PciDevice(BRIDGE, 0x8086, 1, 0x060400, driver="pcieport", iommu_group="7", header_type=1),
        PciDevice(NIC, 0x8086, 2, 0x020000, driver="igc", iommu_group="7"),
        PciDevice(GPU, 0x10DE, 3, 0x030000, iommu_group="8"),
    ),
    usb=(
        UsbDevice("1-2", 0x0951, 0x1666, 0, name="Kingston"),
        UsbDevice("1-3", 0x0951, 0x1666, 0, name="Kingston"),
        UsbDevice("2-1.4", 0x10C4, 0xEA60, 0, name="CP2102"),
    ),
    serial=(SerialDevice("/dev/ttyS0"),),
    network=(NetworkDevice("enp3s0", "ethernet", pci_parent=NIC), NetworkDevice("can0", "can")),
)
MODEL = (
    DesiredIo("eth1", IoKind.ETHERNET, "lan2", interface="enp3s0"),
    DesiredIo("gpu", IoKind.OTHER, "gpu", pci_address=GPU),
    DesiredIo("gpu-cdi", IoKind.OTHER, "gpu-cdi", cdi_name="nvidia.com/gpu=0"),
    DesiredIo("com1", IoKind.SERIAL, "com1", serial_path="/dev/ttyS0"),
    DesiredIo("stick", IoKind.USB_DEVICE, "stick", usb_address="1:2"),
    DesiredIo("sticks", IoKind.USB_DEVICE, "sticks", usb_product="0951:1666"),
    DesiredIo("can", IoKind.CAN, "can", interface="can0"),
    DesiredIo("eth0", IoKind.ETHERNET, "lan1", interface="enp2s0", is_kept=True),
    DesiredIo("gone", IoKind.OTHER, "gone", pci_address="0000:09:00.0"),
)


def want_app(*devices: str, name: str = "plc", kind: AppKind = AppKind.VIRTUAL_MACHINE) -> DesiredApp:
    return DesiredApp(
        id=f"app-{name}",
        version="1",
        name=name,
        namespace="default",
        kind=kind,
        activate=True,
        image_id="",
        root_volume_id="",
        root_generation=0,
        memory_bytes=1 << 28,
        cpu_millis=0,
        devices=devices,
    )


def plan(app: DesiredApp, *others: DesiredApp, hardware: Hardware | None = None) -> Assignment | Fault:
    apps = (*others, app)
    hardware = hardware or Hardware(MODEL, INVENTORY)
    return plan_assignment(app, hardware, want_owners(apps, hardware.model), {one.id: one.name for one in apps})


def assert_fault(found: Assignment | Fault, code: str, *words: str) -> None:
    assert isinstance(found, Fault), found
    assert found.code == code
    assert found.resolution
    for word in words:
        assert word in found.message


def test_machine_gets_pci_devices_by_address_or_interface() -> None:
    found = plan(want_app("lan2", "gpu"))
    assert isinstance(found, Assignment)
    assert found.pci == (NIC, GPU)


def test_device_that_is_with_vfio_already_is_found_without_its_interface() -> None:
    bare = replace(INVENTORY, network=())
    assert_fault(plan(want_app("lan2"), hardware=Hardware(MODEL, bare)), "DeviceMissing", "eth1", "enp3s0")
    found = plan(want_app("lan2"), hardware=Hardware(MODEL, bare, handed={"eth1": NIC}))
    assert isinstance(found, Assignment)
    assert found.pci == (NIC,)


@pytest.mark.parametrize("kind", list(AppKind))
def test_serial_and_usb_go_to_machines_and_containers(kind: AppKind) -> None:
    found = plan(want_app("com1", "stick", kind=kind))
    assert isinstance(found, Assignment)
    assert (found.serial, found.usb) == (("/dev/ttyS0",), ("1-2",))


def test_usb_product_takes_all_that_are_plugged_in() -> None:
    found = plan(want_app("sticks"))
    assert isinstance(found, Assignment)
    assert found.usb == ("1-2", "1-3")


def test_container_gets_can_interfaces_and_cdi_devices() -> None:
    found = plan(want_app("can", "gpu-cdi", kind=AppKind.CONTAINER))
    assert isinstance(found, Assignment)
    assert (found.interfaces, found.cdi) == (("can0",), ("nvidia.com/gpu=0",))


def test_pci_device_does_not_go_to_a_container() -> None:
    assert_fault(plan(want_app("gpu", kind=AppKind.CONTAINER)), "DeviceNeedsMachine", "gpu")


def test_without_an_iommu_it_is_refused_with_the_remedy() -> None:
    bare = replace(INVENTORY, pci=tuple(replace(device, iommu_group="") for device in INVENTORY.pci))
    found = plan(want_app("gpu"), hardware=Hardware(MODEL, bare))
    assert_fault(found, "NoIommu", GPU, "IOMMU")
    assert isinstance(found, Fault)
    assert "intel_iommu=on" in found.resolution


def test_everything_of_an_iommu_group_must_go_together() -> None:
    sound = PciDevice(SOUND, 0x8086, 9, 0x040300, driver="snd_hda_intel", iommu_group="7")
    inventory = replace(INVENTORY, pci=(*INVENTORY.pci, sound))
    assert_fault(
        plan(want_app("lan2"), hardware=Hardware(MODEL, inventory)),
        "IommuGroupShared",
        "group 7",
        f"{SOUND} (driver snd_hda_intel)",
    )
    together = (*MODEL, DesiredIo("sound", IoKind.OTHER, "lan2", pci_address=SOUND))
    found = plan(want_app("lan2"), hardware=Hardware(together, inventory))
    assert isinstance(found, Assignment)
    assert found.pci == (NIC, SOUND)


def test_bridges_of_an_iommu_group_stay_with_the_host() -> None:
    found = plan(want_app("lan2"))
    assert isinstance(found, Assignment)
    assert BRIDGE not in found.pci


def test_a_bridge_of_another_kind_does_not_stay_while_it_has_a_driver() -> None:
    """An ISA bridge is of the class of bridges and a device like others to the kernel."""
    isa = PciDevice(SOUND, 0x8086, 9, 0x060100, driver="lpc_ich", iommu_group="7")
    inventory = replace(INVENTORY, pci=(*INVENTORY.pci, isa))
    assert_fault(plan(want_app("lan2"), hardware=Hardware(MODEL, inventory)), "IommuGroupShared", SOUND, "lpc_ich")


@pytest.mark.parametrize("driver", ["", "pci-stub"])
def test_what_nobody_uses_may_stay_in_an_iommu_group(driver: str) -> None:
    idle = PciDevice(SOUND, 0x8086, 9, 0x060100, driver=driver, iommu_group="7")
    inventory = replace(INVENTORY, pci=(*INVENTORY.pci, idle))
    found = plan(want_app("lan2"), hardware=Hardware(MODEL, inventory))
    assert isinstance(found, Assignment)
    assert found.pci == (NIC,)


def test_two_apps_never_share_an_iommu_group_though_nobody_drives_its_devices() -> None:
    devices = (
        PciDevice(NIC, 0x8086, 2, 0x020000, iommu_group="7"),
        PciDevice(SOUND, 0x8086, 9, 0x040300, iommu_group="7"),
    )
    model = (
        DesiredIo("eth1", IoKind.ETHERNET, "lan2", pci_address=NIC),
        DesiredIo("sound", IoKind.OTHER, "sound", pci_address=SOUND),
    )
    hardware = Hardware(model, Inventory(pci=devices))
    first, second = want_app("lan2", name="first"), want_app("sound", name="second")
    assert_fault(plan(second, first, hardware=hardware), "IommuGroupShared", NIC)
    assert isinstance(plan(first, hardware=hardware), Assignment), "nobody has asked for the other one"


def test_a_bridge_goes_to_nobody() -> None:
    model = (DesiredIo("bridge", IoKind.OTHER, "bridge", pci_address=BRIDGE),)
    assert_fault(plan(want_app("bridge"), hardware=Hardware(model, INVENTORY)), "DeviceIsBridge", BRIDGE)


@pytest.mark.parametrize("group", ["stick", "sticks"])
@pytest.mark.parametrize("kind", list(AppKind))
def test_usb_device_that_the_machine_needs_is_refused(group: str, kind: AppKind) -> None:
    hardware = Hardware(MODEL, INVENTORY, host=HostUse({}, {"1-2": "disk of /"}))
    assert_fault(plan(want_app(group, kind=kind), hardware=hardware), "DeviceKept", group, "1-2", "disk of /")


def test_network_adapter_on_usb_goes_by_its_socket_and_not_with_its_controller() -> None:
    adapter = NetworkDevice("enx0", "ethernet", pci_parent=GPU, usb_parent="2-1.4")
    model = (DesiredIo("lan", IoKind.ETHERNET, "lan", interface="enx0"),)
    inventory = replace(INVENTORY, network=(adapter,))
    found = plan(want_app("lan"), hardware=Hardware(model, inventory))
    assert isinstance(found, Assignment)
    assert (found.pci, found.usb) == ((), ("2-1.4",))
    again = plan(want_app("lan"), hardware=Hardware(model, INVENTORY, handed=dict(found.handed)))
    assert again == found, "its interface is gone once a machine has it"
    kept = Hardware(model, inventory, host=HostUse({}, {"2-1.4": "port enx0"}))
    assert_fault(plan(want_app("lan"), hardware=kept), "DeviceKept", "port enx0")
    assert_fault(
        plan(want_app("lan", kind=AppKind.CONTAINER), hardware=Hardware(model, inventory)), "DeviceNeedsMachine"
    )


def test_what_the_machine_needs_itself_is_refused() -> None:
    hardware = Hardware(MODEL, INVENTORY, host=HostUse({NIC: "port enp3s0"}))
    assert_fault(plan(want_app("lan2"), hardware=hardware), "DeviceKept", "port enp3s0")
    assert_fault(plan(want_app("lan1")), "DeviceKept", "eth0")


def test_unknown_group_and_absent_device_are_named() -> None:
    assert_fault(plan(want_app("laser")), "DeviceUnknown", "laser")
    assert_fault(plan(want_app("gone")), "DeviceMissing", "0000:09:00.0")


def test_a_group_goes_to_the_first_app_that_asks() -> None:
    first = want_app("gpu", name="first")
    assert_fault(plan(want_app("gpu"), first), "DeviceInUse", "first")
    assert isinstance(plan(first, want_app("com1")), Assignment)


def test_stopped_app_keeps_its_devices() -> None:
    stopped = replace(want_app("gpu", name="stopped"), activate=False)
    assert_fault(plan(want_app("gpu"), stopped), "DeviceInUse", "stopped")


def test_a_controller_and_what_hangs_on_it_have_one_owner() -> None:
    model = (
        DesiredIo("usb-c", IoKind.USB_CONTROLLER, "usb", pci_address=GPU),
        DesiredIo("stick", IoKind.USB_DEVICE, "stick", parent_group="usb", usb_address="1:2"),
    )
    hardware = Hardware(model, INVENTORY)
    assert_fault(plan(want_app("stick"), want_app("usb", name="whole"), hardware=hardware), "DeviceInUse", "whole")
    assert_fault(plan(want_app("usb"), want_app("stick", name="part"), hardware=hardware), "DeviceInUse", "part")


def test_app_that_cannot_have_all_takes_nothing_from_others() -> None:
    first, greedy, last = want_app("gpu", name="first"), want_app("gpu", "com1", name="greedy"), want_app("com1")
    owners = want_owners((first, greedy, last), MODEL)
    assert owners == {"gpu": first.id, "com1": last.id}
