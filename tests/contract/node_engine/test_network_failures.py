"""Networks under hardship: links and servers that somebody removes, guests that flood, addresses that are short."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from eaves.kit import process
from eaves.node.desired.model import DesiredApp, DesiredInterface, DesiredNetwork, NetworkKind
from eaves.testing.desired import ALLOW_ALL
from eaves.testing.network_host import NetworkHost
from eaves.testing.tap_guest import TapGuest

pytestmark = pytest.mark.contract

FLOOD = """
import ipaddress, socket, sys, time
mac = bytes.fromhex(sys.argv[1].replace(":", ""))
end, number = time.monotonic() + 3, 0
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as link:
    link.bind(("eth0", 0))
    while time.monotonic() < end:
        number += 1
        sender = ipaddress.IPv4Address(0x0A000000 + number % 250 + 2).packed
        body = b"\\0\\1\\x08\\0\\6\\4\\0\\1" + mac + sender + bytes(6) + sender
        link.send(b"\\xff" * 6 + mac + b"\\x08\\6" + body + bytes(18))
"""
"""Claims every address of the network, as fast as it goes, for three seconds."""


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[NetworkHost]:
    async with NetworkHost(tmp_path) as found:
        yield found


async def wait_ping(guest: TapGuest, address: str) -> None:
    async with asyncio.timeout(40):
        while not await asyncio.to_thread(can_ping, guest, address):  # noqa: ASYNC110 - each try waits for an answer
            await asyncio.sleep(0.1)


def can_ping(guest: TapGuest, address: str) -> bool:
    return " 0% packet loss" in guest.run("busybox", "ping", "-c", "1", "-W", "2", address, check=False)


def small(host: NetworkHost) -> DesiredNetwork:
    """A network with one address for apps."""
    return host.network(subnet="10.0.0.0/29", dhcp_start="10.0.0.5", dhcp_end="10.0.0.5")


def fixed(app: DesiredApp, network: DesiredNetwork, address: str) -> DesiredApp:
    interface = DesiredInterface(network.name, network.id, address, "", (ALLOW_ALL,))
    return msgspec.structs.replace(app, interfaces=(interface,))


async def fault_of(host: NetworkHost, app: str) -> str:
    assert host.networks is not None
    async with asyncio.timeout(40):
        while (fault := host.networks.fault(f"app-{app}")) is None:
            await host.turn()
    return fault.code


async def test_what_somebody_removes_under_a_running_machine_comes_back(host: NetworkHost) -> None:
    network = host.network()
    host.apply(networks=(network,), apps=(host.machine("old", network), host.app("web", network)))
    web = (await host.connection("web")).interfaces[0].addresses[0]
    status = await host.status(network, lambda found: found.active)
    tap = (await host.connection("old")).taps[0].link
    with await host.boot("old") as guest:
        await asyncio.to_thread(guest.ask_dhcp)
        name_server = (host.instance.dns_dir / status.bridge / "pid").read_text().strip()
        for breakage in (
            ["ip", "link", "delete", status.bridge],
            ["ip", "link", "set", tap, "nomaster"],
            ["ip", "link", "set", tap, "down"],
            ["nft", "flush", "ruleset"],
            ["kill", "-9", name_server],
        ):
            await process.run(breakage)
            await wait_ping(guest, web)
        assert (await asyncio.to_thread(guest.ask_dhcp))["ip"]


async def test_a_switch_that_somebody_removes_comes_back_with_its_apps(host: NetworkHost) -> None:
    network = host.network("island", kind=NetworkKind.SWITCH, subnet="", port_label="")
    host.apply(networks=(network,), apps=(host.machine("old", network), host.app("web", network)))
    status = await host.status(network, lambda found: found.active)
    inside = (await host.connection("web")).netns
    await process.run(["nsenter", f"--net={inside}", "ip", "addr", "add", "10.9.0.1/24", "dev", "eth0"])
    with await host.boot("old") as guest:
        guest.namespace.batch("addr add 10.9.0.2/24 dev eth0")
        await wait_ping(guest, "10.9.0.1")
        await process.run(["ip", "link", "delete", status.bridge])
        await wait_ping(guest, "10.9.0.1")


async def test_an_app_that_floods_spoils_only_its_own_line(host: NetworkHost) -> None:
    network = host.network()
    host.apply(networks=(network,), apps=(host.app("mad", network), host.machine("calm", network)))
    mad = await host.connection("mad")
    with await host.boot("calm") as calm:
        await asyncio.to_thread(calm.ask_dhcp)
        inside = ["nsenter", f"--net={mad.netns}", sys.executable, "-c", FLOOD, mad.interfaces[0].mac]
        flood = await asyncio.create_subprocess_exec(*inside)
        ended = asyncio.create_task(flood.wait())
        answered = 0
        while not ended.done():
            answered += await asyncio.to_thread(can_ping, calm, "10.0.0.1")
        assert await ended == 0
        assert answered > 0, "while the flood lasts"
        await wait_ping(calm, "10.0.0.1")
        neighbours = host.namespace.run("ip", "neigh", "show").splitlines()
        assert len(neighbours) <= 3, "claims of others' addresses go nowhere"


async def test_of_two_apps_that_want_one_address_the_second_waits_for_the_first(host: NetworkHost) -> None:
    network = host.network()
    first, second = (fixed(host.app(name, network), network, "10.0.0.77") for name in ("a-first", "b-second"))
    host.apply(networks=(network,), apps=(first, second))
    await host.connection("a-first")
    assert await fault_of(host, "b-second") == "AddressTaken"
    host.apply(apps=(second,))
    assert (await host.connection("b-second")).interfaces[0].addresses == ("10.0.0.77",)


async def test_an_app_waits_for_the_only_address_and_starts_by_itself(host: NetworkHost) -> None:
    network = small(host)
    host.apply(networks=(network,), apps=(host.app("a-one", network),))
    assert (await host.connection("a-one")).interfaces[0].addresses == ("10.0.0.5",)
    host.apply(apps=(host.app("a-one", network), host.app("b-two", network)))
    assert await fault_of(host, "b-two") == "NoFreeAddress"
    host.apply(apps=(host.app("b-two", network),))
    assert (await host.connection("b-two")).interfaces[0].addresses == ("10.0.0.5",)


async def test_an_app_is_replaced_in_one_config_though_the_only_address_is_taken(host: NetworkHost) -> None:
    network = small(host)
    host.apply(networks=(network,), apps=(host.app("one", network),))
    await host.connection("one")
    host.in_use.add("app-one")
    host.apply(apps=(host.app("two", network),))
    assert (await host.connection("two")).interfaces[0].addresses == ("10.0.0.5",)
    assert host.networks is not None
    assert host.networks.connection("app-one") is None


async def test_a_network_is_replaced_by_another_of_the_same_subnet_in_one_config(host: NetworkHost) -> None:
    old, new = host.network("old"), host.network("new")
    host.apply(networks=(old,), apps=(host.app("web", old),))
    before = (await host.connection("web")).interfaces
    host.apply(networks=(new,), apps=(host.app("web", new),))
    found = await host.connection("web", lambda now: now.interfaces[0].network_id == new.id)
    assert found.interfaces[0].mac != before[0].mac
    assert (await host.exec("web", "busybox", "ping", "-c", "1", "-W", "5", "10.0.0.1"))[0] == 0
