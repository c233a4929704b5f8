"""Order of the ways out, and what makes an address usable."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eaves.kit.errors import EavesError
from eaves.node.link.uplinks import (
    HOST_ROUTING,
    RETRY_FAILED_S,
    Attempt,
    Uplink,
    Uplinks,
    parse_addresses,
    plan_attempts,
)

ETH0, ETH1, LTE = Uplink("office", "eth0", 0), Uplink("lab", "eth1", 0), Uplink("modem", "wwan0", 10)
ADDRESSES = {"eth0": ("10.0.0.5", "2001:db8::5"), "eth1": ("10.0.1.5",), "wwan0": ("100.64.0.9",)}


def labels(attempts: list[Attempt]) -> list[str]:
    return [attempt.label for attempt in attempts]


def test_without_uplinks_the_host_decides() -> None:
    assert plan_attempts([], {}, frozenset(), 7) == [HOST_ROUTING]


def test_cheapest_come_first_and_equals_take_turns() -> None:
    plans = [labels(plan_attempts([LTE, ETH0, ETH1], ADDRESSES, frozenset(), number)) for number in range(2)]
    assert plans == [["office", "office", "lab", "modem"], ["lab", "office", "office", "modem"]]


def test_every_usable_address_of_an_uplink_is_tried() -> None:
    attempts = plan_attempts([ETH0], ADDRESSES, frozenset(), 0)
    assert [attempt.source for attempt in attempts] == ["10.0.0.5", "2001:db8::5"]


def test_failed_uplinks_are_left_out_unless_all_failed() -> None:
    assert labels(plan_attempts([ETH0, LTE], ADDRESSES, frozenset({"office"}), 0)) == ["modem"]
    assert labels(plan_attempts([ETH1, LTE], ADDRESSES, frozenset({"lab", "modem"}), 0)) == ["lab", "modem"]


def test_uplink_without_an_address_is_no_way_out() -> None:
    assert labels(plan_attempts([ETH0, ETH1], {"eth1": ("10.0.1.5",)}, frozenset(), 0)) == ["lab"]


@given(
    st.lists(
        st.builds(Uplink, st.sampled_from("abcdef"), st.sampled_from(["e0", "e1", "e2"]), st.integers(0, 3)), max_size=6
    ),
    st.frozensets(st.sampled_from("abcdef")),
    st.integers(0, 1000),
)
def test_costs_never_fall_along_a_plan(uplinks: list[Uplink], failed: frozenset[str], iteration: int) -> None:
    unique = list({uplink.label: uplink for uplink in uplinks}.values())
    attempts = plan_attempts(unique, {"e0": ("192.0.2.1",), "e1": ("192.0.2.2",)}, failed, iteration)
    costs = {uplink.label: uplink.cost for uplink in unique}
    order = [costs.get(attempt.label, 0) for attempt in attempts]
    assert order == sorted(order)


def test_only_addresses_that_can_be_a_source_are_taken() -> None:
    text = json.dumps(
        [
            {"ifname": "lo", "addr_info": [{"family": "inet", "local": "127.0.0.1"}]},
            {
                "ifname": "eth0",
                "addr_info": [
                    {"family": "inet6", "local": "fe80::1"},
                    {"family": "inet6", "local": "2001:db8::7", "tentative": True},
                    {"family": "inet6", "local": "2001:db8::8"},
                    {"family": "inet", "local": "10.0.0.5"},
                    {"family": "inet", "local": "169.254.3.4"},
                ],
            },
            {"ifname": "eth1", "addr_info": []},
        ]
    )
    assert parse_addresses(text.encode()) == {"eth0": ("10.0.0.5", "2001:db8::8")}


@pytest.mark.looptime
async def test_failed_uplink_is_tried_again_after_a_while() -> None:
    async def load() -> dict[str, tuple[str, ...]]:
        return {"eth0": ("10.0.0.5",), "wwan0": ("100.64.0.9",)}

    uplinks = Uplinks([ETH0, LTE], load=load)
    first = (await uplinks.attempts())[0]
    uplinks.note_failure(first)
    assert labels(await uplinks.attempts()) == ["modem"]
    await asyncio.sleep(RETRY_FAILED_S)
    assert labels(await uplinks.attempts()) == ["office", "modem"]


@pytest.mark.looptime
async def test_new_address_makes_a_failed_uplink_good_again() -> None:
    addresses: dict[str, tuple[str, ...]] = {"eth0": ("10.0.0.5",), "wwan0": ("100.64.0.9",)}

    async def load() -> dict[str, tuple[str, ...]]:
        return dict(addresses)

    uplinks = Uplinks([ETH0, LTE], load=load)
    uplinks.note_failure((await uplinks.attempts())[0])
    addresses["eth0"] = ("10.0.0.6",)
    assert labels(await uplinks.attempts()) == ["office", "modem"]


@pytest.mark.looptime
async def test_known_addresses_stay_when_the_kernel_cannot_be_asked() -> None:
    answers: list[dict[str, tuple[str, ...]] | None] = [{"eth0": ("10.0.0.5",)}, None]

    async def load() -> dict[str, tuple[str, ...]]:
        answer = answers.pop(0)
        if answer is None:
            raise EavesError("ip is missing")
        return answer

    uplinks = Uplinks([ETH0], load=load)
    first = (await uplinks.attempts())[0]
    uplinks.note_failure(first)
    assert await uplinks.attempts() == [first]


def test_an_uplink_that_eaves_set_up_is_left_by_its_interface() -> None:
    (attempt,) = plan_attempts([Uplink("wan", "eth1", is_bound=True)], {"eth1": ("10.0.1.5",)}, frozenset(), 0)
    assert attempt == Attempt("wan", "10.0.1.5", "eth1")


async def test_other_uplinks_count_at_once() -> None:
    uplinks = Uplinks([ETH0], load=_addresses)
    assert labels(await uplinks.attempts()) == ["office", "office"]
    uplinks.configure([LTE])
    assert labels(await uplinks.attempts()) == ["modem"]
    uplinks.configure([])
    assert await uplinks.attempts() == [HOST_ROUTING]


async def _addresses() -> dict[str, tuple[str, ...]]:
    return ADDRESSES
