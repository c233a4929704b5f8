"""Machines as the node runs them have devices of the box: PCI by VFIO, USB, a serial line; the node takes them and gives them back.

The box has an IOMMU, an e1000e card behind a port of its own, a USB tablet, and serial lines ttyS1 and ttyS2 that are joined.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import tty
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from eaves.kit import process
from eaves.node.desired.hardware_model import DesiredIo, IoKind
from eaves.node.desired.model import AppKind, DesiredApp, DesiredVolume, VolumeMode
from eaves.node.desired.network_model import DesiredPort
from eaves.node.desired.vm_model import DesiredVm, VmDisk
from eaves.node.hardware import apply
from eaves.node.hardware.inventory import Inventory, PciDevice, load_inventory
from eaves.node.hardware.plan import Assignment, Hardware, plan_assignment, want_owners
from eaves.node.observed import AppStatus, Fault
from eaves.node.vms.confining import want_user
from eaves.node.vms.errors import QmpError
from eaves.node.workloads.abc import Seen
from eaves.testing.desired import make_container
from eaves.testing.engine_host import EngineHost
from eaves.testing.guest_image import PROMPT
from eaves.testing.vm_host import Console, VmHost
from tests.guest.test_devices import TABLET, drivers, find_card, find_socket, find_usb_drivers, with_vfio

pytestmark = pytest.mark.soak

SERIAL, OTHER_END = "/dev/ttyS1", "/dev/ttyS2"
__all__ = ["drivers", "with_vfio"]
"""Fixtures for each test here too."""
NOBODYS_POWERS = "0" * 16
WAIT_S = 200.0
BOOT_LIMIT_S = 900.0
"""Of a guest in a guest: two emulations on top of each other."""


@pytest.fixture
async def machines(disk: Path) -> AsyncIterator[VmHost]:
    async with VmHost(disk) as found:
        yield found


@pytest.fixture
def card() -> PciDevice:
    return find_card(load_inventory())


@pytest.fixture
def tablet() -> str:
    """Its socket."""
    return find_socket(TABLET)


async def create(machines: VmHost, assignment: Assignment) -> Seen:
    """A machine with nothing but firmware, and these devices."""
    blank = machines.instance.volumes_dir / "blank.raw"
    with blank.open("wb") as file:
        file.truncate(1 << 20)
    return await machines.engine.create(replace(await machines.spec(blank), devices=assignment))


async def ask(machines: VmHost, accept: Callable[[Any], bool], command: str, **arguments: str) -> None:
    """Until what the machine's monitor answers is right."""
    answer: Any = None
    try:
        async with asyncio.timeout(WAIT_S):
            while answer is None or not accept(answer):
                await asyncio.sleep(0.1)
                # The daemon may not have reached it yet.
                with contextlib.suppress(QmpError):
                    answer = await machines.engine.sessions[0].command(command, **arguments)
    except TimeoutError:
        raise AssertionError(f"{command} answers {answer}") from None


