"""Snapshots of several disks of a machine: all of one moment, or none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msgspec.structs import replace

from eaves.node.desired.model import DesiredVolume, SnapshotSet, VolumeRollback, VolumeSnapshotWish
from eaves.node.observed import SnapshotState
from eaves.node.volumes.actions import DropSnapshot, RollBack, TakeSet, Wait
from eaves.node.volumes.around import Surroundings
from eaves.node.volumes.model import Enforcement, Form, Seen, SeenSnapshot, VolumeKey
from eaves.node.volumes.plan import VolumePlan, VolumeRecord, plan_present
from eaves.node.volumes.status import View, want_status

ROOT, DATA = VolumeKey("root", 0), VolumeKey("data", 0)
BOTH = SnapshotSet("app", (("root", 0), ("data", 0)))
WITH_MEMORY = replace(BOTH, with_memory=True)
AT_UPDATE = replace(BOTH, at_update=True)
RUNNING: dict[str, Any] = {
    "users": {ROOT: ("plc",), DATA: ("plc",)},
    "live": frozenset({ROOT, DATA}),
}
NONE: dict[str, SeenSnapshot] = {}
PART = {"s1": SeenSnapshot("s1", 1.0)}
MEMORY = {"s1": SeenSnapshot("s1", 1.0, 9, has_memory=True)}


def disk(key: VolumeKey, snapshots: dict[str, SeenSnapshot], form: Form = Form.QCOW2) -> Seen:
    return Seen(key, form, Path("/volumes"), Enforcement.DISK, 1 << 20, snapshots=snapshots)


def plan(
    key: VolumeKey,
    root: dict[str, SeenSnapshot],
    data: dict[str, SeenSnapshot],
    *,
    of: SnapshotSet = BOTH,
    taken: tuple[VolumeKey, ...] = (),
    form: Form = Form.QCOW2,
    rollback: int = 0,
    **around: Any,
) -> VolumePlan:
    wish = VolumeSnapshotWish("s1", "before", of)
    volume = DesiredVolume(
        key.id, 0, key.id, "", 1 << 20, snapshots=(wish,), rollback=VolumeRollback("s1", rollback, of)
    )  # fmt: skip
    seen = {ROOT: disk(ROOT, root), DATA: disk(DATA, data, form)}
    records = {found: VolumeRecord(0, ("s1",)) if found in taken else VolumeRecord(0) for found in (ROOT, DATA)}
    surroundings = Surroundings(seen=seen, taken={found: r.taken for found, r in records.items()}, **around)
    return plan_present(volume, seen[key], records[key], surroundings)


def the_wait(found: VolumePlan) -> Wait:
    assert found.actions == ()
    (wait,) = found.waits
    return wait


def test_all_disks_are_taken_in_one_step() -> None:
    for key in (ROOT, DATA):
        assert plan(key, NONE, NONE, **RUNNING).actions == (TakeSet(ROOT, (ROOT, DATA), "s1"),)
        assert plan(key, NONE, NONE).actions == (TakeSet(ROOT, (ROOT, DATA), "s1"),)
        assert plan(key, PART, PART, taken=(ROOT, DATA)).actions == ()
        assert plan(key, PART, PART).actions == (), "whole, if the daemon died before it wrote that down"


def test_what_a_crash_left_of_an_attempt_goes_before_the_next() -> None:
    assert plan(ROOT, PART, NONE, **RUNNING).actions == (DropSnapshot(ROOT, "s1"),)
    assert plan(DATA, PART, NONE, **RUNNING).actions == (TakeSet(ROOT, (ROOT, DATA), "s1"),)


def test_disks_without_the_memory_that_belongs_to_them_are_half_an_attempt() -> None:
    for key in (ROOT, DATA):
        assert plan(key, PART, PART, of=WITH_MEMORY, **RUNNING).actions == (DropSnapshot(key, "s1"),)
        assert plan(key, MEMORY, PART, of=WITH_MEMORY, **RUNNING).actions == ()
        whole = plan(key, NONE, NONE, of=WITH_MEMORY, **RUNNING).actions
        assert whole == (TakeSet(ROOT, (ROOT, DATA), "s1", with_memory=True),)


def test_memory_of_a_machine_that_does_not_run_waits_and_is_no_fault() -> None:
    assert the_wait(plan(ROOT, NONE, NONE, of=WITH_MEMORY)).code == "MachineStopped"


def test_memory_beside_a_raw_disk_cannot_be() -> None:
    wait = the_wait(plan(ROOT, NONE, NONE, of=WITH_MEMORY, form=Form.RAW, **RUNNING))
    assert wait.code == "SnapshotImpossible"
    assert "raw" in wait.message
    told = replace(WITH_MEMORY, problem="memory cannot be saved while …")
    assert "cannot be saved" in the_wait(plan(ROOT, NONE, NONE, of=told, **RUNNING)).message


def test_a_raw_disk_lets_all_wait_for_the_stop() -> None:
    assert the_wait(plan(ROOT, NONE, NONE, form=Form.RAW, **RUNNING)).code == "VolumeInUse"
    assert plan(ROOT, NONE, NONE, form=Form.RAW).actions == (TakeSet(ROOT, (ROOT, DATA), "s1"),)


def test_at_an_update_and_at_no_other_stop() -> None:
    assert the_wait(plan(ROOT, NONE, NONE, of=AT_UPDATE)).code == "UpdateAwaited"
    assert the_wait(plan(ROOT, NONE, NONE, of=AT_UPDATE, **RUNNING)).code == "UpdateAwaited"
    updating = plan(ROOT, NONE, NONE, of=AT_UPDATE, updating=frozenset({"app"}))
    assert updating.actions == (TakeSet(ROOT, (ROOT, DATA), "s1"),)


def test_a_disk_that_came_later_is_no_part_of_it() -> None:
    assert the_wait(plan(DATA, PART, NONE, taken=(ROOT,), **RUNNING)).code == "SnapshotOlder"
    assert plan(ROOT, PART, NONE, taken=(ROOT,), **RUNNING) == VolumePlan(is_usable=True)
    assert plan(ROOT, PART, NONE, taken=(ROOT,), rollback=1).actions == (RollBack(ROOT, "s1", 1),)


def test_lost_memory_is_told_and_nothing_goes_back_to_it() -> None:
    for key in (ROOT, DATA):
        found = plan(key, PART, PART, of=WITH_MEMORY, taken=(ROOT, DATA), rollback=1)
        assert not any(isinstance(action, RollBack) for action in found.actions)
    codes = {wait.code for wait in plan(ROOT, PART, PART, of=WITH_MEMORY, taken=(ROOT, DATA), rollback=1).waits}
    assert codes == {"SnapshotMissing", "SnapshotLost"}


def test_going_back_with_memory_orders_the_machine_to_go_on_from_it() -> None:
    back: dict[str, Any] = {"of": WITH_MEMORY, "taken": (ROOT, DATA), "rollback": 1}
    assert plan(ROOT, MEMORY, PART, **back).actions == (RollBack(ROOT, "s1", 1, "app"),)
    assert plan(DATA, MEMORY, PART, **back).actions == (RollBack(DATA, "s1", 1),)


def test_the_oldest_go_when_there_are_too_many() -> None:
    wishes = tuple(VolumeSnapshotWish(name, name, BOTH) for name in ("s1", "s2", "s3"))
    volume = DesiredVolume("root", 0, "root", "", 1 << 20, snapshots=wishes, snapshots_limit=2)
    there = {name: SeenSnapshot(name, at) for name, at in (("s1", 5.0), ("s2", 1.0), ("s3", 9.0))}
    record = VolumeRecord(0, ("s1", "s2", "s3"))
    around = Surroundings(
        seen={ROOT: disk(ROOT, there), DATA: disk(DATA, there)}, taken={ROOT: record.taken, DATA: record.taken}
    )  # fmt: skip
    assert plan_present(volume, disk(ROOT, there), record, around).actions == (DropSnapshot(ROOT, "s2"),)
    del there["s2"]
    kept = plan_present(volume, disk(ROOT, there), record, around)
    assert kept.actions == ()
    assert [wait.code for wait in kept.waits] == ["SnapshotPruned"]


def test_half_an_attempt_is_not_told_as_taken() -> None:
    of = WITH_MEMORY
    wish = DesiredVolume("root", 0, "root", "", 1 << 20, snapshots=(VolumeSnapshotWish("s1", "before", of),))
    for around in (RUNNING, {"users": RUNNING["users"]}):
        planned = plan(ROOT, PART, PART, of=of, **around)
        status = want_status(View(wish, disk(ROOT, PART), planned), None, 1.0)
        assert [part.state for part in status.snapshots] == [SnapshotState.PENDING]
        assert status.fault is None
