"""Which ways downloads have on a node that sets up its own ports."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from eaves.node import portlink
from eaves.node.desired.port_model import PortSetup, PortsSetup, ProxyScheme, ProxyServer, ProxySetup
from eaves.node.images.uplinks import NoUplinkError
from eaves.node.images.ways import Way, WebProxy
from eaves.node.link.uplinks import Uplinks
from eaves.node.portlink import PortLink
from eaves.node.settings import NodeSettings

PROXY = ProxySetup(servers=(ProxyServer(ProxyScheme.HTTPS, "proxy.example", 3128),), ca_pems=("ca",))
WAN = PortSetup("wan", "eth0", proxy=PROXY)
DIRECT = PortSetup("office", "eth1")
DEAR = PortSetup("lte", "wwan0", cost=10)
SHOP = PortSetup("shop", "eth2", is_management=False)


@pytest.fixture
async def link(monkeypatch: pytest.MonkeyPatch) -> PortLink:
    async def load() -> dict[str, tuple[str, ...]]:
        return {
            "eth0": ("192.0.2.2",),
            "eth1": ("192.0.2.3", "2001:db8::3"),
            "wwan0": ("10.9.0.2",),
            "eth2": ("10.0.0.1",),
        }

    async def nothing(_: Any) -> None:
        """Certificates and sections are others' business."""

    monkeypatch.setattr(portlink, "load_addresses", load)
    controller: Any = SimpleNamespace(client=SimpleNamespace(server=None), proxies={})
    return PortLink(NodeSettings(), controller, Uplinks(()), nothing, nothing, lambda: None)  # type: ignore[arg-type] # parses nothing


async def test_a_node_whose_ports_are_its_owners_has_none_of_its_own(link: PortLink) -> None:
    assert await link.find_ways(255) is None


async def test_ports_for_management_up_to_the_cost_each_with_its_proxy(
    link: PortLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def choose(port: PortSetup, source: str) -> None:
        """The controller's own proxy."""

    monkeypatch.setattr(link, "_choose_proxy", choose)
    await link.ports.use(PortsSetup((DEAR, SHOP, WAN, DIRECT)))
    cheap = await link.find_ways(0)
    proxy = WebProxy((("HTTPS_PROXY", "http://proxy.example:3128"), ("NO_PROXY", "")), ca_pems=("ca",))
    assert cheap is not None
    assert set(cheap) == {Way("192.0.2.2", "eth0", proxy), Way("192.0.2.3", "eth1"), Way("2001:db8::3", "eth1")}
    dear = await link.find_ways(10)
    assert dear is not None
    assert dear[-1] == Way("10.9.0.2", "wwan0")
    await link.ports.use(PortsSetup((DEAR,)))
    with pytest.raises(NoUplinkError, match="cost of 0"):
        await link.find_ways(0)
