"""The daemon is killed at any moment of the work on a volume: what is there is whole, and the work is done after."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from eaves.node.desired.model import DesiredVolume, DiskFormat, VolumeMode, VolumeRollback, VolumeSnapshotWish
from eaves.node.observed import SnapshotState
from eaves.node.volumes.abc import DiskSource
from eaves.testing.volume_stage import VolumeStage
from eaves.testing.volume_worker import Work

MIB = 1 << 20
ROUNDS = 6
DAILY = VolumeSnapshotWish("s1", "daily")


def disk(name: str, **changes: Any) -> DesiredVolume:
    return folder(name, **({"mode": VolumeMode.BLOCK} | changes))


def folder(name: str, **changes: Any) -> DesiredVolume:
    values: dict[str, Any] = {"id": name, "generation": 0, "name": name, "image_id": "", "size_bytes": 64 * MIB}
    return DesiredVolume(**(values | changes))


async def work_and_die(stage: VolumeStage, moment_s: float, *volumes: DesiredVolume, **disks: str) -> None:
    """Let a daemon of its own work on the volumes for a moment, and kill it."""
    config = stage.instance.data_dir / "work.json"
    config.write_bytes(msgspec.json.encode(Work(volumes, disks)))
    argv = [sys.executable, "-m", "eaves.testing.volume_worker", str(stage.instance.data_dir.parent), str(config)]
    worker = await asyncio.to_thread(subprocess.Popen, argv, stdout=subprocess.PIPE)
    try:
        assert worker.stdout is not None
        async with asyncio.timeout(60):
            assert await asyncio.to_thread(worker.stdout.readline) == b"started\n"
        await asyncio.sleep(moment_s)
    finally:
        worker.send_signal(signal.SIGKILL)
        await asyncio.to_thread(worker.communicate)


def list_tools(stage: VolumeStage) -> list[str]:
    """Programs that still work on files of the stage."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if str(stage.folder) in words:
                found.append(words)
    return found


async def wait_no_tools(stage: VolumeStage) -> None:
    async with asyncio.timeout(20):
        while await asyncio.to_thread(list_tools, stage):  # noqa: ASYNC110 - processes of a dead daemon tell no one
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("wish", [disk("data"), disk("data", format=DiskFormat.RAW)], ids=["qcow2", "raw"])
async def test_disk_from_an_image_is_whole_or_not_there(
    stage: VolumeStage, tmp_path: Path, wish: DesiredVolume
) -> None:
    await stage.stop()
    image = tmp_path / "image.raw"
    content = os.urandom(48 * MIB)
    image.write_bytes(content)
    wish = msgspec.structs.replace(wish, image_id="image", size_bytes=0)
    for _ in range(ROUNDS):
        await work_and_die(stage, random.uniform(0, 0.2), wish, image=str(image))
        await wait_no_tools(stage)
    stage.sources.disks["image"] = DiskSource(image, "raw")
    stage.want(wish)
    await stage.start()
    path = await stage.wait_ready(wish)
    await stage.stop()
    out = tmp_path / "out.raw"
    await asyncio.to_thread(
        subprocess.run, ["qemu-img", "convert", "-O", "raw", str(path), str(out)], check=True, capture_output=True
    )
    assert out.read_bytes() == content
    assert stage.list_files() == [path.name]


@pytest.mark.parametrize("make", [disk, folder], ids=["disk", "filesystem"])
async def test_copy_growth_snapshot_and_rollback_end_after_any_kill(stage: VolumeStage, make: Any) -> None:
    source = make("source")
    stage.apply(source)
    path = await stage.wait_ready(source)
    mark = b"first" * 1000
    if path.is_dir():
        (path / "mark").write_bytes(mark + os.urandom(16 * MIB))
    else:
        await asyncio.to_thread(
            subprocess.run,
            ["qemu-io", "-f", "qcow2", "-c", "write -P 97 0 16M", str(path)],
            check=True,
            capture_output=True,
        )
    await stage.stop()
    with_snapshot = msgspec.structs.replace(source, snapshots=(DAILY,), size_bytes=96 * MIB)
    copied = make("copied", copy_of="source", copy_of_snapshot="s1", size_bytes=128 * MIB)
    for _ in range(ROUNDS):
        await work_and_die(stage, random.uniform(0, 0.25), with_snapshot, copied)
        await wait_no_tools(stage)
    back = msgspec.structs.replace(with_snapshot, rollback=VolumeRollback("s1", 1))
    for _ in range(ROUNDS):
        await work_and_die(stage, random.uniform(0, 0.25), back, copied)
        await wait_no_tools(stage)
    stage.want(back, copied)
    await stage.start()
    status = await stage.wait("source", lambda status: status.rollback_counter == 1 and status.size_bytes == 96 * MIB)
    assert [snapshot.state for snapshot in status.snapshots] == [SnapshotState.READY]
    await stage.wait("copied", lambda status: status.size_bytes == 128 * MIB and status.fault is None)
    for name in ("source", "copied"):
        found = await stage.wait_ready(make(name))
        if found.is_dir():
            assert (found / "mark").read_bytes().startswith(mark)
        else:
            await check_disk(found)


async def check_disk(path: Path) -> None:
    def check() -> None:
        done = subprocess.run(
            ["qemu-io", "-r", "-U", "-f", "qcow2", "-c", "read -P 97 0 16M", str(path)], capture_output=True, check=True
        )
        assert b"verification failed" not in done.stdout
        # 3 = clusters that nothing uses: a kill may cost room, never data.
        code = subprocess.run(["qemu-img", "check", "-U", "-q", str(path)], check=False, capture_output=True).returncode
        assert code in (0, 3)

    await asyncio.to_thread(check)
