"""What a guest finds of the hardware that was asked for, on real QEMU: boot order, a TPM that keeps, a clock that follows, bounds."""

from __future__ import annotations

import asyncio
import platform
import re
import time
from pathlib import Path

import msgspec
import pytest

from eaves.kit import process
from eaves.node.desired.secret import SecretBytes
from eaves.node.desired.vm_model import ClockBase, CloudInit, Datasource, Firmware
from eaves.node.observed_vm import AgentState
from eaves.node.vms.model import VmSpec
from eaves.node.workloads.abc import WorkloadState
from eaves.testing.guest_image import PROMPT
from eaves.testing.vm_host import BOOT_LIMIT_S, Console, VmHost

pytestmark = [pytest.mark.contract, pytest.mark.soak]

STOOD_STILL_S = 6
CLOCK_STEP_S = 2
"""The hardware clock counts seconds, from its own start on."""
_NV_INDEX = "01500001"
_DEFINE_SPACE = (
    f"8002 0000002d 0000012a 40000001 00000009 40000009 0000 00 0000 0000 000e {_NV_INDEX} 000b 00060006 0000 0008"
)
"""TPM2_NV_DefineSpace of eight bytes for the owner (TPM 2.0 Library, part 3, section 31)."""
_READ_PUBLIC = f"8001 0000000e 00000169 {_NV_INDEX}"
_TPM_SUCCESS = "00000000"


@pytest.mark.parametrize("firmware", [Firmware.BIOS, Firmware.UEFI])
async def test_it_boots_from_the_disk_that_comes_first_in_the_boot_order(host: VmHost, firmware: Firmware) -> None:
    """From the second one here, of which the kernel's command line tells."""
    first, second = await host.disk("first.raw"), await host.disk("second.raw")
    await _mark(second, "booted_from=second")
    spec = await host.spec(first, second, app={"memory_bytes": 192 << 20}, firmware=firmware)
    assert "booted_from" not in await _boot_and_ask(host, spec, "cat /proc/cmdline")
    await host.engine.remove("vm")
    disks = tuple(msgspec.structs.replace(disk, boot_index=3 - disk.boot_index) for disk in spec.disks)
    spec = msgspec.structs.replace(spec, disks=disks)
    assert "booted_from=second" in await _boot_and_ask(host, spec, "cat /proc/cmdline")


async def _mark(disk: Path, word: str) -> None:
    """Add a word to the kernel's command line in both boot loaders' files, which say as much in as many bytes."""
    content = await asyncio.to_thread(disk.read_bytes)
    old, new = b"quiet loglevel=4 panic=0", b"quiet " + word.encode()
    assert len(new) <= len(old)
    assert content.count(old) == 2
    await asyncio.to_thread(disk.write_bytes, content.replace(old, new.ljust(len(old))))


async def _boot_and_ask(host: VmHost, spec: VmSpec, command: str) -> str:
    await host.boot(spec)
    async with Console(host.console_path()) as console:
        await console.wait("guest is ready")
        return await console.run(command)


async def test_the_tpm_keeps_what_it_was_given(host: VmHost) -> None:
    spec = await host.spec(has_vtpm=True, firmware=Firmware.UEFI, app={"memory_bytes": 192 << 20})
    await host.boot(spec)
    async with Console(host.console_path()) as console:
        assert await _ask_tpm(console, _READ_PUBLIC) != _TPM_SUCCESS
        assert await _ask_tpm(console, _DEFINE_SPACE) == _TPM_SUCCESS
        assert await _ask_tpm(console, _READ_PUBLIC) == _TPM_SUCCESS
    ended = await host.engine.stop("vm", 60)
    assert ended is not None
    await host.engine.start(ended)
    async with Console(host.console_path()) as console:
        await console.wait(PROMPT)
        assert await _ask_tpm(console, _READ_PUBLIC) == _TPM_SUCCESS


async def _ask_tpm(console: Console, command: str) -> str:
    """The response code, in hexadecimal digits."""
    octal = "".join(f"\\{byte:03o}" for byte in bytes.fromhex(command))
    ask = f"(exec 3<>/dev/tpm0; printf '{octal}' >&3; dd bs=4096 count=1 <&3 | od -An -v -tx1 -w4096)"
    found = re.search(r"\b800[12][0-9a-f]{8}([0-9a-f]{8})", (shown := await console.run(ask)).replace(" ", ""))
    assert found, shown
    return found.group(1)


