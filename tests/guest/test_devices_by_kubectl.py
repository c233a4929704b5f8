"""Both daemons and kubectl: a machine gets a PCI device of the box's HardwareModel, and the node gets it back."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eaves.node.hardware import apply
from eaves.node.hardware.inventory import load_inventory
from eaves.testing.file_server import FileServer
from eaves.testing.guest_image import want_guest_disk
from eaves.testing.system import ControllerHost, NodeHost
from tests.guest.test_assigned_devices import list_open
from tests.guest.test_devices import drivers, find_card

__all__ = ["drivers"]
"""A fixture for each test here too."""


@pytest.fixture
def controller(disk: Path) -> Iterator[ControllerHost]:
    with ControllerHost(disk / "controller") as found:
        yield found


@pytest.fixture
def node(disk: Path, controller: ControllerHost) -> Iterator[NodeHost]:
    found = NodeHost(disk, controller)
    try:
        found.join()
        found.start()
        found.wait_ready()
        yield found
    finally:
        found.remove()


def manifest(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "eaves.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def want_machine(node: NodeHost, disk: Path) -> dict[str, Any]:
    spec = {
        "nodeName": node.name,
        "type": "VirtualMachine",
        "image": f"guest.raw@sha256:{hashlib.sha256(disk.read_bytes()).hexdigest()}",
        "datastoreRef": {"name": "files"},
        "resources": {"cpus": 1, "memory": "128Mi"},
        "devices": [{"name": "lan2"}],
        "terminationGracePeriodSeconds": 1,
    }
    return manifest("App", "plc", spec)


def list_users(file: str) -> list[int]:
    """Processes that have it open."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if file in list_open(int(folder.name)):
                found.append(int(folder.name))
        except OSError:
            # It ended meanwhile.
            continue
    return found


@pytest.mark.soak
@pytest.mark.timeout(1500)
def test_a_machine_gets_a_pci_device_of_its_box(controller: ControllerHost, node: NodeHost) -> None:
    subprocess.run(["modprobe", "--remove", "vfio-pci"], check=True)
    card, disk, operator = find_card(load_inventory()), want_guest_disk(), controller.operator
    model = {"devices": [{"name": "eth1", "type": "Ethernet", "pciAddress": card.address, "group": "lan2"}]}
    with FileServer({"/guest.raw": disk.read_bytes()}) as files:
        objects = (
            manifest("HardwareModel", "box", model),
            manifest("Datastore", "files", {"type": "HTTP", "url": files.url}),
            want_machine(node, disk),
        )
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        controller.kubectl.ok("apply", "-f", "-", stdin=text)

        def is_waiting_for_the_model() -> bool:
            return "no group lan2" in json.dumps((operator.get("apps", "plc") or {}).get("status", {}))

        node.wait("the reason why it waits", is_waiting_for_the_model)
        operator.patch("edgenodes", node.name, {"spec": {"model": "box"}})
        node.wait("the machine", lambda: operator.condition("apps", "plc", "Ready").get("status") == "True")
    assert find_card(load_inventory()).driver == apply.VFIO_DRIVER
    assert len(list_users(f"/dev/vfio/{card.iommu_group}")) == 1
    controller.kubectl.ok("delete", "app", "plc", "--wait=false")
    node.wait("the card's driver", lambda: find_card(load_inventory()).driver == "e1000e")
    assert list_users(f"/dev/vfio/{card.iommu_group}") == []
