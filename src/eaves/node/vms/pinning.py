"""Processors that belong to one machine alone among the machines of this node.

Nothing is kept about it: which processors are taken is read from the machines that run, so that a daemon that was killed knows as much
as the one before.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Set

from eaves.node.vms.errors import VmError


def observe_taken(pids: Iterable[int], everything: Set[int]) -> set[int]:
    """Processors of processes that may not run on all of them. Blocking."""
    taken: set[int] = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            allowed = os.sched_getaffinity(pid)
            if not allowed >= everything:
                taken |= allowed
    return taken


def pick_cpus(count: int, everything: Set[int], taken: Set[int]) -> list[int]:
    """The highest free ones; the lowest of all stays for the node and everybody else. Raises VmError when there are too few."""
    free = sorted(everything - taken - {min(everything)}, reverse=True)
    if count > len(free):
        raise VmError(
            f"{count} dedicated processors are asked for, {len(free)} of the node's {len(everything)} are free"
            " (one stays for the node itself)",
            code="DedicatedCpusMissing",
            resolution="ask for fewer processors, or leave out dedicatedCpus here or in another machine",
        )
    return sorted(free[:count])
