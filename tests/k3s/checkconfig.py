"""``k3s check-config``: what the machine must offer. Ends with 1 when something that is required is missing."""

from __future__ import annotations

import shutil
from pathlib import Path

_REQUIRED = {
    "memory": "CONFIG_MEMCG",
    "cpu": "CONFIG_CGROUP_SCHED",
    "pids": "CONFIG_CGROUP_PIDS",
    "cpuset": "CONFIG_CPUSETS",
}
_PROGRAMS = ("iptables", "ip", "runc", "setpriv", "mount")


def run() -> int:
    missing = 0
    print("\nVerifying binaries:")
    for name in _PROGRAMS:
        found = shutil.which(name)
        missing += found is None
        print(f"- {name}: {'good' if found else 'missing (fail)'}")
    print("\nSystem:")
    version = "V2" if Path("/sys/fs/cgroup/cgroup.controllers").exists() else "V1"
    print(f"- cgroups {version}: detected")
    print("\nGenerally Necessary:")
    groups = Path("/proc/self/cgroup").read_text() + _read("/sys/fs/cgroup/cgroup.controllers")
    for name, option in _REQUIRED.items():
        is_there = name in groups
        missing += not is_there
        print(f"- {option}: {'enabled' if is_there else 'missing (fail)'}")
    print(f"\nSTATUS: {'pass' if not missing else f'{missing} (fail)'}")
    return 1 if missing else 0


def _read(path: str) -> str:
    found = Path(path)
    return found.read_text() if found.exists() else ""
