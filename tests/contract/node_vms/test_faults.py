"""What goes wrong under a running guest: a full disk, a disk that grows, a guest that floods its console."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from eaves.kit import process
from eaves.node.vms.livedisks import MachineDisk
from eaves.testing.vm_host import Console, VmHost

pytestmark = pytest.mark.contract


@pytest.fixture
async def small_disk(host: VmHost) -> AsyncIterator[Path]:
    """A folder on a file system of 80 MiB."""
    folder = host.instance.volumes_dir / "small"
    folder.mkdir()
    await process.run(["mount", "-t", "tmpfs", "-o", "size=80m", "none", str(folder)])
    yield folder
    await host.engine.teardown()
    await process.run(["umount", "--lazy", str(folder)])


async def _make(path: Path, size: str) -> Path:
    await process.run(["qemu-img", "create", "-f", path.suffix[1:], str(path), size])
    return path


async def test_full_disk_pauses_the_guest_until_there_is_room(host: VmHost, small_disk: Path) -> None:
    data = await _make(small_disk / "data.raw", "120M")
    await host.boot(await host.spec(await host.disk(), data))
    async with Console(host.console_path()) as console:
        await console.type("dd if=/dev/urandom of=/tmp/x bs=1M count=20 2>/dev/null; sum=$(md5sum < /tmp/x)\n")
        await console.type(
            "for at in 0 20 40 60 80; do dd if=/tmp/x of=/dev/vdb bs=1M seek=$at conv=fsync 2>/dev/null; done; echo wr''itten\n"
        )
        await host.wait(lambda: host.engine.fault("vm"))
        fault = host.engine.fault("vm")
        assert fault is not None
        assert "disk is full" in fault.message
        status = host.engine.describe("vm")
        assert status is not None
        assert status.paused_reason == "the node's disk is full"
        # A new daemon finds the same.
        await host.restart()
        await host.engine.observe()
        await host.wait(lambda: host.engine.fault("vm"))
        await process.run(["mount", "-o", "remount,size=300m", str(small_disk)])
        await host.wait(lambda: host.engine.fault("vm") is None)
        await console.wait("written")
        same = await console.run(
            'for at in 0 20 40 60 80; do [ "$(dd if=/dev/vdb bs=1M skip=$at count=20 2>/dev/null | md5sum)" = "$sum" ] && echo same; done'
        )
        assert same.split() == ["same"] * 5


@pytest.mark.parametrize("name", ["data.qcow2", "data.raw"])
async def test_disk_grows_under_the_guest(host: VmHost, name: str) -> None:
    data = await _make(host.instance.volumes_dir / name, "8M")
    await host.boot(await host.spec(await host.disk(), data))
    disk = host.engine.disks.find(data)
    assert isinstance(disk, MachineDisk)
    assert host.engine.disks.find(host.instance.volumes_dir / "other.raw") is None
    async with Console(host.console_path()) as console:
        assert (await console.run("cat /sys/block/vdb/size")).strip() == str((8 << 20) // 512)
        await disk.resize(16 << 20)
        assert (await console.run("cat /sys/block/vdb/size")).strip() == str((16 << 20) // 512)


async def test_flood_on_the_console_costs_only_who_does_not_read(host: VmHost) -> None:
    seen = await host.boot(await host.spec())
    async with Console(host.console_path()) as idle, Console(host.console_path()) as console:
        await console.type("yes a flood of words from the guest | head -c 700000; echo; echo the fl''ood is over\n")
        await console.wait("the flood is over")
        memory_kib = await asyncio.to_thread(_load_rss_kib, seen.monitor_pid)
        assert memory_kib < 20 << 10
        await idle.drain()
        assert "the flood is over" not in idle.text, "cut off, because it did not take what came"


def _load_rss_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])
