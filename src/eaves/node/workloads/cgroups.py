"""Control groups → what a workload uses, and whether the kernel killed in it for memory. Parsers are pure, readers block."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from eaves.node.workloads.abc import Usage

_CGROUP_ROOT = Path("/sys/fs/cgroup")


class Cgroups(Struct, frozen=True):
    """A workload's control groups: ``memory`` and ``cpu`` folders, ``version`` 1 or 2."""

    version: int
    memory: str
    cpu: str


def parse_cgroups(text: str) -> Cgroups | None:
    """``/proc/PID/cgroup`` → where the process's memory and cpu are counted."""
    paths: dict[str, str] = {}
    for line in text.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        for controller in controllers.split(","):
            paths[controller] = path
    if "memory" in paths and "cpuacct" in paths:
        return Cgroups(
            1, str(_CGROUP_ROOT / "memory") + paths["memory"], str(_CGROUP_ROOT / "cpuacct") + paths["cpuacct"]
        )
    if "" in paths:
        return Cgroups(2, str(_CGROUP_ROOT) + paths[""], str(_CGROUP_ROOT) + paths[""])
    return None


def observe_cgroups(pid: int) -> Cgroups | None:
    try:
        return parse_cgroups(Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8"))
    except OSError:
        return None


def observe_usage(cgroups: Cgroups) -> Usage | None:
    """None when the groups have gone. Page cache that the kernel can drop at once is not counted."""
    memory, cpu = Path(cgroups.memory), Path(cgroups.cpu)
    try:
        if cgroups.version == 2:
            used = int((memory / "memory.current").read_text())
            idle = _read_key(memory / "memory.stat", "inactive_file")
            cpu_ns = _read_key(cpu / "cpu.stat", "usage_usec") * 1000
        else:
            used = int((memory / "memory.usage_in_bytes").read_text())
            idle = _read_key(memory / "memory.stat", "total_inactive_file")
            cpu_ns = int((cpu / "cpuacct.usage").read_text())
    except (OSError, ValueError):
        return None
    return Usage(cpu_ns, max(0, used - idle))


def observe_oom_kills(cgroups: Cgroups) -> int:
    """How often the kernel killed something for memory. Version 2 counts in the parent, which outlives the workload."""
    try:
        if cgroups.version == 2:
            return _read_key(Path(cgroups.memory).parent / "memory.events", "oom_kill")
        return _read_key(Path(cgroups.memory) / "memory.oom_control", "oom_kill")
    except (OSError, ValueError):
        return 0


def _read_key(path: Path, key: str) -> int:
    for line in path.read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(" ")
        if name == key:
            return int(value)
    return 0
