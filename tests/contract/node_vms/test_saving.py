"""Machines that go on from where they were saved, on real QEMU; what is saved is of one moment, and a daemon may die at any of it."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from eaves.kit import process
from eaves.node.desired.vm_model import Firmware
from eaves.node.observed_vm import AgentState
from eaves.node.vms import agent
from eaves.node.vms.errors import QmpError
from eaves.node.vms.model import VmSpec
from eaves.node.vms.saved import MACHINE, MEMORY, SavedMachine
from eaves.node.volumes import disk
from eaves.node.workloads.abc import Seen, WorkloadState
from eaves.testing import guest_counter
from eaves.testing.guest_image import PROMPT
from eaves.testing.vm_host import Console, VmHost

pytestmark = pytest.mark.contract

ID = "s1"
NAME = disk.name_snapshot(ID)


async def boot(host: VmHost, **hardware: Any) -> tuple[VmSpec, list[Path]]:
    """A machine of two disks that counts in memory."""
    disks = [await host.disk("root.qcow2"), await host.disk("data.qcow2")]
    memory = {"memory_bytes": 256 << 20} if hardware else {}
    spec = await host.spec(*disks, app=memory, **hardware)
    await host.boot(spec)
    await ask(host, guest_counter.START)
    return spec, disks


async def ask(host: VmHost, command: str) -> str:
    async with Console(host.console_path()) as console:
        await console.type("\n")
        await console.wait(PROMPT)
        return await console.run(command)


async def count(host: VmHost, beyond: int = 0) -> int:
    """The program's number, once it is larger than that."""
    while (number := guest_counter.parse(await ask(host, guest_counter.look(beyond)))) is None:
        pass
    return number


async def save(host: VmHost, disks: list[Path], folder: Path) -> None:
    await asyncio.to_thread(folder.mkdir)
    machine = host.engine.disks.find_machine(disks)
    assert machine is not None
    await host.wait(lambda: host.engine.describe("vm"))
    await machine.save(disks, NAME, folder)


async def go_back(host: VmHost, disks: list[Path], folder: Path) -> Seen:
    return await host.engine.start(await order_back(host, disks, folder))


async def order_back(host: VmHost, disks: list[Path], folder: Path) -> Seen:
    """The machine has ended; its next start goes on from what was saved."""
    ended = await host.engine.stop("vm", 0)
    assert ended is not None
    for path in disks:
        await disk.roll_back(path, ID)
    await host.engine.disks.want_resumed("vm", folder)
    return ended


async def list_snapshots(path: Path) -> list[str]:
    return list((await disk.observe_disk(path, "qcow2")).snapshots)


@pytest.mark.parametrize("firmware", [Firmware.BIOS, Firmware.UEFI])
async def test_machine_goes_on_where_it_was_saved(host: VmHost, tmp_path: Path, firmware: Firmware) -> None:
    hardware = {"firmware": Firmware.UEFI, "has_vtpm": True, "has_vnc": True} if firmware is Firmware.UEFI else {}
    _, disks = await boot(host, **hardware)
    await ask(host, "echo first > /dev/vdb; sync")
    before = await count(host, beyond=5)
    await save(host, disks, tmp_path / "saved")
    left_at = await count(host) + 60
    await ask(host, "echo later > /dev/vdb; sync")
    await count(host, beyond=left_at)
    await go_back(host, disks, tmp_path / "saved")
    found = await count(host)
    assert before <= found < left_at, "the program of then runs on, from its number of then"
    assert "first" in await ask(host, "head -c 5 /dev/vdb")
    await count(host, beyond=found)
    if firmware is Firmware.UEFI:
        assert "tpm0" in await ask(host, "ls /sys/class/tpm")
        names = {path.name for path in (tmp_path / "saved").iterdir()}
        assert names == {"memory", "machine.json", "nvram.qcow2", "tpm"}
    status = host.engine.describe("vm")
    assert status is not None
    assert "went on from its snapshot" in status.note


