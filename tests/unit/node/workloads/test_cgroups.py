"""Where the kernel counts what a workload uses."""

from __future__ import annotations

from eaves.node.workloads.cgroups import Cgroups, parse_cgroups


def test_control_groups_of_both_versions() -> None:
    v1 = "4:memory:/e/a\n2:cpu,cpuacct:/e/b\n0::/e/c\n"
    assert parse_cgroups(v1) == Cgroups(1, "/sys/fs/cgroup/memory/e/a", "/sys/fs/cgroup/cpuacct/e/b")
    assert parse_cgroups("0::/e/c\n") == Cgroups(2, "/sys/fs/cgroup/e/c", "/sys/fs/cgroup/e/c")
    assert parse_cgroups("") is None
