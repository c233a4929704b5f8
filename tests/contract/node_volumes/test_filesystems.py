"""Filesystem volumes on the real kernel: ext4 in a file where there are no quotas, folders where there is neither."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from eaves.kit import process
from eaves.node.desired.model import DesiredVolume, VolumeMode, VolumeRollback, VolumeSnapshotWish
from eaves.node.mounts import load_sources
from eaves.node.observed import SnapshotState, VolumeState, VolumeStatus
from eaves.node.volumes import extimage, observe
from eaves.node.volumes.model import VolumeKey
from eaves.testing.volume_stage import VolumeStage

MIB = 1 << 20
KEY = VolumeKey("data", 0)
DAILY = VolumeSnapshotWish("s1", "daily")


def volume(**changes: Any) -> DesiredVolume:
    values: dict[str, Any] = {"id": "data", "generation": 0, "name": "data", "image_id": "", "size_bytes": 16 * MIB}
    return DesiredVolume(**(values | changes))


def folder(**changes: Any) -> DesiredVolume:
    """One without a size, which is a folder everywhere."""
    return volume(size_bytes=0, **changes)


def is_taken(status: VolumeStatus) -> bool:
    return bool(status.snapshots) and status.snapshots[0].state is SnapshotState.READY


def fill(path: Path) -> int:
    """Write until there is no room; answers how much there was."""
    done = 0
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                done += file.write(b"x" * 4096)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
    return done


async def wait_gone(path: Path) -> None:
    async with asyncio.timeout(30):
        while await asyncio.to_thread(path.exists):  # noqa: ASYNC110 - a folder tells no one
            await asyncio.sleep(0.05)


def list_attached(folder: Path) -> list[str]:
    """Files of the folder that loop devices have, also those deleted since. Devices are shared: others take them at any time."""
    found = []
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        with contextlib.suppress(OSError):
            found.append(backing.read_text().rstrip("\n"))
    return [path for path in found if path.startswith(f"{folder}/")]


@pytest.mark.parametrize("size_mib", [1, 16, 300])
async def test_volume_holds_its_size_and_no_more(stage: VolumeStage, size_mib: int) -> None:
    wish = volume(size_bytes=size_mib * MIB)
    stage.apply(wish)
    path = await stage.wait_ready(wish)
    assert list(path.iterdir()) == [], "programs that want an empty folder get one"
    assert path.stat().st_mode & 0o777 == 0o777
    written = await asyncio.to_thread(fill, path / "big")
    assert size_mib * MIB * 0.75 < written <= size_mib * MIB
    status = await stage.wait("data", lambda status: status.fault is not None and status.used_bytes >= written)
    assert status.fault is not None
    assert (status.fault.code, status.state) == ("VolumeFull", VolumeState.READY)
    assert status.enforcement in ("Image", "Quota")
    await asyncio.to_thread((path / "big").unlink)
    await stage.wait("data", lambda status: status.fault is None)


async def test_unused_room_is_not_taken_from_the_node(stage: VolumeStage) -> None:
    wish = volume(size_bytes=2 << 30)
    stage.apply(wish)
    await stage.wait_ready(wish)
    status = await stage.wait("data", lambda status: status.allocated_bytes > 0 or status.enforcement == "Quota")
    assert status.allocated_bytes < 32 * MIB


async def test_volume_grows_while_it_is_in_use(stage: VolumeStage) -> None:
    stage.apply(volume())
    path = await stage.wait_ready(volume())
    stage.use("app", KEY)
    grows_mounted = (await asyncio.to_thread(observe.observe_facts, stage.folder)).grows_mounted
    with (path / "open").open("wb") as file:
        file.write(b"before")
        stage.apply(volume(size_bytes=256 * MIB))
        if grows_mounted:
            await stage.wait("data", lambda status: status.size_bytes == 256 * MIB)
        file.write(b" and after")
    if not grows_mounted:
        # A process without the right to exceed limits: the kernel grows no mounted file system for it.
        await stage.wait("data", lambda status: status.fault is not None and status.fault.code == "VolumeInUse")
        stage.use("app")
        await stage.wait("data", lambda status: status.size_bytes == 256 * MIB)
        path = await stage.wait_ready(volume())
    assert (path / "open").read_bytes() == b"before and after"
    assert await asyncio.to_thread(fill, path / "big") > 200 * MIB


async def test_growth_that_a_crash_cut_is_ended(stage: VolumeStage) -> None:
    stage.apply(volume())
    path = await stage.wait_ready(volume())
    await stage.stop()
    with (stage.folder / "data#0.ext4").open("r+b") as file:
        # The file had grown when the daemon died, its file system had not.
        file.truncate(64 * MIB)
    await stage.start()
    stage.apply(volume(size_bytes=64 * MIB))
    await stage.wait("data", lambda status: status.size_bytes == 64 * MIB)
    async with asyncio.timeout(30):
        while os.statvfs(path).f_blocks * os.statvfs(path).f_frsize < 48 * MIB:  # noqa: ASYNC110 - the kernel tells no one
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("wish", [volume(), folder()], ids=["sized", "folder"])
async def test_snapshot_rollback_and_copy(stage: VolumeStage, wish: DesiredVolume) -> None:
    stage.apply(wish)
    path = await stage.wait_ready(wish)
    (path / "file").write_text("a")
    with_snapshot = msgspec.structs.replace(wish, snapshots=(DAILY,))
    stage.use("app", KEY)
    stage.apply(with_snapshot)
    status = await stage.wait("data", is_taken)
    assert status.snapshots[0].size_bytes > 0
    (path / "file").write_text("b")
    (path / "new").write_text("b")
    copied = msgspec.structs.replace(wish, id="copied", copy_of="data", copy_of_snapshot="s1")
    stage.apply(with_snapshot, copied)
    copy_path = await stage.wait_ready(copied)
    assert (copy_path / "file").read_text() == "a"
    back = msgspec.structs.replace(with_snapshot, rollback=VolumeRollback("s1", 1))
    stage.apply(back, copied)
    await stage.wait("data", lambda status: status.fault is not None and status.fault.code == "VolumeInUse")
    assert (path / "file").read_text() == "b"
    stage.use("app")
    await stage.wait("data", lambda status: status.rollback_counter == 1)
    path = await stage.wait_ready(back)
    assert (path / "file").read_text() == "a"
    assert not (path / "new").exists()
    (copy_path / "file").write_text("of the copy")
    assert (path / "file").read_text() == "a", "a copy has blocks of its own"
    stage.apply(msgspec.structs.replace(back, snapshots=()), copied)
    await wait_gone(stage.folder / "data#0.snapshots" / "s1")


async def test_copy_waits_until_nobody_writes_to_the_source(stage: VolumeStage) -> None:
    stage.apply(volume())
    path = await stage.wait_ready(volume())
    stage.use("app", KEY)
    copied = volume(id="copied", copy_of="data", size_bytes=32 * MIB)
    stage.apply(volume(), copied)
    status = await stage.wait("copied", lambda status: status.fault is not None)
    assert status.fault is not None
    assert status.fault.code == "VolumeInUse"
    (path / "file").write_text("last")
    stage.use("app")
    copy_path = await stage.wait_ready(copied)
    assert (copy_path / "file").read_text() == "last"
    await stage.wait("copied", lambda status: status.size_bytes == 32 * MIB)


async def test_volume_from_a_container_image_has_its_files(stage: VolumeStage, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc" / "motd").write_text("hello")
    (root / "link").symlink_to("etc/motd")
    stage.sources.trees["image"] = root
    wish = volume(image_id="image", is_explicit=True)
    stage.apply(wish)
    path = await stage.wait_ready(wish)
    assert (path / "link").read_text() == "hello"
    assert (path / "link").is_symlink()


async def test_image_that_does_not_fit_is_told_and_leaves_nothing(stage: VolumeStage, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "big").write_bytes(os.urandom(4 * MIB))
    stage.sources.trees["image"] = root
    stage.apply(volume(image_id="image", is_explicit=True, size_bytes=2 * MIB))
    status = await stage.wait("data", lambda status: status.fault is not None)
    assert status.fault is not None
    assert (status.fault.code, status.state) == ("VolumeTooSmall", VolumeState.FAILED)
    assert stage.list_files() == []
    stage.apply(volume(image_id="image", is_explicit=True, size_bytes=16 * MIB))
    path = await stage.wait_ready(volume())
    assert (path / "big").stat().st_size == 4 * MIB


async def test_content_survives_a_power_cut(stage: VolumeStage) -> None:
    stage.apply(volume())
    path = await stage.wait_ready(volume())
    (path / "file").write_text("kept")
    os.sync()
    await stage.cut_power()
    assert not (path / "file").exists()
    await stage.start()
    path = await stage.wait_ready(volume())
    assert (path / "file").read_text() == "kept"
    assert str(path) in await asyncio.to_thread(load_sources)


async def test_volume_that_somebody_unmounted_is_mounted_again(stage: VolumeStage) -> None:
    stage.apply(volume())
    path = await stage.wait_ready(volume())
    (path / "file").write_text("kept")
    await process.run(["umount", str(path)])
    stage.volumes.wake()
    async with asyncio.timeout(30):
        while not (path / "file").exists():  # noqa: ASYNC110 - the kernel tells no one
            await asyncio.sleep(0.05)


async def test_daemon_that_ends_leaves_the_volume_to_its_apps(stage: VolumeStage) -> None:
    stage.apply(volume())
    path = await stage.wait_ready(volume())
    device = await asyncio.to_thread(extimage.find_device, path)
    await stage.stop()
    (path / "file").write_text("written meanwhile")
    await stage.start()
    await stage.wait_ready(volume())
    assert await asyncio.to_thread(extimage.find_device, path) == device


async def test_writes_that_a_dead_daemon_held_up_go_on(stage: VolumeStage) -> None:
    stage.apply(volume())
    path = await stage.wait_ready(volume())
    await stage.stop()
    await process.run(["fsfreeze", "--freeze", str(path)])
    await stage.start()
    async with asyncio.timeout(20):
        await asyncio.to_thread((path / "file").write_text, "goes on")


async def test_unwanted_volume_goes_with_its_mount_and_snapshots(stage: VolumeStage) -> None:
    wish = volume(snapshots=(DAILY,))
    stage.apply(wish)
    path = await stage.wait_ready(wish)
    await stage.wait("data", is_taken)
    file = stage.folder / "data#0.ext4"
    is_image = await asyncio.to_thread(file.exists)
    assert await asyncio.to_thread(list_attached, stage.folder) == [str(file)] * is_image
    stage.apply()
    await wait_gone(file)
    async with asyncio.timeout(30):
        while stage.list_files():  # noqa: ASYNC110 - a folder tells no one
            await asyncio.sleep(0.05)
    assert await asyncio.to_thread(list_attached, stage.folder) == []
    assert str(path) not in await asyncio.to_thread(load_sources)


async def test_what_a_crash_left_half_made_is_taken_away(stage: VolumeStage) -> None:
    await stage.stop()
    (stage.folder / ".making-01-data#0.ext4").write_bytes(b"half")
    (stage.folder / ".deleting-02-data#0").mkdir()
    (stage.folder / "other#0.snapshots").mkdir()
    (stage.folder / "other#0.snapshots" / ".making-03-s1").mkdir()
    (stage.folder / "notes").write_text("of somebody else")
    await stage.start()
    assert stage.list_files() == ["notes", "other#0.snapshots"]
    assert list((stage.folder / "other#0.snapshots").iterdir()) == []


async def test_full_disk_is_told_and_overcome(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    await process.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(disk)])
    try:
        async with VolumeStage(disk) as stage:
            small = volume(id="small", size_bytes=2 * MIB)
            stage.apply(small)
            await stage.wait_ready(small)
            image = disk / "image"
            image.mkdir()
            (image / "content").write_bytes(os.urandom(24 * MIB))
            stage.sources.trees["image"] = image
            filler = disk / "filler"
            filler.write_bytes(b"\0" * (24 * MIB))
            wish = volume(image_id="image", is_explicit=True, size_bytes=48 * MIB)
            stage.apply(small, wish)
            status = await stage.wait("data", lambda status: status.fault is not None)
            assert status.fault is not None
            assert (status.fault.code, status.state) == ("StorageFull", VolumeState.FAILED)
            assert not [name for name in stage.list_files() if name.startswith("data")]
            assert stage.volumes.path("small", 0) is not None, "other things go on"
            too_large = volume(id="large", size_bytes=1 << 30)
            stage.apply(small, wish, too_large)
            refused = await stage.wait("large", lambda status: status.fault is not None)
            assert refused.fault is not None
            assert refused.fault.code == "VolumeTooLarge"
            filler.unlink()
            assert (await stage.wait_ready(wish) / "content").stat().st_size == 24 * MIB
    finally:
        await process.run(["umount", "--lazy", str(disk)])


async def test_file_system_that_stopped_taking_writes_is_mended_when_its_app_stops(stage: VolumeStage) -> None:
    stage.apply(volume())
    path = await stage.wait_ready(volume())
    (path / "file").write_text("kept")
    stage.use("app", KEY)
    # As the kernel does it after writes that failed.
    await process.run(["mount", "-o", "remount,ro", str(path)])
    status = await stage.wait("data", lambda status: status.fault is not None)
    assert status.fault is not None
    assert (status.fault.code, status.state) == ("VolumeReadOnly", VolumeState.READY)
    stage.use("app")
    await stage.wait("data", lambda status: status.fault is None)
    path = await stage.wait_ready(volume())
    (path / "file").write_text("written again")


async def test_damaged_file_system_is_told_and_never_replaced(stage: VolumeStage) -> None:
    stage.apply(volume())
    await stage.wait_ready(volume())
    await stage.cut_power()
    image = stage.folder / "data#0.ext4"
    content = os.urandom(image.stat().st_size)
    image.write_bytes(content)
    await stage.start()
    status = await stage.wait("data", lambda status: status.fault is not None)
    assert status.fault is not None
    assert (status.fault.code, status.state) == ("VolumeDamaged", VolumeState.FAILED)
    assert image.read_bytes() == content
    assert stage.volumes.path("data", 0) is None


async def test_a_mode_that_changes_later_keeps_what_is_there(stage: VolumeStage) -> None:
    stage.apply(volume())
    path = await stage.wait_ready(volume())
    (path / "file").write_text("kept")
    stage.apply(volume(mode=VolumeMode.BLOCK))
    assert (await stage.wait_ready(volume()) / "file").read_text() == "kept"
