"""Volumes where the file system has project quotas."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from eaves.kit import process
from eaves.node.desired.model import DesiredVolume, VolumeRollback, VolumeSnapshotWish
from eaves.node.observed import SnapshotState
from eaves.node.volumes import quota
from eaves.testing.volume_stage import VolumeStage

MIB = 1 << 20
WISH = DesiredVolume("data", 0, "data", "", 16 * MIB)


@pytest.fixture
async def stage(disk: Path) -> AsyncIterator[VolumeStage]:
    async with VolumeStage(disk) as found:
        yield found


async def fill(path: Path) -> int:
    """Write until there is no room, as a container does: without the capability for which quotas are no limit. The bytes there were."""
    argv = [
        "setpriv",
        "--bounding-set=-sys_resource",
        "--",
        "dd",
        "if=/dev/zero",
        f"of={path}",
        "bs=4096",
        "count=65536",
    ]
    done = await process.run(argv, check=False, timeout_s=120)
    assert b"quota exceeded" in done.stderr or b"No space left" in done.stderr, done.stderr
    return (await asyncio.to_thread(path.stat)).st_size


async def test_project_quota_bounds_a_volume_and_grows_with_it(stage: VolumeStage) -> None:
    stage.apply(WISH)
    path = await stage.wait_ready(WISH)
    status = await stage.wait("data", lambda status: bool(status.enforcement))
    assert (status.enforcement, status.size_bytes) == ("Quota", 16 * MIB)
    assert 15 * MIB < await fill(path / "big") <= 16 * MIB
    full = await stage.wait("data", lambda status: status.fault is not None)
    assert full.fault is not None
    assert full.fault.code == "VolumeFull"
    assert full.used_bytes > 15 * MIB
    stage.apply(msgspec.structs.replace(WISH, size_bytes=32 * MIB))
    await stage.wait("data", lambda status: status.size_bytes == 32 * MIB)
    assert 15 * MIB < await fill(path / "more") <= 16 * MIB


async def test_volumes_that_are_made_at_once_have_quotas_of_their_own(stage: VolumeStage) -> None:
    wishes = [msgspec.structs.replace(WISH, id=f"data{number}") for number in range(16)]
    stage.apply(*wishes)
    paths = [await stage.wait_ready(wish) for wish in wishes]
    assert len({quota.load_project(path) for path in paths}) == len(paths)
    for path in paths[:2]:
        assert await fill(path / "big") > 15 * MIB


async def test_what_is_gone_back_to_has_the_quota_too(stage: VolumeStage) -> None:
    stage.apply(WISH)
    path = await stage.wait_ready(WISH)
    (path / "file").write_text("a")
    wish = msgspec.structs.replace(WISH, snapshots=(VolumeSnapshotWish("s1", "daily"),))
    stage.apply(wish)
    await stage.wait("data", lambda s: bool(s.snapshots) and s.snapshots[0].state is SnapshotState.READY)
    (path / "file").write_text("b")
    stage.apply(msgspec.structs.replace(wish, rollback=VolumeRollback("s1", 1)))
    status = await stage.wait("data", lambda status: status.rollback_counter == 1)
    path = await stage.wait_ready(wish)
    assert (path / "file").read_text() == "a"
    assert status.enforcement == "Quota"
    assert await fill(path / "big") <= 16 * MIB
