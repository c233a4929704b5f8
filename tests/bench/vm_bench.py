"""What a virtual machine costs above a bare QEMU that boots the same guest, in turns on the same machine.

``make bench BENCH="vm_start vm_overhead"`` as root. ``vm_start``: from the wish to the guest's own word that it is up. ``vm_overhead``:
memory (proportional set size, so that shared pages count once) of QEMU, its monitor and the daemon's part, less that of the bare one.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from eaves.node.vms.model import VmSpec
from eaves.testing.guest_image import READY
from eaves.testing.vm_host import Console, VmHost
from tests.bench.results import Result

START_GOAL_S = 0.3
OVERHEAD_GOAL_MIB = 20.0
RUNS = 7
MACHINES = 3
_MEMORY_MIB = 128


class BareQemu:
    """What a person would type for the same guest: same accelerator, disk and serial line, nothing around it."""

    def __init__(self, qemu: str, accelerator: str, disk: Path, folder: Path) -> None:
        self._socket = folder / "bare.sock"
        self._argv = [qemu, "-nodefaults", "-machine", "q35", "-accel", accelerator, "-m", str(_MEMORY_MIB)]
        self._argv += ["-cpu", "max", "-display", "none", "-drive", f"file={disk},format=raw,if=virtio"]
        self._argv += ["-serial", f"unix:{self._socket},server=on,wait=off"]

    async def __aenter__(self) -> BareQemu:
        self._socket.unlink(missing_ok=True)
        self.process = await asyncio.create_subprocess_exec(*self._argv)
        while not self._socket.exists():  # noqa: ASYNC110 - what is measured is when it is there
            await asyncio.sleep(0.002)
        async with Console(self._socket) as console:
            await console.wait(READY)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.process.kill()
        await self.process.wait()


async def measure_start(host: VmHost, spec: VmSpec) -> float:
    started = time.perf_counter()
    await host.engine.create(spec)
    async with Console(host.console_path()) as console:
        await console.wait(READY)
    took_s = time.perf_counter() - started
    await host.engine.remove(spec.app_id)
    return took_s


async def measure_bare_start(bare: BareQemu) -> float:
    started = time.perf_counter()
    async with bare:
        return time.perf_counter() - started


async def measure_starts(runs: int) -> tuple[list[float], list[float]]:
    found: tuple[list[float], list[float]] = [], []
    folder = Path(tempfile.mkdtemp(prefix="eaves-bench-"))
    async with VmHost(folder) as host:
        disk = await host.disk()
        spec = await host.spec(disk)
        await measure_start(host, spec)
        bare = want_bare(host, disk, folder)
        for _ in range(runs):
            found[0].append(await measure_start(host, spec))
            found[1].append(await measure_bare_start(bare))
    shutil.rmtree(folder, ignore_errors=True)
    return found


async def measure_memory() -> tuple[list[float], list[float], float]:
    """MiB of QEMU with its monitor, of bare ones, and what the daemon grew by for each machine."""
    folder = Path(tempfile.mkdtemp(prefix="eaves-bench-"))
    async with VmHost(folder) as host:
        before = load_pss_mib(os.getpid())
        ours, bare = [], []
        for number in range(MACHINES):
            disk = await host.disk(f"root{number}.raw")
            seen = await host.boot(await host.spec(disk, app_id=f"vm{number}"))
            await host.wait(lambda: host.changes)
            ours.append(load_pss_mib(seen.pid) + load_pss_mib(seen.monitor_pid))
        grown = (load_pss_mib(os.getpid()) - before) / MACHINES
        for number in range(MACHINES):
            await host.engine.remove(f"vm{number}")
        for number in range(MACHINES):
            async with want_bare(host, host.instance.volumes_dir / f"root{number}.raw", folder) as found:
                bare.append(load_pss_mib(found.process.pid))
    shutil.rmtree(folder, ignore_errors=True)
    return ours, bare, grown


def want_bare(host: VmHost, disk: Path, folder: Path) -> BareQemu:
    known = host.engine.host
    assert known is not None
    return BareQemu(known.qemu, known.accelerator.lower(), disk, folder)


def load_pss_mib(pid: int) -> float:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    return int(text.split("\nPss:")[1].split()[0]) / 1024


def bench_start() -> Sequence[Result]:
    ours, bare = asyncio.run(measure_starts(RUNS))
    # The best of each: whatever else the machine does only adds to a boot, by more than what is looked for.
    above = min(ours) - min(bare)
    note = f"best of {RUNS}: guest up after {min(ours):.2f} s, bare {min(bare):.2f} s"
    return [
        Result("vm_start", above, "s above bare", "lower", tuple(ours), START_GOAL_S, note=note),
        Result(
            "vm_start_total",
            min(ours),
            "s",
            "lower",
            tuple(ours),
            peer="bare qemu-system",
            peer_value=min(bare),
        ),
    ]


def bench_overhead() -> Sequence[Result]:
    ours, bare, grown = asyncio.run(measure_memory())
    above = statistics.median(ours) - statistics.median(bare) + grown
    note = f"of it {grown:.1f} MiB in the daemon; guest of {_MEMORY_MIB} MiB"
    return [
        Result("vm_overhead", above, "MiB above bare", "lower", tuple(ours), OVERHEAD_GOAL_MIB, note=note),
        Result(
            "vm_memory",
            statistics.median(ours) + grown,
            "MiB",
            "lower",
            tuple(ours),
            peer="bare qemu-system",
            peer_value=statistics.median(bare),
        ),
    ]


BENCHMARKS = {"vm_start": bench_start, "vm_overhead": bench_overhead}
