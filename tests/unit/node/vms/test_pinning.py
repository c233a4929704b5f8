"""Which processors a machine gets for its own."""

from __future__ import annotations

import os

import pytest

from eaves.node.vms.errors import VmError
from eaves.node.vms.pinning import observe_taken, pick_cpus


@pytest.mark.parametrize(
    ("count", "everything", "taken", "picked"),
    [
        (1, {0, 1}, set(), [1]),
        (2, {0, 1, 2, 3}, set(), [2, 3]),
        (2, {0, 1, 2, 3}, {3}, [1, 2]),
        (1, {4, 6}, set(), [6]),
    ],
)
def test_the_highest_free_ones_are_picked(count: int, everything: set[int], taken: set[int], picked: list[int]) -> None:
    assert pick_cpus(count, everything, taken) == picked


@pytest.mark.parametrize(("count", "everything", "taken"), [(1, {0}, set()), (2, {0, 1}, set()), (1, {0, 1}, {1})])
def test_too_few_is_told_with_the_numbers(count: int, everything: set[int], taken: set[int]) -> None:
    with pytest.raises(VmError) as caught:
        pick_cpus(count, everything, taken)
    assert (caught.value.code, f"{len(everything)}" in caught.value.message) == ("DedicatedCpusMissing", True)
    assert caught.value.resolution


def test_processes_that_may_run_everywhere_take_nothing() -> None:
    everything = os.sched_getaffinity(0)
    assert observe_taken([os.getpid(), 2**22 + 1], everything) == set()
    assert observe_taken([os.getpid()], everything | {4096}) == everything
