"""Runs ``tests/guest`` inside a virtual machine with Debian's stock kernel: what the kernel of a test machine may lack."""

from __future__ import annotations

import asyncio
import uuid
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from eaves.testing.guest.machine import Guest
from eaves.testing.guest_image import want_guest_disk

ROOT = Path(__file__).parents[2]
LIMIT_S, SOAK_LIMIT_S = 1800, 3600
MIB, SOAK_MIB = 2048, 4096
"""A cluster takes more than apps do."""
COMMAND = (
    ".venv/bin/python -m pytest tests/guest -n 0 -p no:cacheprovider --color no --timeout 600 --basetemp /var/tmp/pytest"
    " -m '{which}' --junitxml /run/results/junit.xml"
)
_LINE = f"eaves-line-{uuid.uuid4()}"


def join_lines(name: str) -> tuple[str, ...]:
    """An adapter from USB to serial whose other end is a port of the machine too: whoever opens that is the modem."""
    path = f"{name}-{uuid.uuid4()}"
    return (
        *("-chardev", f"socket,id={name},path={path},abstract=on,server=on,wait=off"),
        *("-chardev", f"socket,id={name}-far,path={path},abstract=on"),
        *("-device", f"usb-serial,bus=serials.0,chardev={name},serial={name}"),
        *("-device", f"virtserialport,chardev={name}-far,name={name}"),
    )


DEVICES = (
    *("-device", "intel-iommu"),
    *("-device", "pcie-root-port,id=port1,chassis=1", "-device", "e1000e,bus=port1"),
    *("-device", "qemu-xhci", "-device", "usb-tablet", "-device", "usb-net"),
    *("-drive", "if=none,id=stick,format=raw,file=null-co://,file.size=67108864,file.read-zeroes=on,snapshot=on"),
    *("-device", "usb-storage,drive=stick"),
    # Two serial lines, joined.
    *("-chardev", f"socket,id=line1,path={_LINE},abstract=on,server=on,wait=off", "-serial", "chardev:line1"),
    *("-chardev", f"socket,id=line2,path={_LINE},abstract=on", "-serial", "chardev:line2"),
)
"""What a box with hardware to assign has."""
MODEM = (
    *("-device", "qemu-xhci,id=serials", "-device", "virtio-serial-pci"),
    *join_lines("eaves-modem-data"),
    *join_lines("eaves-modem-control"),
)
"""The serial lines of one, for long tests."""


@pytest.mark.system
@pytest.mark.timeout(SOAK_LIMIT_S + 120)
@pytest.mark.parametrize(
    ("which", "limit_s", "memory_mib", "devices"),
    [
        pytest.param("not soak", LIMIT_S, MIB, DEVICES, id="not soak"),
        pytest.param("soak", SOAK_LIMIT_S, SOAK_MIB, (*DEVICES, *MODEM), id="soak", marks=pytest.mark.soak),
    ],
)
async def test_guest_tests_pass(which: str, limit_s: float, memory_mib: int, devices: tuple[str, ...]) -> None:
    # A guest has no package sources.
    await asyncio.to_thread(want_guest_disk)
    with Guest(devices, memory_mib=memory_mib, append="intel_iommu=on") as guest:
        done = await asyncio.to_thread(guest.run, COMMAND.format(which=which), cwd=ROOT, limit_s=limit_s)
        shown = done.console[-20000:]
        assert done.code == 0, shown
        (suite,) = ElementTree.parse(guest.results / "junit.xml").getroot().iter("testsuite")
        assert int(suite.attrib["tests"]) - int(suite.attrib["skipped"]) > 0, shown
