"""Downloads leave by uplinks that are cheap enough."""

from __future__ import annotations

import pytest

from eaves.node.images.policy import DownloadPolicy
from eaves.node.images.uplinks import NoUplinkError, list_ways
from eaves.node.images.ways import Way
from eaves.node.networks.model import Port

PORTS = (Port("lte", "wwan0", 10), Port("wan", "eth0", 0), Port("shop", "eth1", 0, is_uplink=False))


async def load() -> dict[str, tuple[str, ...]]:
    return {"wwan0": ("10.9.0.2",), "eth0": ("192.0.2.2", "2001:db8::2"), "eth1": ("10.0.0.1",)}


async def test_cheapest_first_and_none_above_the_limit() -> None:
    assert await list_ways(PORTS, DownloadPolicy(), load=load) == [Way("192.0.2.2"), Way("2001:db8::2")]
    dear = await list_ways(PORTS, DownloadPolicy(max_cost=10), load=load)
    assert dear == [Way("192.0.2.2"), Way("2001:db8::2"), Way("10.9.0.2")]
    assert await list_ways((), DownloadPolicy(), load=load) == (Way(),)


async def test_without_a_cheap_one_it_says_so() -> None:
    with pytest.raises(NoUplinkError, match="cost of 0"):
        await list_ways(PORTS[:1], DownloadPolicy(), load=load)
