"""Real guests on real QEMU: every kind of machine boots, is seen as it is, and ends as it was asked to."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path

import pytest

from eaves.kit import process
from eaves.node.desired.secret import Secret, SecretBytes
from eaves.node.desired.vm_model import CloudInit, Datasource, DeviceModel, Firmware
from eaves.node.observed_vm import AgentState
from eaves.node.vms import balloon
from eaves.node.vms.confining import want_user
from eaves.node.vms.errors import VmError
from eaves.node.workloads.abc import WorkloadState
from eaves.node.workloads.errors import StartError
from eaves.testing.vm_host import BOOT_LIMIT_S, Console, VmHost

pytestmark = pytest.mark.contract


async def test_guest_boots_tells_of_itself_and_powers_off_when_asked(host: VmHost) -> None:
    seen = await host.boot(await host.spec(vcpus=2))
    assert seen.state is WorkloadState.RUNNING
    async with Console(host.console_path()) as console:
        assert (await console.run("nproc")).strip() == "2"
        assert "org.qemu.guest_agent.0" in await console.run("cat /sys/class/virtio-ports/*/name")
        await console.run("hostname erp")
    status = host.engine.describe("vm")
    assert status is not None
    assert (status.machine, status.firmware, status.has_serial_console) == ("q35", "BIOS", True)
    usage = await host.engine.usage(seen)
    assert usage is not None
    assert usage.cpu_ns > 0
    assert 32 << 20 < usage.memory_bytes < 1 << 30
    await host.wait(lambda: _agent(host) is AgentState.CONNECTED)
    ended = await host.engine.stop("vm", 60)
    assert ended is not None
    assert (ended.state, ended.exit_code) == (WorkloadState.ENDED, 0)
    assert "power button" in host.log_text()
    again = await host.engine.start(ended)
    assert again.pid not in (0, seen.pid)
    assert again.workload_id == seen.workload_id


async def test_uefi_guest_with_tpm_screen_and_first_boot_data(host: VmHost) -> None:
    cloud_init = CloudInit(Datasource.NO_CLOUD, "i-1", "erp", SecretBytes(b"#cloud-config\npassword: hunter2\n"))
    spec = await host.spec(
        await host.disk("root.qcow2"),
        app={"memory_bytes": 256 << 20},
        firmware=Firmware.UEFI,
        has_vtpm=True,
        has_vnc=True,
        vnc_password=Secret("hunter2"),
        cloud_init=cloud_init,
    )
    seen = await host.boot(spec)
    folder = host.instance.apps_run_dir / "vm" / "vm"
    async with Console(host.console_path()) as console:
        assert "efi" in await console.run("ls /sys/firmware")
        assert "tpm0" in await console.run("ls /sys/class/tpm")
        assert "hunter2" in await console.run("mount -o ro /dev/vdb /mnt && cat /mnt/user-data")
    reader, writer = await asyncio.open_unix_connection(folder / "vnc.sock")
    assert (await reader.readexactly(12)).startswith(b"RFB 003.")
    writer.close()
    command = await asyncio.to_thread(Path(f"/proc/{seen.pid}/cmdline").read_bytes)
    assert b"hunter2" not in command
    kept = {path.name for path in (host.instance.apps_dir / "vm" / "vm").iterdir()}
    assert kept == {"vm.json", "nvram-0.0.qcow2", "tpm-0.0"}
    assert any((host.instance.apps_dir / "vm" / "vm" / "tpm-0.0").iterdir()), "the TPM has a state"
    await host.engine.remove("vm")
    assert not folder.exists()
    assert (host.instance.apps_dir / "vm" / "vm" / "nvram-0.0.qcow2").exists(), "the same root keeps its variables"


async def test_a_guest_that_breaks_out_of_qemu_is_nobody(host: VmHost) -> None:
    """What the kernel says of QEMU and of the TPM's program beside it, and whether disks still can be worked on."""
    root, data = await host.disk("root.qcow2"), host.instance.volumes_dir / "data.qcow2"
    await process.run(["qemu-img", "create", "-q", "-f", "qcow2", str(data), "8M"])
    seen = await host.boot(await host.spec(root, data, has_vtpm=True))
    facts = await asyncio.to_thread(_load_facts, seen.pid)
    user = str(want_user("vm"))
    assert (facts["Uid"], facts["Gid"], facts["Groups"]) == ([user] * 4, [user] * 4, [user])
    powers = {name: facts[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")}
    assert all(found == ["0" * 16] for found in powers.values()), powers
    assert (facts["NoNewPrivs"], facts["Seccomp"]) == (["1"], ["2"])
    (tpm,) = [pid for pid in _list_group(seen.pid) if (await _name(pid)) == "swtpm"]
    helper = await asyncio.to_thread(_load_facts, tpm)
    assert (helper["CapEff"], helper["CapBnd"], helper["NoNewPrivs"]) == (["0" * 16], ["0" * 16], ["1"])
    await host.restart()
    assert await host.engine.observe() == {"vm": seen}
    disk = host.engine.disks.find(data)
    assert disk is not None
    await disk.take_snapshot("before")
    await disk.resize(16 << 20)
    await disk.drop_snapshot("before")
    ended = await host.engine.stop("vm", 60)
    assert ended is not None
    assert ended.exit_code == 0


def _load_facts(pid: int) -> dict[str, list[str]]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: rest.split() for name, _, rest in (line.partition(":") for line in lines)}


def _list_group(pid: int) -> list[int]:
    """The processes of the same session: a monitor and what it started."""
    session = os.getsid(pid)
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdecimal() and os.getsid(int(entry.name)) == session:
                found.append(int(entry.name))
    return found


async def _name(pid: int) -> str:
    return (await asyncio.to_thread(Path(f"/proc/{pid}/comm").read_text)).strip()


async def test_old_guest_has_ide_disks(host: VmHost) -> None:
    blank = host.instance.volumes_dir / "data.raw"
    await process.run(["qemu-img", "create", "-f", "raw", str(blank), "8M"])
    spec = await host.spec(await host.disk(), blank, device_model=DeviceModel.LEGACY, has_guest_agent=False)
    await host.boot(spec)
    async with Console(host.console_path()) as console:
        assert (await console.run("ls /dev/sd?")).split() == ["/dev/sda", "/dev/sdb"]
        # Which of them is found first is the kernel's affair.
        sizes = (await console.run("cat /sys/block/sd?/size")).split()
        assert str((8 << 20) // 512) in sizes
    ended = await host.engine.stop("vm", 60)
    assert ended is not None
    assert ended.exit_code == 0


async def test_guest_that_does_not_listen_is_switched_off_after_its_grace(host: VmHost) -> None:
    await host.boot(await host.spec(has_guest_agent=False))
    async with Console(host.console_path()) as console:
        await console.run("killall acpid")
    ended = await host.engine.stop("vm", 2)
    assert ended is not None
    assert ended.state is WorkloadState.ENDED


async def test_daemons_come_and_go_and_the_guest_runs_on(host: VmHost) -> None:
    seen = await host.boot(await host.spec())
    await host.restart()
    assert await host.engine.observe() == {"vm": seen}
    async with Console(host.console_path()) as console:
        await console.wait("guest is ready")
        await console.run("echo it goes on")
    await host.engine.stop("vm", 60)


async def test_end_that_comes_while_no_daemon_runs_is_known(host: VmHost) -> None:
    seen = await host.boot(await host.spec())
    await host.restart()
    async with Console(host.console_path()) as console:
        await console.type("poweroff -f\n")
        assert not await console.drain()
    await _wait_gone(seen.monitor_pid)
    ended = await host.engine.observe_one("vm")
    assert ended is not None
    assert (ended.state, ended.exit_code, ended.is_lost) == (WorkloadState.ENDED, 0, False)


async def test_killed_machine_tells_the_signal(host: VmHost) -> None:
    seen = await host.engine.create(await host.spec())
    os.kill(seen.pid, signal.SIGKILL)
    ended = await host.engine.wait_end(seen)
    assert ended is not None
    assert (ended.state, ended.exit_code) == (WorkloadState.ENDED, 137)


async def test_guest_that_panics_has_crashed(host: VmHost) -> None:
    seen = await host.boot(await host.spec())
    async with Console(host.console_path()) as console:
        await console.type("echo c > /proc/sysrq-trigger\n")
        ended = await host.engine.wait_end(seen)
    assert ended is not None
    assert (ended.exit_code, ended.reason) == (134, "GuestPanicked")
    assert "Kernel panic" in host.log_text()


async def test_monitor_that_is_killed_is_replaced(host: VmHost) -> None:
    seen = await host.boot(await host.spec())
    end = asyncio.create_task(host.engine.wait_end(seen))
    host.changes.clear()
    os.kill(seen.monitor_pid, signal.SIGKILL)
    await host.wait(lambda: host.changes)
    found = await host.engine.observe_one("vm")
    assert found is not None
    assert found.pid == seen.pid
    assert found.monitor_pid not in (0, seen.monitor_pid)
    async with Console(host.console_path()) as console:
        await console.type("\n")
        assert "here again" in await console.run("echo here again")
        await console.type("poweroff -f\n")
        ended = await end
    assert ended is not None
    assert (ended.state, ended.exit_code) == (WorkloadState.ENDED, 0)
    assert "here again" in host.log_text()


async def test_machine_that_cannot_start_says_why_and_leaves_nothing(host: VmHost) -> None:
    spec = await host.spec(host.instance.volumes_dir / "missing.raw")
    with pytest.raises(StartError, match="No such file"):
        await host.engine.create(spec)
    seen = await host.engine.observe_one("vm")
    assert seen is None or seen.pid == 0


async def test_there_is_never_a_second_one_of_the_same(host: VmHost) -> None:
    spec = await host.spec()
    seen = await host.engine.create(spec)
    assert await host.engine.start(seen) == seen
    await host.restart()
    await host.spec(host.instance.volumes_dir / "root.raw")
    assert (await host.engine.create(spec)).pid != seen.pid, "made anew, the former one ended"
    with pytest.raises(ProcessLookupError):
        os.kill(seen.pid, 0)


def _agent(host: VmHost) -> AgentState | None:
    status = host.engine.describe("vm")
    return status.agent if status is not None else None


async def _wait_gone(pid: int) -> None:
    from eaves.node import pids

    async with asyncio.timeout(60):
        await pids.wait_exit(pid)


async def test_dedicated_processors_belong_to_one_machine(host: VmHost) -> None:
    everything = os.sched_getaffinity(0)
    seen = await host.boot(await host.spec(dedicated_cpus=True))
    mine = os.sched_getaffinity(seen.pid)
    assert len(mine) == 1
    assert min(everything) not in mine
    await host.restart()
    crowd = len(everything) - 1
    other = await host.spec(await host.disk("other.raw"), app_id="other", dedicated_cpus=True, vcpus=crowd)
    with pytest.raises(VmError) as caught:
        await host.engine.create(other)
    assert caught.value.code == "DedicatedCpusMissing"


async def test_a_machine_lends_memory_while_the_node_is_short(host: VmHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(balloon, "EVERY_S", 0.2)
    memory = balloon.NodeMemory(1 << 30, 0)
    monkeypatch.setattr(balloon, "load_memory", lambda: memory)
    await host.boot(await host.spec(balloon_min_bytes=96 << 20))
    session = host.engine._sessions["vm"]

    async def wait_for(size_bytes: int) -> None:
        async with asyncio.timeout(BOOT_LIMIT_S):
            # The guest takes its time, and its event goes to the engine.
            while (await session.command("query-balloon"))["actual"] != size_bytes:  # noqa: ASYNC110
                await asyncio.sleep(0.1)

    await wait_for(96 << 20)
    memory = balloon.NodeMemory(1 << 30, 1 << 30)
    await wait_for(128 << 20)
