"""Snapshots of a machine from those of its disks, and the stop that going back to one needs."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from eaves.node.desired.model import AppKind, DesiredApp
from eaves.node.desired.vm_model import (
    DesiredSnapshot,
    DesiredVm,
    DiskDevice,
    SnapshotOrders,
    SnapshotTrigger,
    VmDisk,
)
from eaves.node.observed import AppState, Fault, RunRecord, VolumeSnapshotStatus, VolumeState, VolumeStatus
from eaves.node.observed import SnapshotState as Part
from eaves.node.observed_vm import SnapshotState
from eaves.node.workloads.abc import Seen, WorkloadState
from eaves.node.workloads.plan import Action, AppRecord, Blocker, plan_app
from eaves.node.workloads.snapshots import find_rollback, find_update_snapshots, list_disks, want_snapshots

VM = DesiredVm(
    1,
    disks=(
        VmDisk("root", 0, "plc-root", is_root=True, has_snapshots=True),
        VmDisk("data", 0, "plc-data", has_snapshots=True),
        VmDisk("cd", 0, "cd", DiskDevice.CDROM),
    ),
)
APP = DesiredApp(
    "app", "3", "plc", "shop", AppKind.VIRTUAL_MACHINE, True, "image", "root", 0, 1 << 28, 1000, vm=VM,
    snapshots=SnapshotOrders((DesiredSnapshot("s-1", "before"),)),
)  # fmt: skip


def volume(volume_id: str, *parts: VolumeSnapshotStatus, rollback: int = 0, fault: Fault | None = None) -> VolumeStatus:
    return VolumeStatus(
        volume_id, 0, f"plc-{volume_id}", VolumeState.READY, snapshots=parts, rollback_counter=rollback, fault=fault
    )


def part(state: Part, **fields: Any) -> VolumeSnapshotStatus:
    return VolumeSnapshotStatus("s-1", "before", state, **fields)


TAKEN = part(Part.READY, taken_at=100.0, size_bytes=4096)
LATER = part(Part.READY, taken_at=101.0, size_bytes=4096)
WAITS = part(Part.PENDING, message="taken when app plc has stopped")
LOST = part(Part.FAILED, message="no longer there")


def volumes(root: VolumeStatus, data: VolumeStatus) -> dict[str, VolumeStatus]:
    return {"root": root, "data": data}


def ordered(counter: int) -> DesiredApp:
    orders = replace(APP.snapshots, active_id="s-1", rollback_counter=counter)
    return replace(APP, snapshots=orders)


def test_the_disks_of_a_snapshot_are_those_that_were_marked() -> None:
    assert list_disks(APP) == ["root", "data"]
    assert list_disks(replace(APP, vm=None)) == []


@pytest.mark.parametrize(
    ("root", "data", "state"),
    [
        (volume("root"), volume("data"), SnapshotState.WAITING),
        (volume("root", WAITS), volume("data", WAITS), SnapshotState.WAITING),
        (volume("root", TAKEN), volume("data", WAITS), SnapshotState.CREATING),
        (volume("root", TAKEN), volume("data", LATER), SnapshotState.READY),
        (volume("root", TAKEN), volume("data", LOST), SnapshotState.FAILED),
    ],
)
def test_a_snapshot_is_as_far_as_its_disks(root: VolumeStatus, data: VolumeStatus, state: SnapshotState) -> None:
    (status,) = want_snapshots(APP, volumes(root, data))
    assert (status.id, status.state) == ("s-1", state)


def test_a_whole_snapshot_tells_its_time_and_size() -> None:
    (status,) = want_snapshots(APP, volumes(volume("root", TAKEN), volume("data", LATER)))
    assert (status.created_at, status.size_bytes, status.error) == (101.0, 8192, "")


def test_what_it_waits_for_is_told_once() -> None:
    (status,) = want_snapshots(APP, volumes(volume("root", WAITS), volume("data", WAITS)))
    assert (status.error, status.created_at) == ("taken when app plc has stopped", 0.0)


def test_a_disk_that_came_later_has_no_part_and_lacks_none() -> None:
    (status,) = want_snapshots(APP, volumes(volume("root", TAKEN), volume("data")))
    assert (status.state, status.size_bytes) == (SnapshotState.READY, 4096)


def test_an_update_waits_for_its_snapshot_but_not_for_one_that_failed() -> None:
    orders = SnapshotOrders((DesiredSnapshot("s-1", "before", SnapshotTrigger.APP_UPDATE),))
    app = replace(APP, snapshots=orders)
    for parts, name in (((WAITS, WAITS), "before"), ((TAKEN, TAKEN), ""), ((LOST, WAITS), "")):
        root, data = parts
        assert find_update_snapshots(app, volumes(volume("root", root), volume("data", data))) == name
    assert find_update_snapshots(APP, volumes(volume("root", WAITS), volume("data", WAITS))) == ""


def test_what_is_lost_of_a_snapshot_keeps_all_of_it_from_going_back() -> None:
    assert find_rollback(ordered(1), volumes(volume("root", TAKEN), volume("data", LOST))) is None


def test_going_back_lasts_until_every_disk_has_obeyed() -> None:
    app = ordered(1)
    for root, data, is_pending in ((0, 0, True), (1, 0, True), (1, 1, False)):
        seen = volumes(volume("root", TAKEN, rollback=root), volume("data", LATER, rollback=data))
        assert (find_rollback(app, seen) is not None) is is_pending
        (status,) = want_snapshots(app, seen)
        assert status.state is (SnapshotState.ROLLING_BACK if is_pending else SnapshotState.READY)


def test_a_failure_to_go_back_is_told() -> None:
    fault = Fault("DiskFull", "no space is left")
    seen = volumes(volume("root", TAKEN, fault=fault), volume("data", LATER, rollback=1))
    found = find_rollback(ordered(1), seen)
    assert found is not None
    assert found.message == "volume plc-root goes back to snapshot before: no space is left"


def test_a_snapshot_that_is_not_there_stops_nobody() -> None:
    assert find_rollback(ordered(1), volumes(volume("root"), volume("data", LOST))) is None
    assert find_rollback(ordered(1), {}) is None


def test_a_running_machine_stops_for_going_back_and_waits_until_it_is_done() -> None:
    running = Seen("app", "w", WorkloadState.RUNNING, spec_digest="d")
    stopped = replace(running, state=WorkloadState.ENDED)
    record = AppRecord(restart_counter=0, digest="d", has_run=True, current=RunRecord(1.0))
    blocker = Blocker(AppState.RESTARTING, "volume plc-root goes back", needs_stop=True)

    def plan(seen: Seen, blocked: Blocker | None) -> tuple[Action, AppState]:
        planned = plan_app(ordered(1), record, seen, wanted_digest="" if blocked else "d", blocker=blocked, wait_s=0.0)
        return planned.action, planned.state

    assert plan(running, blocker) == (Action.STOP, AppState.RESTARTING)
    assert plan(stopped, blocker) == (Action.NONE, AppState.RESTARTING)
    assert plan(stopped, None) == (Action.START, AppState.STARTING)
