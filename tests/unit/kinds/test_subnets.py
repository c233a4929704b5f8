"""Subnets that the controller chooses: apart from each other, the same again for the same network."""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eaves.kinds import subnets

pool_subnets = st.builds(
    lambda slot, prefix: str(IPv4Network((int(subnets.POOL.network_address) + slot * 256, prefix), strict=False)),
    st.integers(0, 8191),
    st.integers(16, 29),
)


@given(st.lists(pool_subnets, max_size=40), st.text(max_size=20))
def test_a_chosen_subnet_overlaps_none_of_the_others(existing: list[str], uid: str) -> None:
    chosen = subnets.allocate_subnet(existing, uid)
    assert subnets.subnet_of(chosen).subnet_of(subnets.POOL)
    assert not any(subnets.overlaps(chosen, other) for other in existing)


def test_the_same_network_gets_the_same_subnet() -> None:
    assert subnets.allocate_subnet([], "a") == subnets.allocate_subnet([], "a")
    assert subnets.allocate_subnet([], "a") != subnets.allocate_subnet([], "b")


def test_subnets_elsewhere_and_unreadable_ones_take_nothing() -> None:
    assert subnets.allocate_subnet(["192.168.1.0/24", "", "x"], "a") == subnets.allocate_subnet([], "a")


def test_a_used_up_pool_gives_a_subnet_twice() -> None:
    assert subnets.allocate_subnet(["10.160.0.0/11"], "a") == subnets.allocate_subnet([], "a")


@pytest.mark.parametrize("prefix", range(16, 30))
def test_range_leaves_gateway_and_fixed_addresses_free(prefix: int) -> None:
    subnet = IPv4Network(f"10.160.0.0/{prefix}")
    first, last = subnets.default_dhcp_range(subnet)
    gateway = subnets.default_gateway(subnet)
    assert gateway < first <= last < subnet.broadcast_address


def test_overlap() -> None:
    assert subnets.overlaps("10.0.0.0/8", "10.1.0.0/16")
    assert not subnets.overlaps("10.0.0.0/24", "10.0.1.0/24")
    with pytest.raises(ValueError):
        subnets.overlaps("10.0.0.1/24", "10.0.1.0/24")