async def test_machine_type_is_pinned_to_the_version_of_then(host: VmHost, tmp_path: Path) -> None:
    _, disks = await boot(host)
    await save(host, disks, tmp_path / "saved")
    saved = msgspec.json.decode((tmp_path / "saved" / MACHINE).read_bytes(), type=SavedMachine)
    assert saved.argv[saved.argv.index("-machine") + 1].startswith("pc-q35-")
    assert (tmp_path / "saved" / MEMORY).stat().st_mode & 0o077 == 0, "it holds all secrets of the guest"


async def test_memory_that_cannot_be_loaded_lets_it_boot_and_says_why(host: VmHost, tmp_path: Path) -> None:
    _, disks = await boot(host)
    await ask(host, "echo first > /dev/vdb; sync")
    await save(host, disks, tmp_path / "saved")
    await ask(host, "echo later > /dev/vdb; sync")
    with (tmp_path / "saved" / MEMORY).open("r+b") as file:
        file.truncate(1 << 20)
    seen = await go_back(host, disks, tmp_path / "saved")
    assert seen.state is WorkloadState.RUNNING
    assert "first" in await ask(host, "head -c 5 /dev/vdb; ls /tmp/count")
    await host.wait(lambda: host.engine.describe("vm"))
    status = host.engine.describe("vm")
    assert status is not None
    assert "booted from its snapshot's disks, without the memory" in status.note
    assert "load of migration failed" in status.note


async def test_a_snapshot_that_fails_leaves_nothing_and_the_guest_runs_on(host: VmHost, tmp_path: Path) -> None:
    _, disks = await boot(host)
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / MEMORY).mkdir()
    machine = host.engine.disks.find_machine(disks)
    assert machine is not None
    with pytest.raises(OSError, match="exists"):
        await machine.save(disks, NAME, tmp_path / "saved")
    assert [await list_snapshots(path) for path in disks] == [[], []]
    await count(host, beyond=await count(host))


async def test_snapshots_of_two_disks_are_taken_together_or_not_at_all(host: VmHost) -> None:
    _, disks = await boot(host)
    machine = host.engine.disks.find_machine(disks)
    assert machine is not None
    await machine.take_snapshots(disks, NAME)
    await host.engine.disks.find(disks[1]).drop_snapshot(NAME)  # type: ignore[union-attr]  # it runs
    with pytest.raises(QmpError):
        await machine.take_snapshots(list(reversed(disks)), NAME)
    assert [await list_snapshots(path) for path in disks] == [[ID], []]


async def test_file_systems_are_at_rest_in_a_snapshot(host: VmHost) -> None:
    root, data = await host.disk("root.qcow2"), host.instance.volumes_dir / "data.qcow2"
    raw = data.with_suffix(".ext4")
    await process.run(["truncate", "-s", "32M", str(raw)])
    await process.run(["mkfs.ext4", "-q", str(raw)])
    await process.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(data)])
    await host.boot(await host.spec(root, data))
    await host.wait(lambda: (status := host.engine.describe("vm")) and status.agent is AgentState.CONNECTED)
    await ask(host, "mount -t ext4 -o commit=600 /dev/vdb /mnt && echo kept > /mnt/file")
    machine = host.engine.disks.find_machine([root, data])
    assert machine is not None
    await machine.take_snapshots([root, data], NAME)
    assert "written" in await ask(host, "echo written > /mnt/other && cat /mnt/other"), "writers go on"
    await host.engine.stop("vm", 0)
    await disk.roll_back(data, ID)
    await process.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", str(data), str(raw)])
    found = await process.run(["debugfs", "-R", "cat /file", str(raw)])
    assert found.text == "kept\n", "what was in the guest's cache is in the snapshot"


async def test_file_systems_that_a_dead_daemon_left_frozen_are_let_go(host: VmHost) -> None:
    await host.boot(await host.spec(await host.disk("root.qcow2")))
    await host.wait(lambda: (status := host.engine.describe("vm")) and status.agent is AgentState.CONNECTED)
    path = host.instance.apps_run_dir / "vm" / "vm" / "agent.sock"
    await agent.freeze(path)
    await host.restart()
    await host.engine.observe()
    spec = await host.spec(host.instance.volumes_dir / "root.qcow2")
    assert spec.app_id == "vm"
    await host.wait(lambda: (status := host.engine.describe("vm")) and status.agent is AgentState.CONNECTED)
    async with agent.GuestAgent(path) as found:
        assert await found.run("guest-fsfreeze-status") == "thawed"


