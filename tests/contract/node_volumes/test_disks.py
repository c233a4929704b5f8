"""Block volumes by the real qemu-img."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from eaves.node.desired.model import (
    DesiredVolume,
    DiskFormat,
    VolumeMode,
    VolumeRollback,
    VolumeSnapshotWish,
)
from eaves.node.observed import SnapshotState, VolumeState
from eaves.node.volumes.abc import DiskSource
from eaves.node.volumes.model import VolumeKey
from eaves.testing.volume_stage import VolumeStage

MIB = 1 << 20
KEY = VolumeKey("disk", 0)


def disk(**changes: Any) -> DesiredVolume:
    values: dict[str, Any] = {"id": "disk", "generation": 0, "name": "disk", "image_id": "", "size_bytes": 64 * MIB}
    return DesiredVolume(**(values | {"mode": VolumeMode.BLOCK} | changes))


def qemu_img(*words: object) -> str:
    return subprocess.run(["qemu-img", *map(str, words)], check=True, capture_output=True, text=True).stdout


def write(path: Path, text: str, *, at: int = 0) -> None:
    """As a guest would, at a place inside of the disk."""
    kind = "qcow2" if path.suffix == ".qcow2" else "raw"
    code = ord(text)
    command = f"write -P {code} {at} 64k"
    subprocess.run(["qemu-io", "-f", kind, "-c", command, str(path)], check=True, capture_output=True)


def read(path: Path, *, at: int = 0) -> str:
    """The letter that was written there; ``0`` for nothing."""
    kind = "qcow2" if path.suffix == ".qcow2" else "raw"
    done = subprocess.run(
        ["qemu-io", "-r", "-U", "-f", kind, "-c", f"read -v {at} 1", str(path)],
        check=True,
        capture_output=True,
        text=True,
    )
    code = int(done.stdout.split(":")[1].split()[0], 16)
    return chr(code) if code else "0"


def info(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(qemu_img("info", "--force-share", "--output=json", path))
    return found


async def do(function: Any, *words: Any, **named: Any) -> Any:
    return await asyncio.to_thread(function, *words, **named)


@pytest.mark.parametrize("wish", DiskFormat)
async def test_blank_disk_takes_no_room(stage: VolumeStage, wish: DiskFormat) -> None:
    volume = disk(format=wish)
    stage.apply(volume)
    path = await stage.wait_ready(volume)
    found = stage.volumes.disk("disk", 0)
    assert found is not None
    assert (found.path, found.format, found.size_bytes) == (path, str(wish).lower(), 64 * MIB)
    status = await stage.wait("disk", lambda status: status.allocated_bytes > 0 or wish is DiskFormat.RAW)
    assert (status.mode, status.format, status.enforcement) == ("Block", wish, "Disk")
    assert status.allocated_bytes < 2 * MIB


@pytest.mark.parametrize("image_format", ["raw", "qcow2", "vmdk", "vhdx"])
async def test_disk_from_an_image_is_whole_by_itself_and_at_least_as_large(
    stage: VolumeStage, tmp_path: Path, image_format: str
) -> None:
    raw = tmp_path / "image.raw"
    await do(qemu_img, "create", "-f", "raw", raw, "32M")
    await do(write, raw, "x", at=8 * MIB)
    image = tmp_path / "image"
    await do(qemu_img, "convert", "-O", image_format, raw, image)
    stage.sources.disks["image"] = DiskSource(image, image_format)
    volume = disk(image_id="image", size_bytes=0)
    larger = disk(id="larger", image_id="image", size_bytes=48 * MIB)
    smaller = disk(id="smaller", image_id="image", size_bytes=16 * MIB)
    stage.apply(volume, larger, smaller)
    path, other, uncut = [await stage.wait_ready(one) for one in (volume, larger, smaller)]
    image.unlink()
    assert (await do(info, path))["virtual-size"] == 32 * MIB
    assert (await do(info, other))["virtual-size"] == 48 * MIB
    assert (await do(info, uncut))["virtual-size"] == 32 * MIB
    status = await stage.wait("smaller", lambda status: status.size_bytes == 32 * MIB)
    assert status.fault is None
    assert await do(read, path, at=8 * MIB) == "x"
    assert "backing-filename" not in await do(info, path)


async def test_image_that_refers_to_files_of_the_machine_is_refused(stage: VolumeStage, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"s" * 4096)
    image = tmp_path / "image.qcow2"
    await do(qemu_img, "create", "-f", "qcow2", "-b", secret, "-F", "raw", image)
    stage.sources.disks["image"] = DiskSource(image, "qcow2")
    good = disk(id="good")
    stage.apply(disk(image_id="image"), good)
    status = await stage.wait("disk", lambda status: status.fault is not None)
    assert status.fault is not None
    assert (status.state, status.fault.code) == (VolumeState.FAILED, "VolumeImageUnsuitable")
    assert stage.volumes.path("disk", 0) is None
    await stage.wait_ready(good)
    assert stage.list_files() == ["good#0.qcow2"]


async def test_broken_image_is_told_and_leaves_nothing(stage: VolumeStage, tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(b"no disk")
    stage.sources.disks["image"] = DiskSource(image, "qcow2")
    stage.apply(disk(image_id="image"))
    status = await stage.wait("disk", lambda status: status.fault is not None)
    assert status.fault is not None
    assert status.fault.code == "VolumeImageUnsuitable"
    assert stage.list_files() == []


@pytest.mark.parametrize("wish", DiskFormat)
async def test_disk_grows_and_never_shrinks(stage: VolumeStage, wish: DiskFormat) -> None:
    stage.apply(disk(format=wish))
    path = await stage.wait_ready(disk())
    await do(write, path, "a")
    stage.apply(disk(size_bytes=128 * MIB))
    await stage.wait("disk", lambda status: status.size_bytes == 128 * MIB)
    stage.apply(disk(size_bytes=64 * MIB))
    status = await stage.wait("disk", lambda status: status.fault is not None)
    assert status.fault is not None
    assert (status.fault.code, status.state) == ("VolumeCannotShrink", VolumeState.READY)
    assert (await do(info, path))["virtual-size"] == 128 * MIB
    assert await do(read, path) == "a"


@pytest.mark.parametrize("wish", DiskFormat)
async def test_snapshot_rollback_and_copy(stage: VolumeStage, wish: DiskFormat) -> None:
    first = VolumeSnapshotWish("s1", "first")
    volume = disk(format=wish)
    stage.apply(volume)
    path = await stage.wait_ready(volume)
    await do(write, path, "a")
    if wish is DiskFormat.QCOW2:
        await do(qemu_img, "snapshot", "-c", "of-the-app", path)
    with_snapshot = msgspec.structs.replace(volume, snapshots=(first,))
    stage.apply(with_snapshot)
    status = await stage.wait("disk", lambda s: bool(s.snapshots) and s.snapshots[0].state is SnapshotState.READY)
    assert status.snapshots[0].taken_at > 0
    await do(write, path, "b")
    copied = disk(id="copied", copy_of="disk", copy_of_snapshot="s1", size_bytes=80 * MIB)
    stage.apply(with_snapshot, copied)
    assert await do(read, await stage.wait_ready(copied)) == "a"
    stage.apply(msgspec.structs.replace(with_snapshot, rollback=VolumeRollback("s1", 1)), copied)
    await stage.wait("disk", lambda status: status.rollback_counter == 1)
    await stage.wait_ready(volume)
    assert await do(read, path) == "a"
    await do(write, path, "c")
    now = disk(id="now", copy_of="disk")
    stage.apply(msgspec.structs.replace(volume, rollback=VolumeRollback("s1", 1)), copied, now)
    assert await do(read, await stage.wait_ready(now)) == "c"
    async with asyncio.timeout(20):
        while "eaves-volume" in json.dumps(await do(info, path)) or (stage.folder / "disk#0.snapshots" / "s1").exists():  # noqa: ASYNC110 - neither the image nor the folder tells anyone
            await asyncio.sleep(0.05)


async def test_disk_of_a_running_machine_is_changed_through_the_machine(stage: VolumeStage) -> None:
    volume = disk()
    stage.apply(volume)
    path = await stage.wait_ready(volume)
    done: list[str] = []

    dropped = asyncio.Event()

    class Machine:
        async def resize(self, size_bytes: int) -> None:
            done.append(f"resize {size_bytes}")
            await do(qemu_img, "resize", "-q", path, size_bytes)

        async def take_snapshot(self, name: str) -> None:
            done.append(f"take {name}")
            await do(qemu_img, "snapshot", "-c", name, path)

        async def drop_snapshot(self, name: str) -> None:
            done.append(f"drop {name}")
            await do(qemu_img, "snapshot", "-d", name, path)
            dropped.set()

    stage.live[path] = Machine()
    stage.use("app", KEY)
    wish = msgspec.structs.replace(volume, size_bytes=128 * MIB, snapshots=(VolumeSnapshotWish("s1", "first"),))
    stage.apply(wish)
    await stage.wait("disk", lambda status: status.size_bytes == 128 * MIB)
    assert sorted(done) == [f"resize {128 * MIB}", "take eaves-volume-s1"]
    stage.apply(msgspec.structs.replace(wish, snapshots=()))
    async with asyncio.timeout(60):
        await dropped.wait()
    assert done[-1] == "drop eaves-volume-s1"


async def test_what_must_wait_for_the_app_says_so_and_is_done_when_it_stops(stage: VolumeStage) -> None:
    volume = disk(snapshots=(VolumeSnapshotWish("s1", "first"),))
    stage.apply(volume)
    await stage.wait("disk", lambda s: bool(s.snapshots) and s.snapshots[0].state is SnapshotState.READY)
    stage.use("app", KEY)
    stage.apply(msgspec.structs.replace(volume, rollback=VolumeRollback("s1", 1), size_bytes=128 * MIB))
    status = await stage.wait("disk", lambda status: status.fault is not None)
    assert status.fault is not None
    assert status.fault.code == "VolumeInUse"
    assert stage.volumes.path("disk", 0) is not None, "an app that runs keeps its volume"
    stage.use("app")
    done = await stage.wait("disk", lambda status: status.rollback_counter == 1 and status.size_bytes == 128 * MIB)
    assert done.fault is None


async def test_unwanted_disk_goes_unless_an_app_has_it(stage: VolumeStage) -> None:
    volume, other = disk(), disk(id="other")
    stage.apply(volume, other)
    await stage.wait_ready(volume)
    await stage.wait_ready(other)
    stage.use("app", KEY)
    stage.apply()
    async with asyncio.timeout(20):
        while stage.list_files() != ["disk#0.qcow2"]:  # noqa: ASYNC110 - a folder tells no one
            await asyncio.sleep(0.05)
    stage.use("app")
    async with asyncio.timeout(20):
        while stage.list_files():  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.05)
