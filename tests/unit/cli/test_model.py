"""A HardwareModel from a node's report."""

from __future__ import annotations

import yaml

from eaves.cli.model import find_uplinks, render_model
from eaves.kinds.hardwaremodel import check_hardwaremodel

DEVICES = [
    {"type": "Serial", "serialDevice": "/dev/ttyS0"},
    {"type": "Ethernet", "pciAddress": "0000:03:00.0", "interface": "enp3s0", "iommuGroup": "7"},
    {"type": "Ethernet", "pciAddress": "0000:02:00.0", "interface": "enp2s0", "iommuGroup": "6"},
    {"type": "Audio", "pciAddress": "0000:03:00.1", "iommuGroup": "7"},
    {"type": "Display", "pciAddress": "0000:04:00.0", "iommuGroup": "8", "driver": "i915"},
    {"type": "USBDevice", "usbAddress": "1:2", "product": "0951:1666"},
    {"type": "CAN", "interface": "can0"},
]


def render() -> dict[str, dict[str, str]]:
    text = render_model("box", {"manufacturer": "ACME", "product": "B2"}, DEVICES, frozenset({"enp2s0"}))
    model = yaml.safe_load(text)
    assert not check_hardwaremodel(model, None), "what is printed can be applied"
    assert (model["spec"]["manufacturer"], model["spec"]["product"]) == ("ACME", "B2")
    return {device["name"]: device for device in model["spec"]["devices"]}


def test_every_device_has_a_name_by_type_in_the_order_of_addresses() -> None:
    found = render()
    assert list(found) == ["eth0", "eth1", "audio1", "display1", "usb-device1", "com1", "can0"]
    assert found["eth0"]["interface"] == "enp2s0"


def test_ports_of_the_node_itself_are_not_to_be_assigned() -> None:
    assert render()["eth0"] == {
        "name": "eth0",
        "type": "Ethernet",
        "usage": "ManagementAndApps",
        "pciAddress": "0000:02:00.0",
        "interface": "enp2s0",
    }


def test_what_shares_an_iommu_group_is_assigned_together() -> None:
    found = render()
    assert found["eth1"]["group"] == found["audio1"]["group"] == "iommu7"
    assert found["display1"]["group"] == "display1"


def test_uplinks_are_the_ports_for_management() -> None:
    ports = [{"interface": "eth0", "management": True}, {"interface": "eth1"}]
    assert find_uplinks({"ports": ports}) == {"eth0"}
