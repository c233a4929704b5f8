"""Whether a machine can go on from what was saved of it."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from eaves.node.observed_vm import Accelerator
from eaves.node.vms.model import Architecture, VmHost, VmSpec
from eaves.node.vms.saved import WAITING, DiskMark, SavedMachine, find_obstacle, parse_machine, want_argv
from eaves.node.workloads.abc import EngineKind

SPEC = VmSpec(
    app_id="app", engine=EngineKind.VM, digest="d", name="plc", root="0.0", log_path="", memory_bytes=1, vcpus=1
)  # fmt: skip
HOST = VmHost(Architecture.X86_64, "/usr/bin/qemu", (7, 2, 5), Accelerator.KVM)
DISKS = {"/v/root.qcow2": DiskMark(10, 5)}
SAVED = SavedMachine("d", ("/usr/bin/qemu", "-machine", "pc-q35-7.2"), (7, 2, 5), "KVM", DISKS)


def test_it_can_where_all_is_the_same_or_qemu_newer() -> None:
    assert find_obstacle(SAVED, SPEC, HOST, DISKS) == ""
    assert find_obstacle(SAVED, SPEC, replace(HOST, qemu_version=(10, 0, 2)), DISKS) == ""
    assert find_obstacle(replace(SAVED, disks={}), SPEC, HOST, {}) == "", "of a snapshot, whose disks went back with it"


@pytest.mark.parametrize(
    ("spec", "host", "disks", "text"),
    [
        ({"digest": "other"}, {}, DISKS, "the app was changed"),
        ({}, {"accelerator": Accelerator.TCG}, DISKS, "ran with KVM then, and this node has TCG now"),
        ({}, {"qemu_version": (7, 1, 0)}, DISKS, "saved by QEMU 7.2.5, and this node has 7.1.0 now"),
        ({}, {"qemu": "/opt/qemu"}, DISKS, "another program"),
        ({}, {}, {"/v/root.qcow2": DiskMark(10, 6)}, "its disk root.qcow2 was changed since"),
        ({}, {}, {}, "its disk root.qcow2 was changed since"),
    ],
)
def test_what_stands_in_its_way_is_said(spec: Any, host: Any, disks: Any, text: str) -> None:
    assert text in find_obstacle(SAVED, replace(SPEC, **spec), replace(HOST, **host), disks)


def test_the_machine_type_is_that_of_then() -> None:
    running = ["qemu", "-name", "x", "-machine", "q35,vmport=off", "-machine", "pflash0=fw-code"]
    pinned = ("qemu", "-name", "x", "-machine", "pc-q35-7.2,vmport=off", "-machine", "pflash0=fw-code")
    assert want_argv(running, parse_machine("pc-q35-7.2-machine")) == pinned
    assert want_argv([*pinned, *WAITING], "pc-q35-7.2") == pinned, "also of one that was itself resumed"
