"""How a missing volume is made, and what it waits for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from eaves.node.desired.model import DesiredVolume, DiskFormat, VolumeMode
from eaves.node.observed import VolumeState
from eaves.node.volumes.abc import DiskSource
from eaves.node.volumes.actions import Make
from eaves.node.volumes.around import Surroundings
from eaves.node.volumes.making import is_needed, plan_missing, plan_unmade
from eaves.node.volumes.model import Enforcement, Form, Seen, SeenSnapshot, StorageFacts, VolumeKey
from eaves.node.volumes.status import View, want_status

KEY = VolumeKey("v", 0)
BASE = Path("/volumes")
MIB = 1 << 20
SOURCE = VolumeKey("source", 1)
WITH_QUOTA = StorageFacts(has_quota=True, has_loop=True)
WITH_LOOP = StorageFacts(has_loop=True)


def volume(**changes: Any) -> DesiredVolume:
    values: dict[str, Any] = {"id": "v", "generation": 0, "name": "data", "image_id": "", "size_bytes": MIB}
    return DesiredVolume(**(values | changes))


def disk(**changes: Any) -> DesiredVolume:
    return volume(mode=VolumeMode.BLOCK, **changes)


def make(wish: DesiredVolume, **around: Any) -> Make:
    values: dict[str, Any] = {"bases": {KEY: BASE}}
    found = plan_missing(wish, Surroundings(**(values | around)))
    assert found.waits == ()
    assert not found.is_usable
    (action,) = found.actions
    assert isinstance(action, Make)
    return action


def wait(wish: DesiredVolume, **around: Any) -> str:
    values: dict[str, Any] = {"bases": {KEY: BASE}}
    found = plan_missing(wish, Surroundings(**(values | around)))
    assert (found.actions, found.is_usable) == ((), False)
    assert wish.name in found.waits[0].message
    assert found.waits[0].resolution
    return found.waits[0].code


def source(form: Form, **changes: Any) -> dict[VolumeKey, Seen]:
    enforcement = {Form.FOLDER: Enforcement.QUOTA, Form.EXT4: Enforcement.IMAGE}.get(form, Enforcement.DISK)
    values: dict[str, Any] = {"enforcement": enforcement, "size_bytes": 4 * MIB}
    return {SOURCE: Seen(SOURCE, form, BASE, **(values | changes))}


@pytest.mark.parametrize(
    ("facts", "size_bytes", "form", "enforcement"),
    [
        (WITH_QUOTA, MIB, Form.FOLDER, Enforcement.QUOTA),
        (WITH_LOOP, MIB, Form.EXT4, Enforcement.IMAGE),
        (StorageFacts(), MIB, Form.FOLDER, Enforcement.WATCHED),
        (WITH_LOOP, MIB - 1, Form.FOLDER, Enforcement.WATCHED),
        (WITH_QUOTA, 0, Form.FOLDER, Enforcement.WATCHED),
    ],
)
def test_size_is_enforced_by_the_best_that_the_node_has(
    facts: StorageFacts, size_bytes: int, form: Form, enforcement: Enforcement
) -> None:
    made = make(volume(size_bytes=size_bytes), facts=facts)
    assert (made.form, made.enforcement, made.size_bytes) == (form, enforcement, size_bytes)


@pytest.mark.parametrize(("wish", "form"), [(DiskFormat.QCOW2, Form.QCOW2), (DiskFormat.RAW, Form.RAW)])
def test_blank_disk_is_of_the_format_asked_for(wish: DiskFormat, form: Form) -> None:
    assert make(disk(format=wish)) == Make(KEY, BASE, form, Enforcement.DISK, MIB)


def test_blank_disk_needs_a_size() -> None:
    assert wait(disk(size_bytes=0)) == "VolumeSizeMissing"


def test_disk_is_made_from_its_image_once_that_is_here() -> None:
    images: dict[str, Any] = {"disk_images": frozenset({"i"})}
    assert wait(disk(image_id="i"), **images) == "ImageAwaited"
    here = DiskSource(Path("/blob"), "raw")
    made = make(disk(image_id="i", size_bytes=0), disks={"i": here}, **images)
    assert (made.disk, made.form) == (here, Form.QCOW2)


def test_folder_is_filled_from_a_container_image_once_that_is_here() -> None:
    assert wait(volume(image_id="i")) == "ImageAwaited"
    made = make(volume(image_id="i"), trees=frozenset({"i"}), facts=WITH_LOOP)
    assert (made.image_id, made.form) == ("i", Form.EXT4)


def test_images_that_do_not_fit_the_mode_are_refused() -> None:
    assert wait(disk(image_id="i")) == "VolumeImageUnsuitable"
    assert wait(volume(image_id="i"), disk_images=frozenset({"i"})) == "VolumeImageUnsuitable"


def test_volume_larger_than_the_disk_is_refused_and_the_vault_is_awaited() -> None:
    assert wait(volume(size_bytes=9 * MIB), facts=StorageFacts(total_bytes=8 * MIB)) == "VolumeTooLarge"
    assert wait(volume(), bases={}) == "VaultLocked"


@pytest.mark.parametrize("form", [Form.EXT4, Form.QCOW2, Form.RAW])
def test_copy_has_the_form_and_at_least_the_size_of_its_source(form: Form) -> None:
    made = make(volume(copy_of="source"), seen=source(form))
    assert (made.form, made.size_bytes, made.copy) == (form, 4 * MIB, source(form)[SOURCE])
    assert make(volume(copy_of="source", size_bytes=9 * MIB), seen=source(form)).size_bytes == 9 * MIB


def test_copy_of_a_folder_has_a_limit_of_its_own() -> None:
    made = make(volume(copy_of="source"), seen=source(Form.FOLDER), facts=WITH_QUOTA)
    assert (made.enforcement, made.size_bytes) == (Enforcement.QUOTA, MIB)
    assert make(volume(copy_of="source"), seen=source(Form.FOLDER)).enforcement is Enforcement.WATCHED


def test_copy_waits_for_its_source_and_for_the_end_of_its_use() -> None:
    wish = volume(copy_of="source")
    assert wait(wish) == "SourceVolumeMissing"
    assert wait(wish, seen=source(Form.QCOW2), users={SOURCE: ("db",)}) == "VolumeInUse"


def test_copy_of_a_snapshot_waits_for_the_snapshot_alone() -> None:
    wish = volume(copy_of="source", copy_of_snapshot="s1")
    assert wait(wish, seen=source(Form.QCOW2)) == "SnapshotMissing"
    there = source(Form.QCOW2, snapshots={"s1": SeenSnapshot("s1", 1.0)})
    assert make(wish, seen=there, users={SOURCE: ("db",)}).copy_snapshot == "s1"


def test_copy_is_made_from_the_newest_generation() -> None:
    older = Seen(VolumeKey("source", 0), Form.QCOW2, BASE, Enforcement.DISK, MIB)
    made = make(volume(copy_of="source"), seen={older.key: older, **source(Form.QCOW2)})
    assert made.copy is not None
    assert made.copy.key == SOURCE


def test_root_of_a_container_is_none_of_ours() -> None:
    around = Surroundings()
    assert not is_needed(volume(image_id="i"), around)
    assert is_needed(volume(image_id="i", is_explicit=True), around)
    assert is_needed(volume(image_id="i"), Surroundings(mounted=frozenset({KEY})))
    assert is_needed(disk(image_id="i"), around)
    assert is_needed(volume(), around)


def test_what_is_not_made_is_there_with_its_image() -> None:
    root = volume(image_id="i")
    awaited = plan_unmade(root, Surroundings())
    assert (awaited.is_usable, [wait.code for wait in awaited.waits]) == (False, ["ImageAwaited"])
    assert want_status(View(root, None, awaited), None, 1.0).state is VolumeState.WAITING
    here = plan_unmade(root, Surroundings(trees=frozenset({"i"})))
    assert (here.is_usable, here.waits, here.actions) == (True, (), ())
    assert want_status(View(root, None, here), None, 1.0).state is VolumeState.READY
