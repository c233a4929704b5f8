"""A port that the node shares with a switch: its cable under a bridge, tried and taken back like any config of the ports."""

from __future__ import annotations

import asyncio
import functools
import json
from pathlib import Path

import pytest

from eaves.node.ports.service import Times, remove_profiles
from eaves.testing.network_manager import DhcpRouter, ManagedHost
from eaves.testing.port_sections import CONTROLLER, SectionsMaker
from eaves.testing.ports_stage import PortsStage

HASTY = Times(trial_s=3, margin_s=1, settle_s=1, retry_s=0.1, recheck_s=0.5)
_SOAK = functools.partial(pytest.param, marks=pytest.mark.soak)
BRIDGE = "eaves-wan0"
PLAIN = SectionsMaker().hardware("wan0").dhcp("wan0").sections()
SHARED = SectionsMaker().hardware("wan0").dhcp("wan0").switch("wan0").sections()


def fixed(address: str, gateway: str = "10.77.0.1", *, is_shared: bool = True) -> bytes:
    maker = SectionsMaker().hardware("wan0")
    maker.static("wan0", address, gateway.rpartition(".")[0] + ".0/24", gateway)
    return (maker.switch("wan0") if is_shared else maker).sections()


def own_addresses(box: ManagedHost, interface: str) -> set[str]:
    return {word for word in box.addresses(interface).split() if word.startswith("10.")}


def is_gone(box: ManagedHost) -> bool:
    return "does not exist" in box.namespace.run("ip", "link", "show", BRIDGE, check=False)


def is_reached(box: ManagedHost) -> bool:
    return "1 packets received" in box.namespace.run("busybox", "ping", "-c", "1", "-W", "2", CONTROLLER, check=False)


def mac_of(box: ManagedHost, interface: str) -> str:
    return str(json.loads(box.namespace.run("ip", "-j", "link", "show", interface))[0]["address"])


def answers(router: DhcpRouter) -> bool:
    """Whether the neighbour on the cable reaches the host."""
    return "1 packets received" in router.namespace.run(
        "busybox", "ping", "-c", "1", "-W", "2", "10.77.0.9", check=False
    )


async def test_the_address_moves_to_a_bridge_and_back(box: ManagedHost, router: DhcpRouter, tmp_path: Path) -> None:
    async with PortsStage(box, tmp_path) as stage:
        await stage.applied(PLAIN)
        before = own_addresses(box, "wan0")
        view = await stage.applied(SHARED)
        assert (view.index, view.records[0].last_error) == (0, "")
        assert own_addresses(box, BRIDGE) == before, "DHCP gives the same one to the same hardware address"
        assert own_addresses(box, "wan0") == set()
        assert mac_of(box, BRIDGE) == mac_of(box, "wan0")
        assert len((await stage.observe()).profiles) == 2
        await stage.applied(PLAIN)
        await stage.until(lambda _: is_gone(box))
        assert own_addresses(box, "wan0") == before
        assert len((await stage.observe()).profiles) == 1


async def test_a_shared_port_gets_another_address(box: ManagedHost, router: DhcpRouter, tmp_path: Path) -> None:
    async with PortsStage(box, tmp_path) as stage:
        for address in ("10.77.0.9", "10.77.0.10"):
            await stage.applied(fixed(address))
            assert own_addresses(box, BRIDGE) == {f"{address}/24"}
            assert f"master {BRIDGE}" in box.namespace.run("ip", "link", "show", "wan0")
        view = await stage.failed(fixed("10.99.0.9", "10.99.0.1"))
        assert view.records[0].last_error == "wan0: the controller does not answer"
        await stage.until(lambda _: own_addresses(box, BRIDGE) == {"10.77.0.10/24"})
        await stage.until(lambda _: is_reached(box))


async def test_a_bridge_that_leads_nowhere_goes_again(box: ManagedHost, router: DhcpRouter, tmp_path: Path) -> None:
    async with PortsStage(box, tmp_path) as stage:
        await stage.applied(fixed("10.77.0.9", is_shared=False))
        await stage.failed(fixed("10.99.0.9", "10.99.0.1"))
        await stage.until(lambda _: own_addresses(box, "wan0") == {"10.77.0.9/24"})
        await stage.until(lambda _: is_gone(box))
        assert is_reached(box)


@pytest.mark.parametrize("way", ["there", "back"])
@pytest.mark.parametrize("changes", [_SOAK(1), _SOAK(2), _SOAK(3), _SOAK(4), 5, _SOAK(6), 7])
async def test_a_daemon_killed_while_the_address_moves_leaves_the_host_reachable(
    box: ManagedHost, router: DhcpRouter, tmp_path: Path, way: str, changes: int
) -> None:
    before, wanted = fixed("10.77.0.9", is_shared=way == "back"), fixed("10.77.0.9", is_shared=way == "there")
    async with PortsStage(box, tmp_path) as stage:
        await stage.applied(before)
    async with PortsStage(box, tmp_path, times=HASTY, stops_after=changes) as stage:
        stage.ports.take(wanted)
        async with asyncio.timeout(30):
            await stage.stopped.wait()
    async with asyncio.timeout(10):
        while not answers(router):  # noqa: ASYNC110 - each look is a command of its own
            await asyncio.sleep(0.2)
    async with asyncio.timeout(30):
        while box.checkpoints():  # noqa: ASYNC110 - each look is a command of its own
            await asyncio.sleep(0.2)
    async with asyncio.timeout(10):
        while not (answers(router) and is_reached(box)):  # noqa: ASYNC110 - each look is a command of its own
            await asyncio.sleep(0.2)
    async with PortsStage(box, tmp_path, times=HASTY) as stage:
        await stage.applied(wanted)
        assert answers(router)
        await stage.until(lambda _: is_gone(box) == (way == "back"))
        assert is_reached(box)


async def test_what_is_reset_gives_the_port_back_to_the_host(
    box: ManagedHost, router: DhcpRouter, tmp_path: Path
) -> None:
    box.add_profile("wan0", "10.77.0.9/24", "10.77.0.1")
    async with PortsStage(box, tmp_path) as stage:
        await stage.applied(SHARED)
        assert own_addresses(box, "wan0") == set()
    await remove_profiles("test", stage.open_manager)
    async with asyncio.timeout(60):
        while not (is_gone(box) and answers(router)):  # noqa: ASYNC110 - each look is a command of its own
            await asyncio.sleep(0.2)
    assert own_addresses(box, "wan0") == {"10.77.0.9/24"}, "what the host's own profile says"
    assert "master" not in box.namespace.run("ip", "link", "show", "wan0")
