"""Virtual machines on the node's networks: taps on the bridge, an address by real DHCP, rules and names as for containers."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from eaves.node.desired.model import AclAction, AclDirection, AclRule
from eaves.testing.network_host import NetworkHost
from eaves.testing.tap_guest import TapGuest

pytestmark = pytest.mark.contract


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[NetworkHost]:
    async with NetworkHost(tmp_path) as found:
        yield found


async def ask(guest: TapGuest) -> dict[str, str]:
    return await asyncio.to_thread(guest.ask_dhcp)


def can_ping(guest: TapGuest, address: str) -> bool:
    return " 0% packet loss" in guest.run("busybox", "ping", "-c", "1", "-W", "5", address, check=False)


async def test_machine_gets_by_dhcp_what_the_node_reports(host: NetworkHost) -> None:
    network = host.network(mtu=1400, domain="site.example", ntp_servers=("192.0.2.123",))
    host.apply(networks=(network,), apps=(host.machine("old", network), host.app("web", network)))
    connection = await host.connection("old")
    web = (await host.connection("web")).interfaces[0].addresses[0]
    assert connection.netns == ""
    (tap,) = connection.taps
    assert tap.link.startswith(host.instance.veth_prefix)
    assert tap.mac == connection.interfaces[0].mac
    with await host.boot("old") as guest:
        lease = await ask(guest)
        assert lease["ip"] == connection.interfaces[0].addresses[0]
        assert (lease["mtu"], lease["hostname"], lease["domain"]) == ("1400", "old", "site.example")
        assert (lease["router"], lease["dns"], lease["ntpsrv"]) == ("10.0.0.1", "10.0.0.1", "192.0.2.123")
        assert can_ping(guest, web), "a container on the same network"
        assert web in guest.run("busybox", "nslookup", "web.site.example", "10.0.0.1", check=False)
    status = await host.status(network, lambda found: len(found.leases) == 2)
    assert {lease.mac for lease in status.leases} >= {tap.mac}


async def test_rules_hold_for_machines_too(host: NetworkHost) -> None:
    network = host.network()
    closed = AclRule(1, "", AclDirection.BOTH, AclAction.DROP, subnet="0.0.0.0/0")
    host.apply(
        networks=(network,),
        apps=(host.machine("shut", network, acls=(closed,)), host.machine("open", network), host.app("web", network)),
    )
    web = (await host.connection("web")).interfaces[0].addresses[0]
    with await host.boot("shut") as shut, await host.boot("open") as opened:
        await ask(shut)
        lease = await ask(opened)
        assert can_ping(opened, web)
        assert not can_ping(shut, web)
        assert not can_ping(shut, lease["ip"])


async def test_machine_cannot_take_the_name_or_address_of_another(host: NetworkHost) -> None:
    network = host.network()
    host.apply(networks=(network,), apps=(host.machine("thief", network), host.app("bank", network)))
    bank = (await host.connection("bank")).interfaces[0].addresses[0]
    with await host.boot("thief") as guest:
        lease = await asyncio.to_thread(guest.ask_dhcp, "-F", "bank", "-x", "hostname:bank")
        assert lease["ip"] != bank
        answer = guest.run("busybox", "nslookup", "bank", "10.0.0.1", check=False)
        assert bank in answer
        assert lease["ip"] not in answer


async def test_taps_outlive_the_daemon_and_go_with_their_app(host: NetworkHost) -> None:
    network = host.network()
    host.apply(networks=(network,), apps=(host.machine("old", network),))
    link = (await host.connection("old")).taps[0].link
    with await host.boot("old") as guest:
        await ask(guest)
        before = index_of(link)
        await host.stop()
        assert can_ping(guest, "10.0.0.1"), "while no daemon runs"
        await host.start()
        await host.connection("old")
        host.in_use.add("app-old")
        host.apply(networks=(host.network(mtu=1300),))
        await host.connection("old", lambda found: found.taps[0].mtu == 1300)
        assert index_of(link) == before, "a change of the network does not take the tap from the guest"
        assert (await ask(guest))["mtu"] == "1300"
        assert can_ping(guest, "10.0.0.1")
        host.apply(apps=())
        await host.turn()
        assert index_of(link) == before, "the guest still runs"
    host.in_use.clear()
    assert host.networks is not None
    host.networks.wake()
    async with asyncio.timeout(30):
        while index_of(link):
            await host.turn()


def index_of(link: str) -> int:
    with contextlib.suppress(OSError):
        return socket.if_nametoindex(link)
    return 0