@pytest.mark.parametrize(("base", "zone_s"), [(ClockBase.UTC, 0), (ClockBase.LOCAL_TIME, 3 * 3600)])
async def test_the_clock_follows_the_host_while_the_guest_stands_still(
    host: VmHost, base: ClockBase, zone_s: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "EAST-3")
    await host.boot(await host.spec(clock_base=base))
    await _stand_still(host)
    async with Console(host.console_path()) as console:
        before = time.time() + zone_s
        shown = int((await console.run("cat /sys/class/rtc/rtc0/since_epoch")).split()[-1])
        assert before - CLOCK_STEP_S <= shown <= time.time() + zone_s + CLOCK_STEP_S


async def test_the_guest_is_told_the_time_when_it_goes_on(host: VmHost) -> None:
    """By its agent; what it counts by itself stood still."""
    await host.boot(await host.spec())
    await host.wait(lambda: _agent(host) is AgentState.CONNECTED)
    await _stand_still(host)
    async with Console(host.console_path()) as console, asyncio.timeout(BOOT_LIMIT_S):
        while not await _is_now(console):  # noqa: ASYNC110 - the guest tells no one that its clock was set
            await asyncio.sleep(0.5)


async def _stand_still(host: VmHost) -> None:
    session = host.engine._sessions["vm"]
    await session.command("stop")
    # What is shown is that time passes.
    await asyncio.sleep(STOOD_STILL_S)
    await session.command("cont")


async def _is_now(console: Console) -> bool:
    before = time.time()
    shown = int((await console.run("date +%s")).split()[-1])
    return before - 2 <= shown <= time.time() + 2


def _agent(host: VmHost) -> AgentState | None:
    status = host.engine.describe("vm")
    return status.agent if status is not None else None


async def test_a_guest_that_hears_no_power_button_ends_by_its_agent(host: VmHost) -> None:
    await host.boot(await host.spec())
    await host.wait(lambda: _agent(host) is AgentState.CONNECTED)
    async with Console(host.console_path()) as console:
        script = r"#!/bin/sh\necho told by the agent > /dev/console\npoweroff -f\n"
        await console.run(f"killall acpid; printf '{script}' > /sbin/shutdown; chmod 755 /sbin/shutdown")
        ended = await host.engine.stop("vm", BOOT_LIMIT_S)
    assert ended is not None
    assert (ended.state, ended.exit_code) == (WorkloadState.ENDED, 0)
    assert "told by the agent" in host.log_text()


async def test_processors_are_bounded_by_the_apps_limit(host: VmHost) -> None:
    """A guest that works without a pause takes a quarter of a processor, and not a whole one."""
    seen = await host.boot(await host.spec(app={"cpu_millis": 250}))
    async with Console(host.console_path()) as console:
        await console.type("while :; do :; done\n")
        used, at = await _cpu_s(host, seen), time.monotonic()
        await asyncio.sleep(4)
        share = (await _cpu_s(host, seen) - used) / (time.monotonic() - at)
    assert share < 0.4, f"it took {share:.2f} of a processor"


async def _cpu_s(host: VmHost, seen: object) -> float:
    usage = await host.engine.usage(seen)  # type: ignore[arg-type]
    assert usage is not None
    return usage.cpu_ns / 1e9


async def test_firmware_of_arm_starts_on_a_virt_machine(host: VmHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """With all that a machine may have: QEMU takes the whole command line, and the firmware starts its shell, since the disk is empty."""
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    blank = host.instance.volumes_dir / "blank.qcow2"
    await process.run(["qemu-img", "create", "-q", "-f", "qcow2", str(blank), "8M"])
    spec = await host.spec(
        blank,
        app={"memory_bytes": 256 << 20},
        vcpus=2,
        firmware=Firmware.UEFI,
        has_vtpm=True,
        has_vnc=True,
        balloon_min_bytes=128 << 20,
        cloud_init=CloudInit(Datasource.NO_CLOUD, "i-1", "erp", SecretBytes(b"#cloud-config\n")),
    )
    await host.engine.create(spec)
    async with Console(host.console_path()) as console:
        await console.wait("Shell>")
    status = host.engine.describe("vm")
    assert status is not None
    assert (status.machine, status.firmware, status.has_vtpm) == ("virt", "UEFI", True)
    ended = await host.engine.stop("vm", 0)
    assert ended is not None
    assert ended.state is WorkloadState.ENDED
