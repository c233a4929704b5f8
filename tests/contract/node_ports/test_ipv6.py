"""Ports with IPv6 alone: addresses that the host makes itself, that DHCPv6 gives, that the config names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from eaves.testing.network_manager import DhcpRouter, ManagedHost
from eaves.testing.port_sections import CONTROLLER_V6, SectionsMaker
from eaves.testing.ports_stage import TIMES, PortsStage
from eaves.wire.pb.evecommon.netcmn_pb2 import V6Only

PREFIX = "2001:db8:77"


@pytest.fixture
def site(box: ManagedHost) -> Iterator[DhcpRouter]:
    with DhcpRouter(box.namespace, "wan0", "10.77.0") as found:
        found.namespace.run("ip", "addr", "add", f"{CONTROLLER_V6}/128", "dev", "lo", "nodad")
        yield found


def only_v6() -> SectionsMaker:
    return SectionsMaker().hardware("wan0").family(V6Only)


@pytest.mark.parametrize("by_dhcp", [False, True])
async def test_addresses_from_the_router_or_from_dhcpv6(
    box: ManagedHost, site: DhcpRouter, tmp_path: Path, by_dhcp: bool
) -> None:
    site.start_ipv6(PREFIX, by_dhcp=by_dhcp)
    async with PortsStage(box, tmp_path, times=TIMES, controller=CONTROLLER_V6) as stage:
        await stage.applied(only_v6().dhcp("wan0").sections())
        found = box.addresses("wan0")
        assert (f"{PREFIX}::1" in found) is by_dhcp, found
        assert f" {PREFIX}:" in found
        assert "10.77.0." not in found


async def test_a_static_address_and_back_from_one_that_leads_nowhere(
    box: ManagedHost, site: DhcpRouter, tmp_path: Path
) -> None:
    site.start_ipv6(PREFIX)
    good = only_v6().static("wan0", f"{PREFIX}::9", f"{PREFIX}::/64", f"{PREFIX}::1").sections()
    bad = only_v6().static("wan0", "2001:db8:99::9", "2001:db8:99::/64", "2001:db8:99::1").sections()
    async with PortsStage(box, tmp_path, times=TIMES, controller=CONTROLLER_V6) as stage:
        await stage.applied(good)
        assert f"{PREFIX}::9/64" in box.addresses("wan0")
        view = await stage.failed(bad)
        assert view.records[view.index].sections == good
        await stage.until(lambda _: f"{PREFIX}::9/64" in box.addresses("wan0"))
        assert "2001:db8:99::9" not in box.addresses("wan0")
