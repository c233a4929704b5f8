"""Memory that a machine lends to its node."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eaves.node.vms.balloon import NodeMemory, load_memory, plan_balloon

GIB = 1 << 30
MIB = 1 << 20


@pytest.mark.parametrize(
    ("available", "actual", "target"),
    [
        (GIB, 1024 * MIB, None),
        (500 * MIB, 1024 * MIB, None),
        (300 * MIB, 1024 * MIB, 914 * MIB),
        (0, 1024 * MIB, 614 * MIB),
        (0, 300 * MIB, 256 * MIB),
        (0, 256 * MIB, None),
        (2 * GIB, 512 * MIB, 576 * MIB),
        (2 * GIB, 1000 * MIB, 1024 * MIB),
    ],
)
def test_memory_is_taken_when_short_and_returned_when_there_is_enough(
    available: int, actual: int, target: int | None
) -> None:
    node = NodeMemory(4096 * MIB, available)
    found = plan_balloon(node, actual, least_bytes=256 * MIB, most_bytes=1024 * MIB)
    assert (found and round(found / MIB)) == (target and round(target / MIB))


@given(st.integers(0, 1 << 40), st.integers(0, 1 << 40), st.integers(16 * MIB, GIB))
def test_a_machine_keeps_its_least_and_never_gets_more_than_its_own(total: int, available: int, actual: int) -> None:
    found = plan_balloon(NodeMemory(total, min(available, total)), actual, least_bytes=16 * MIB, most_bytes=GIB)
    assert found is None or 16 * MIB <= found <= GIB


def test_this_node_has_memory() -> None:
    memory = load_memory()
    assert 0 < memory.available_bytes <= memory.total_bytes
