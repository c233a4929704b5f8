"""A volume that is there is brought to what is asked, and what cannot be done now says why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from eaves.node.desired.model import DesiredVolume, VolumeRollback, VolumeSnapshotWish
from eaves.node.volumes.actions import DropSnapshot, Grow, Mount, Repair, RollBack, TakeSnapshot
from eaves.node.volumes.around import Surroundings
from eaves.node.volumes.model import Enforcement, Form, Seen, SeenSnapshot, StorageFacts, VolumeKey
from eaves.node.volumes.plan import STILL_LIMIT_BYTES, VolumePlan, VolumeRecord, plan_present

KEY = VolumeKey("v", 0)
BASE = Path("/volumes")
MIB = 1 << 20
DAILY = VolumeSnapshotWish("s1", "daily")
IN_USE: dict[VolumeKey, tuple[str, ...]] = {KEY: ("db",)}


def volume(**changes: Any) -> DesiredVolume:
    values: dict[str, Any] = {"id": "v", "generation": 0, "name": "data", "image_id": "", "size_bytes": MIB}
    return DesiredVolume(**(values | changes))


def seen(form: Form = Form.QCOW2, **changes: Any) -> Seen:
    enforcement = {Form.FOLDER: Enforcement.WATCHED, Form.EXT4: Enforcement.IMAGE}.get(form, Enforcement.DISK)
    values: dict[str, Any] = {"enforcement": enforcement, "size_bytes": MIB, "is_mounted": form is Form.EXT4}
    return Seen(KEY, form, BASE, **(values | changes))


def with_snapshots(form: Form, *ids: str, **changes: Any) -> Seen:
    return seen(form, snapshots={name: SeenSnapshot(name, 1.0) for name in ids}, **changes)


def plan(wish: DesiredVolume, there: Seen, record: VolumeRecord | None = None, **around: Any) -> VolumePlan:
    return plan_present(wish, there, record or VolumeRecord(rollback_counter=0), Surroundings(**around))


@pytest.mark.parametrize("form", Form)
def test_nothing_to_do_when_all_is_as_asked(form: Form) -> None:
    assert plan(volume(), seen(form)) == VolumePlan(is_usable=True)


def test_image_is_mounted_before_an_app_gets_it() -> None:
    found = plan(volume(), seen(Form.EXT4, is_mounted=False))
    assert (found.actions, found.is_usable) == ((Mount(KEY),), False)


@pytest.mark.parametrize("form", [Form.EXT4, Form.QCOW2, Form.RAW])
def test_volume_grows(form: Form) -> None:
    assert plan(volume(size_bytes=2 * MIB), seen(form)).actions == (Grow(KEY, 2 * MIB),)


def test_quota_grows_and_a_watched_folder_needs_nothing() -> None:
    wish = volume(size_bytes=2 * MIB)
    assert plan(wish, seen(Form.FOLDER, enforcement=Enforcement.QUOTA)).actions == (Grow(KEY, 2 * MIB),)
    assert plan(wish, seen(Form.FOLDER, size_bytes=0)).actions == ()


def test_file_system_grows_while_apps_use_it() -> None:
    assert plan(volume(size_bytes=2 * MIB), seen(Form.EXT4), users=IN_USE).actions == (Grow(KEY, 2 * MIB),)


def test_file_system_is_taken_down_to_grow_where_the_kernel_asks_for_it() -> None:
    wish, facts = volume(size_bytes=2 * MIB), StorageFacts(grows_mounted=False)
    assert plan(wish, seen(Form.EXT4), facts=facts).actions == (Grow(KEY, 2 * MIB, is_offline=True),)
    assert plan(wish, seen(Form.EXT4), facts=facts, users=IN_USE).waits[0].code == "VolumeInUse"
    assert plan(wish, seen(Form.EXT4, is_mounted=False), facts=facts).actions == (Mount(KEY),)


def test_disk_in_use_grows_through_its_machine_or_waits() -> None:
    wish = volume(size_bytes=2 * MIB)
    assert plan(wish, seen(), users=IN_USE, live=frozenset({KEY})).actions == (Grow(KEY, 2 * MIB),)
    waiting = plan(wish, seen(), users=IN_USE)
    assert (waiting.actions, waiting.is_usable) == ((), True)
    assert waiting.waits[0].code == "VolumeInUse"
    assert "app db" in waiting.waits[0].message


def test_volume_never_shrinks() -> None:
    found = plan(volume(size_bytes=MIB), seen(size_bytes=2 * MIB))
    assert (found.actions, found.waits[0].code, found.is_usable) == ((), "VolumeCannotShrink", True)


def test_disk_larger_than_asked_because_of_its_image_is_no_fault() -> None:
    assert plan(volume(image_id="i"), seen(size_bytes=9 * MIB)).waits == ()


def test_growth_beyond_the_disk_is_refused() -> None:
    found = plan(volume(size_bytes=9 * MIB), seen(), facts=StorageFacts(total_bytes=8 * MIB))
    assert (found.actions, found.waits[0].code) == ((), "VolumeTooLarge")


@pytest.mark.parametrize("form", Form)
def test_snapshot_is_taken_once_and_dropped_when_nobody_names_it(form: Form) -> None:
    assert plan(volume(snapshots=(DAILY,)), seen(form)).actions == (TakeSnapshot(KEY, "s1"),)
    assert plan(volume(snapshots=(DAILY,)), with_snapshots(form, "s1")).actions == ()
    assert plan(volume(), with_snapshots(form, "s1")).actions == (DropSnapshot(KEY, "s1"),)


def test_lost_snapshot_is_told_and_not_taken_again_with_other_content() -> None:
    found = plan(volume(snapshots=(DAILY,)), seen(), VolumeRecord(rollback_counter=0, taken=("s1",)))
    assert found.actions == ()
    assert (found.waits[0].code, found.waits[0].snapshot_id) == ("SnapshotLost", "s1")


def test_snapshots_of_a_disk_in_use_go_through_its_machine_or_wait() -> None:
    wish = volume(snapshots=(DAILY,))
    live = plan(wish, with_snapshots(Form.QCOW2, "old"), users=IN_USE, live=frozenset({KEY}))
    assert live.actions == (DropSnapshot(KEY, "old"), TakeSnapshot(KEY, "s1"))
    waiting = plan(wish, with_snapshots(Form.QCOW2, "old"), users=IN_USE)
    assert waiting.actions == ()
    assert waiting.waits[0].snapshot_id == "s1"


def test_raw_disk_in_use_is_copied_only_where_blocks_are_shared() -> None:
    wish = volume(snapshots=(DAILY,))
    assert plan(wish, seen(Form.RAW), users=IN_USE).actions == ()
    assert plan(wish, seen(Form.RAW)).actions == (TakeSnapshot(KEY, "s1"),)


def test_writes_are_held_up_for_a_short_copy_only() -> None:
    wish = volume(snapshots=(DAILY,))
    small, large = seen(Form.EXT4, allocated_bytes=MIB), seen(Form.EXT4, allocated_bytes=STILL_LIMIT_BYTES + 1)
    take = (TakeSnapshot(KEY, "s1"),)
    assert plan(wish, small, users=IN_USE).actions == take
    assert plan(wish, large, users=IN_USE).waits[0].code == "VolumeInUse"
    assert plan(wish, large).actions == take
    assert plan(wish, large, users=IN_USE, facts=StorageFacts(has_reflink=True)).actions == take


def test_snapshot_that_a_volume_is_still_to_be_copied_from_stays() -> None:
    found = plan(volume(), with_snapshots(Form.QCOW2, "s1"), copied_snapshots=frozenset({"s1"}))
    assert found.actions == ()


def test_rollback_is_obeyed_once() -> None:
    wish = volume(snapshots=(DAILY,), rollback=VolumeRollback("s1", 1))
    there = with_snapshots(Form.QCOW2, "s1")
    found = plan(wish, there)
    assert (found.actions, found.is_usable) == ((RollBack(KEY, "s1", 1),), False)
    assert plan(wish, there, VolumeRecord(rollback_counter=1)) == VolumePlan(is_usable=True)


def test_first_order_that_is_seen_with_a_volume_is_not_obeyed() -> None:
    wish = volume(snapshots=(DAILY,), rollback=VolumeRollback("s1", 7))
    assert plan(wish, with_snapshots(Form.RAW, "s1"), VolumeRecord()).actions == ()


def test_rollback_waits_until_the_app_has_stopped() -> None:
    wish = volume(snapshots=(DAILY,), rollback=VolumeRollback("s1", 1))
    found = plan(wish, with_snapshots(Form.EXT4, "s1"), users=IN_USE)
    assert (found.actions, found.is_usable) == ((), True)
    assert "app db" in found.waits[0].resolution


def test_rollback_to_what_is_not_there_says_so_and_takes_nothing_away() -> None:
    found = plan(volume(rollback=VolumeRollback("gone", 1)), seen())
    assert (found.actions, found.waits[0].code, found.is_usable) == ((), "SnapshotMissing", True)


def test_what_a_crash_interrupted_is_repaired_first() -> None:
    record = VolumeRecord(rollback_counter=0, is_working=True)
    found = plan(volume(size_bytes=2 * MIB), seen(), record)
    assert (found.actions, found.is_usable) == ((Repair(KEY),), False)
    # A machine that opened the disk all the same has repaired nothing, but must not be disturbed.
    assert plan(volume(), seen(), record, users=IN_USE).is_usable
