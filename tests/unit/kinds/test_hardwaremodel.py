"""Rules of a HardwareModel."""

from __future__ import annotations

from typing import Any

import pytest

from eaves.kinds.hardwaremodel import ModelDevice, ModelDeviceType, ModelDeviceUsage, check_hardwaremodel, usage_of


def check(*devices: dict[str, Any]) -> list[str]:
    faults = check_hardwaremodel({"metadata": {"name": "box"}, "spec": {"devices": list(devices)}}, None)
    return [fault.path for fault in faults]


def test_a_box_with_every_type_is_good() -> None:
    assert not check(
        {"name": "eth0", "type": "Ethernet", "interface": "enp2s0"},
        {"name": "eth1", "type": "Ethernet", "pciAddress": "0000:03:00.0", "group": "lan2"},
        {"name": "usb", "type": "USBController", "pciAddress": "0000:00:14.0", "group": "usb"},
        {"name": "stick", "type": "USBDevice", "usbAddress": "1:2.3", "group": "stick", "parentGroup": "usb"},
        {"name": "dongle", "type": "USBDevice", "usbProduct": "0951:1666", "group": "dongle"},
        {"name": "com1", "type": "Serial", "serialDevice": "/dev/ttyS0", "group": "com1"},
        {"name": "can0", "type": "CAN", "interface": "can0", "group": "can"},
        {"name": "gpu", "type": "Display", "pciAddress": "0000:04:00.0", "group": "gpu"},
        {"name": "gpu-cdi", "type": "Other", "cdiDevice": "nvidia.com/gpu=0", "group": "gpu-cdi"},
        {"name": "spare", "type": "WiFi", "interface": "wlan0", "usage": "Disabled"},
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("pciAddress", "03:00.0"),
        ("pciAddress", "0000:03:00.8"),
        ("pciAddress", "0000:0A:00.0"),
        ("usbAddress", "1-2"),
        ("usbProduct", "951:1666"),
        ("serialDevice", "/dev/sda"),
        ("cdiDevice", "gpu"),
        ("interface", "a b"),
    ],
)
def test_address_that_is_none_is_refused_with_its_field(field: str, value: str) -> None:
    device = {"name": "x", "type": "Other", "pciAddress": "0000:01:00.0", "group": "x", field: value}
    assert check(device) == [f"spec.devices[0].{field}"]


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        ("Serial", "serialDevice"),
        ("USBDevice", "usbAddress"),
        ("Ethernet", "interface"),
        ("CAN", "interface"),
        ("Audio", "pciAddress"),
        ("USBController", "pciAddress"),
    ],
)
def test_device_without_what_it_is_known_by(kind: str, field: str) -> None:
    assert check({"name": "x", "type": kind, "group": "x"}) == [f"spec.devices[0].{field}"]


def test_two_names_for_one_device() -> None:
    one = {"type": "Serial", "serialDevice": "/dev/ttyS0"}
    assert check({"name": "a", "group": "a", **one}, {"name": "b", "group": "b", **one}) == [
        "spec.devices[1].serialDevice"
    ]


def test_dedicated_device_needs_a_group() -> None:
    assert check({"name": "com1", "type": "Serial", "serialDevice": "/dev/ttyS0", "usage": "Dedicated"}) == [
        "spec.devices[0].group"
    ]


def test_parent_group_must_be_another_one_that_exists() -> None:
    stick = {"name": "stick", "type": "USBDevice", "usbAddress": "1:2", "group": "stick"}
    assert check({**stick, "parentGroup": "usb"}) == ["spec.devices[0].parentGroup"]
    assert check({**stick, "parentGroup": "stick"}) == ["spec.devices[0].parentGroup"]


@pytest.mark.parametrize(
    ("kind", "group", "usage"),
    [
        (ModelDeviceType.ETHERNET, "", ModelDeviceUsage.MANAGEMENT_AND_APPS),
        (ModelDeviceType.ETHERNET, "lan2", ModelDeviceUsage.DEDICATED),
        (ModelDeviceType.SERIAL, "com1", ModelDeviceUsage.DEDICATED),
    ],
)
def test_usage_follows_type_and_group(kind: ModelDeviceType, group: str, usage: ModelDeviceUsage) -> None:
    assert usage_of(ModelDevice(name="x", type=kind, group=group)) is usage
