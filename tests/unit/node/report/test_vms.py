"""What a virtual machine and its snapshots look like in an app's message."""

from __future__ import annotations

from msgspec.structs import replace

from eaves.node.observed import AppState, AppStatus, InterfaceStatus
from eaves.node.observed_vm import (
    Accelerator,
    AgentState,
    GuestInterface,
    SnapshotState,
    SnapshotStatus,
    VmStatus,
)
from eaves.node.report import apps
from eaves.wire.pb.info import info_pb2

MAC = "02:00:00:00:00:01"
APP = AppStatus(
    "app-1", "3", "plc", "shop", AppState.RUNNING, interfaces=(InterfaceStatus("eth0", "net-1", MAC, ("10.1.0.2",)),)
)
VM = VmStatus(
    Accelerator.TCG,
    firmware="UEFI",
    machine="q35",
    has_vtpm=True,
    has_vnc=True,
    agent=AgentState.CONNECTED,
    guest_os="Debian GNU/Linux 12",
    guest_interfaces=(
        GuestInterface("ens3", MAC, ("10.1.0.2", "fe80::1")),
        GuestInterface("docker0", "", ("172.17.0.1",)),
    ),
    note="no KVM on this node",
)


def test_a_machine_tells_its_hardware_and_what_the_agent_says() -> None:
    info = apps.want_app_info("device", replace(APP, vm=VM), (), 1.0).ainfo
    vm = info.eaves.vm
    assert (vm.accelerator, vm.firmware, vm.machine, vm.vtpm, vm.vnc, vm.serial_console) == (
        "TCG", "UEFI", "q35", True, True, False,
    )  # fmt: skip
    assert (vm.guest_agent, vm.guest_os, vm.note) == ("Connected", "Debian GNU/Linux 12", "no KVM on this node")
    assert [(guest.name, list(guest.addresses)) for guest in vm.guest_interfaces] == [
        ("ens3", ["10.1.0.2", "fe80::1"]),
        ("docker0", ["172.17.0.1"]),
    ]


def test_addresses_that_the_agent_tells_join_those_that_the_network_saw() -> None:
    info = apps.want_app_info("device", replace(APP, vm=VM), (), 1.0).ainfo
    assert list(info.network[0].IPAddrs) == ["10.1.0.2", "fe80::1"]


def test_an_app_that_is_no_machine_tells_nothing_of_one() -> None:
    assert not apps.want_app_info("device", APP, (), 1.0).ainfo.eaves.HasField("vm")


def test_snapshots_tell_state_size_and_time_or_what_is_wrong() -> None:
    done = SnapshotStatus("s-1", SnapshotState.READY, 100.0, 4096, with_memory=True, app_version="3")
    failed = SnapshotStatus("s-2", SnapshotState.FAILED, is_immediate=False, error="the disk is full", error_at=50.0)
    first, second = apps.want_app_info("device", replace(APP, snapshots=(done, failed)), (), 1.0).ainfo.snapshots
    assert (first.id, first.config_version, first.create_time.seconds) == ("s-1", "3", 100)
    assert (first.type, first.eaves.state, first.eaves.size_bytes) == (info_pb2.SNAPSHOT_TYPE_IMMEDIATE, "Ready", 4096)
    assert first.eaves.with_memory
    assert not first.HasField("snap_err")
    assert (second.type, second.snap_err.description) == (info_pb2.SNAPSHOT_TYPE_APP_UPDATE, "the disk is full")
    assert (second.HasField("create_time"), second.snap_err.timestamp.seconds) == (False, 50)