async def test_a_daemon_killed_while_it_saves_leaves_a_machine_that_runs(host: VmHost, tmp_path: Path) -> None:
    _, disks = await boot(host)
    for number in range(4):
        before = await count(host)
        saving_task = asyncio.create_task(save(host, disks, tmp_path / f"saved{number}"))
        await asyncio.sleep(random.uniform(0, 0.4))
        await host.abandon(saving_task)
        await host.engine.observe()
        await count(host, beyond=before)
        for path in disks:
            live = host.engine.disks.find(path)
            assert live is not None
            if ID in await list_snapshots(path):
                await live.drop_snapshot(NAME)


async def test_a_daemon_killed_while_it_loads_lets_it_go_on_all_the_same(host: VmHost, tmp_path: Path) -> None:
    spec, disks = await boot(host)
    await save(host, disks, tmp_path / "saved")
    saved_at = await count(host)
    for _ in range(3):
        # A daemon killed before the order is there would boot the machine, where nobody has started the program.
        ended = await order_back(host, disks, tmp_path / "saved")
        loading = asyncio.create_task(host.engine.start(ended))
        await asyncio.sleep(random.uniform(0.1, 0.9))
        await host.abandon(loading)
        assert (await host.spec(*disks)).digest == spec.digest
        assert await keep(host) < saved_at + 300


async def count_in_the_end(host: VmHost) -> int:
    """As somebody at the console who presses Enter again: what is typed while the memory is loaded is lost with the serial port's state."""
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(20):
                return await count(host)


async def keep(host: VmHost) -> int:
    """Start the machine as often as it ends, as its keeper would, until it counts; answers the number."""
    while True:
        seen = (await host.engine.observe())["vm"]
        if seen.state is not WorkloadState.RUNNING:
            seen = await host.engine.start(seen)
        ends = asyncio.ensure_future(host.engine.wait_end(seen))
        counts = asyncio.ensure_future(count_in_the_end(host))
        await asyncio.wait((ends, counts), return_when=asyncio.FIRST_COMPLETED)
        if counts.done() and counts.exception() is None:
            ends.cancel()
            return counts.result()
        await asyncio.wait((ends, counts))
        assert counts.exception() is not None


async def reboot(host: VmHost, spec: VmSpec, disks: list[Path]) -> Seen:
    """The node's run-time files go, another daemon starts, and its keeper wants the machine."""
    await asyncio.to_thread(shutil.rmtree, host.instance.apps_run_dir / "vm")
    await host.restart()
    assert (await host.spec(*disks)).digest == spec.digest
    seen = (await host.engine.observe())["vm"]
    assert seen.state is WorkloadState.CREATED
    return await host.engine.start(seen)


async def test_a_suspended_machine_goes_on_after_the_nodes_restart(host: VmHost) -> None:
    spec, disks = await boot(host)
    await host.wait(lambda: host.engine.describe("vm"))
    before = await count(host)
    await host.engine.suspend("vm")
    kept = disks[0].with_name("root.snapshots") / "suspended"
    assert {path.name for path in kept.iterdir()} == {"memory", "machine.json"}
    await reboot(host, spec, disks)
    assert before <= await count(host) < before + 100
    await host.wait(lambda: host.engine.describe("vm"))
    status = host.engine.describe("vm")
    assert status is not None
    assert "went on where it was before the node's restart" in status.note
    assert not kept.exists()


async def test_memory_that_does_not_fit_its_disks_any_more_is_not_loaded(host: VmHost) -> None:
    spec, disks = await boot(host)
    await host.wait(lambda: host.engine.describe("vm"))
    await host.engine.suspend("vm")
    await process.run(["qemu-img", "resize", "-q", "-f", "qcow2", str(disks[1]), "128M"])
    await reboot(host, spec, disks)
    assert "No such file" in await ask(host, "ls /tmp/count")
    await host.wait(lambda: host.engine.describe("vm"))
    status = host.engine.describe("vm")
    assert status is not None
    assert "it booted, instead of going on where it was: its disk data.qcow2 was changed since" in status.note