def load_status(pid: int) -> dict[str, str]:
    lines = (line.partition(":") for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {name: value.strip() for name, _, value in lines}


def list_open(pid: int) -> set[str]:
    return {str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()}


async def wait_for(accept: Callable[[], bool], what: str) -> None:
    try:
        async with asyncio.timeout(WAIT_S):
            while not accept():  # noqa: ASYNC110 - the kernel tells no one
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(what) from None


def is_mapped(answer: list[dict[str, Any]]) -> bool:
    """Whether the machine's firmware found the card and gave its registers an address."""
    devices = [device for bus in answer for device in bus["devices"]]
    behind = [inner for device in devices for inner in device.get("pci_bridge", {}).get("devices", [])]
    return any(
        device["qdev_id"] == "host-pci0" and any(region.get("address", -1) > 0 for region in device["regions"])
        for device in (*devices, *behind)
    )


async def test_machine_of_nobody_drives_a_pci_device(machines: VmHost, card: PciDevice) -> None:
    apply.bind_vfio(card.address)
    try:
        seen = await create(machines, Assignment(pci=(card.address,)))
        await ask(machines, is_mapped, "query-pci")
        status = load_status(seen.pid)
        assert status["Uid"].split() == [str(want_user("vm"))] * 4
        assert (status["CapEff"], status["CapPrm"], status["NoNewPrivs"]) == (NOBODYS_POWERS, NOBODYS_POWERS, "1")
        assert f"/dev/vfio/{card.iommu_group}" in list_open(seen.pid)
        assert int(status["VmLck"].split()[0]) >= 128 << 10, "the device may read all of its memory at any time"
        await machines.engine.remove("vm")
    finally:
        apply.release_vfio(card.address)
    assert find_card(load_inventory()).driver == "e1000e"


async def test_machine_without_powers_has_a_usb_device(machines: VmHost, tablet: str) -> None:
    seen = await create(machines, Assignment(usb=(tablet,)))
    await ask(machines, lambda text: "host-usb0" in text, "human-monitor-command", command_line="info usb")
    status = load_status(seen.pid)
    assert (status["CapEff"], status["CapPrm"], status["NoNewPrivs"]) == (NOBODYS_POWERS, NOBODYS_POWERS, "1")
    await wait_for(lambda: find_usb_drivers(tablet) != ["usbhid"], "the node's driver has it still")
    await machines.engine.remove("vm")
    apply.release_usb(tablet)
    assert find_usb_drivers(tablet) == ["usbhid"]


@pytest.mark.timeout(1200)
async def test_guest_finds_a_pci_device_and_writes_to_a_serial_line(machines: VmHost, card: PciDevice) -> None:
    apply.bind_vfio(card.address)
    line = os.open(OTHER_END, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    tty.setraw(line)
    try:
        spec = replace(await machines.spec(), devices=Assignment(pci=(card.address,), serial=(SERIAL,)))
        seen = await machines.engine.create(spec)
        assert load_status(seen.pid)["Uid"].split() == [str(want_user("vm"))] * 4
        async with Console(machines.console_path()) as console:
            await console.wait(PROMPT, BOOT_LIMIT_S)
            assert "0x10d3" in await console.run("cat /sys/bus/pci/devices/*/device")
            await console.run("echo weight 42 > /dev/ttyS1")
        heard = b""

        def hear() -> bool:
            nonlocal heard
            try:
                heard += os.read(line, 100)
            except BlockingIOError:
                return False
            return b"weight 42" in heard

        await wait_for(hear, f"the other end heard {heard!r}")
        await machines.engine.remove("vm")
    finally:
        os.close(line)
        apply.release_vfio(card.address)


@pytest.fixture
def chipset() -> Inventory:
    """All devices of the chipset, which share a group, without drivers; its bridge to ISA is one of them."""
    subprocess.run(["modprobe", "uio_pci_generic"], check=True)
    return load_inventory()


def give_driver(address: str, driver: str) -> None:
    Path("/sys/bus/pci/devices", address, "driver_override").write_text(driver)
    Path("/sys/bus/pci/drivers_probe").write_text(address)


def take_driver(address: str) -> None:
    Path("/sys/bus/pci/devices", address, "driver_override").write_text("\n")
    with contextlib.suppress(FileNotFoundError):
        Path("/sys/bus/pci/devices", address, "driver/unbind").write_text(address)


async def test_group_is_given_exactly_when_the_kernel_gives_it(machines: VmHost, chipset: Inventory) -> None:
    """The bridge to ISA, of the class of bridges, counts like any device: with a driver it keeps the group from a machine."""
    bridge = next(device for device in chipset.pci if device.class_code == 0x060100)
    others = [device for device in chipset.group_members(bridge.iommu_group) if device != bridge]
    assert others
    group = tuple(DesiredIo(device.address, IoKind.OTHER, "chipset", pci_address=device.address) for device in others)
    app = want_machine_app("chipset")
    pci = tuple(sorted(device.address for device in others))

    def plan() -> Assignment | Fault:
        hardware = Hardware(group, load_inventory())
        return plan_assignment(app, hardware, want_owners([app], group), {app.id: app.name})

    try:
        give_driver(bridge.address, "uio_pci_generic")
        for address in pci:
            apply.bind_vfio(address)
        refused = plan()
        assert isinstance(refused, Fault)
        assert refused.code == "IommuGroupShared"
        assert f"{bridge.address} (driver uio_pci_generic)" in refused.message
        with pytest.raises(Exception, match="devices within the iommu_group are bound"):
            await create(machines, Assignment(pci=pci))
        take_driver(bridge.address)
        found = plan()
        assert isinstance(found, Assignment)
        assert found.pci == pci
        await create(machines, found)
        await machines.engine.remove("vm")
    finally:
        for address in pci:
            apply.release_vfio(address)
        take_driver(bridge.address)


def want_machine_app(*devices: str) -> DesiredApp:
    root = VmDisk("root-plc", 0, "root-plc", boot_index=1, is_root=True)
    return make_container(
        "plc",
        (),
        kind=AppKind.VIRTUAL_MACHINE,
        memory_bytes=128 << 20,
        vm=DesiredVm(1, disks=(root,)),
        devices=devices,
        stop_grace_s=1,
    )


async def test_node_takes_devices_for_an_app_and_gives_them_back(
    host: EngineHost, card: PciDevice, tablet: str
) -> None:
    """The whole engine of a node, whose kernel has not loaded vfio-pci yet."""
    await process.run(["modprobe", "--remove", "vfio-pci"])
    (interface,) = [port.name for port in load_inventory().network if port.pci_parent == card.address]
    model = (
        DesiredIo("eth1", IoKind.ETHERNET, "lan", interface=interface),
        DesiredIo("touch", IoKind.USB_DEVICE, "touch", usb_product=TABLET),
        DesiredIo("com2", IoKind.SERIAL, "com2", serial_path=SERIAL),
    )
    app = want_machine_app("lan", "touch", "com2")
    volume = DesiredVolume("root-plc", 0, "root-plc", "", 1 << 20, mode=VolumeMode.BLOCK, is_explicit=True)
    uplink = (DesiredPort("lan", interface),)
    await host.apply(hardware=model, volumes=(volume,), apps=(app,), ports=uplink)
    refused = await host.wait(AppStatus, app.id, lambda status: status.fault is not None)
    assert refused.fault is not None
    assert refused.fault.code == "DeviceKept"
    assert refused.fault.message == f"eth1 ({card.address}) is needed by the node: port {interface}"
    await host.apply(ports=())
    await host.wait_app("plc")
    assert host.manager is not None
    (seen,) = (await host.manager.vms.observe()).values()
    assert {f"/dev/vfio/{card.iommu_group}", SERIAL} <= list_open(seen.pid)
    await wait_for(lambda: find_usb_drivers(tablet) != ["usbhid"], "the machine does not take the tablet")
    await host.apply(apps=(), volumes=())
    await wait_for(lambda: find_card(load_inventory()).driver == "e1000e", "the card is not given back")
    await wait_for(lambda: find_usb_drivers(tablet) == ["usbhid"], "the tablet is not given back")
