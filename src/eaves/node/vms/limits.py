"""A machine's control groups: what bounds the memory and the CPU time that QEMU takes from the host. Blocking.

The groups are made by hand, as podman's cgroupfs manager does; where this is not allowed the machine runs without them.
"""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path

from msgspec import Struct

from eaves.node.workloads import cgroups
from eaves.node.workloads.abc import Usage
from eaves.node.workloads.cgroups import Cgroups, observe_cgroups

log = logging.getLogger(__name__)

_ROOT = Path("/sys/fs/cgroup")
_PERIOD_US = 100_000
_OVERHEAD_BYTES = 256 << 20
_OVERHEAD_CPU_BYTES = 8 << 20
_OVERHEAD_SHARE = 32


class Limits(Struct, frozen=True):
    """``memory_bytes`` for the whole process; ``cpu_millis`` 0 = none."""

    memory_bytes: int
    cpu_millis: int


def want_limits(memory_bytes: int, vcpus: int, cpu_millis: int) -> Limits:
    """QEMU needs memory beside the guest's: for devices, translated code, queues. A limit above all virtual CPUs is none."""
    overhead = _OVERHEAD_BYTES + _OVERHEAD_CPU_BYTES * vcpus + memory_bytes // _OVERHEAD_SHARE
    return Limits(memory_bytes + overhead, cpu_millis if 0 < cpu_millis < vcpus * 1000 else 0)


def make_cgroups(path: str, limits: Limits) -> list[str]:
    """Folders whose ``cgroup.procs`` QEMU shall be written to; ``path`` is below the root of the hierarchy. Empty = not possible."""
    try:
        if (_ROOT / "cgroup.controllers").exists():
            return [_make_unified(path, limits)]
        return _make_split(path, limits)
    except OSError as error:
        log.warning("machine runs without a control group: path=%s error=%s", path, error)
        return []


def find_cgroups(path: str) -> Cgroups | None:
    """Where the groups of ``path`` count, None = there are none."""
    below = path.lstrip("/")
    if (_ROOT / below / "cgroup.procs").exists():
        return Cgroups(2, str(_ROOT / below), str(_ROOT / below))
    if (_ROOT / "memory" / below).is_dir():
        return Cgroups(1, str(_ROOT / "memory" / below), str(_ROOT / "cpuacct" / below))
    return None


def observe_usage(pid: int, cgroup: str) -> Usage | None:
    """By its control group; by its process where it has none of its own."""
    found = observe_cgroups(pid)
    if found is not None and found.memory.endswith(cgroup):
        return cgroups.observe_usage(found)
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except (OSError, IndexError, ValueError):
        return None
    ticks = int(stat[11]) + int(stat[12])
    return Usage(ticks * 1_000_000_000 // os.sysconf("SC_CLK_TCK"), pages * os.sysconf("SC_PAGE_SIZE"))


def remove_cgroups(path: str) -> None:
    """Groups that still hold processes stay."""
    for top in (_ROOT, *(_ROOT / name for name in ("memory", "cpu", "cpuacct"))):
        folder = top / path.lstrip("/")
        for found in (folder, folder.parent):
            with contextlib.suppress(OSError):
                found.rmdir()


def _make_unified(path: str, limits: Limits) -> str:
    folder = _ROOT
    for part in Path(path.lstrip("/")).parts:
        # Controllers are handed down a level at a time.
        with contextlib.suppress(OSError):
            (folder / "cgroup.subtree_control").write_text("+memory +cpu")
        folder /= part
        folder.mkdir(exist_ok=True)
    _set(folder / "memory.max", limits.memory_bytes)
    quota = f"{limits.cpu_millis * _PERIOD_US // 1000} {_PERIOD_US}" if limits.cpu_millis else f"max {_PERIOD_US}"
    _set(folder / "cpu.max", quota)
    return str(folder)


def _make_split(path: str, limits: Limits) -> list[str]:
    found = []
    for name in ("memory", "cpu", "cpuacct"):
        folder = _ROOT / name / path.lstrip("/")
        if not (_ROOT / name).is_dir():
            continue
        folder.mkdir(parents=True, exist_ok=True)
        found.append(str(folder))
        if name == "memory":
            _set(folder / "memory.limit_in_bytes", limits.memory_bytes)
        if name == "cpu":
            _set(folder / "cpu.cfs_period_us", _PERIOD_US)
            _set(folder / "cpu.cfs_quota_us", limits.cpu_millis * _PERIOD_US // 1000 if limits.cpu_millis else -1)
    return found


def _set(path: Path, value: object) -> None:
    with contextlib.suppress(FileNotFoundError):
        path.write_text(str(value))
