"""Budgets and slots: what a flood may use, and that it forgets nothing it must not."""

from __future__ import annotations

import asyncio

import pytest

from eaves.controller.gateway.errors import BusyError, TooManyError
from eaves.controller.gateway.limits import Budget, Gate, Slots, source_of


def test_a_budget_refuses_beyond_its_limits_and_takes_back() -> None:
    budget = Budget(100, 70)
    budget.reserve("a", 60)
    with pytest.raises(TooManyError):
        budget.reserve("a", 11)
    with pytest.raises(BusyError):
        budget.reserve("b", 41)
    budget.reserve("b", 40)
    assert budget.used_bytes == 100
    budget.release("a", 60)
    budget.release("b", 40)
    budget.reserve("a", 70)
    assert budget.used_bytes == 70


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("not:an:address", "not:an:address"),
    ],
)
def test_a_subscriber_counts_as_one_source(address: str, source: str) -> None:
    assert source_of(address) == source


def test_slots_bound_what_is_under_way_and_forget_idle_keys() -> None:
    slots: Slots[str] = Slots(2)
    slots.enter("a")
    slots.enter("a")
    slots.enter("b")
    with pytest.raises(TooManyError):
        slots.enter("a")
    slots.leave("a")
    slots.enter("a")
    for key in "aab":
        slots.leave(key)
    assert len(slots) == 0


async def test_a_gate_lets_the_next_in_when_one_leaves_and_refuses_after_the_wait() -> None:
    gate = Gate(1, wait_s=0.01)
    async with gate:
        with pytest.raises(BusyError):
            await gate.__aenter__()
    async with asyncio.timeout(60), gate:
        pass
