"""Networks with several uplinks: choice by label and cost, fail-over by probes, ports of the node on every uplink, routes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from eaves.kit import process
from eaves.node.desired.model import DesiredInterface
from eaves.node.desired.network_model import DesiredPort, DesiredRoute, Probe
from eaves.node.networks.model import Port
from eaves.node.observed import NetworkStatus
from eaves.testing.desired import ALLOW_ALL, map_port
from eaves.testing.network_host import NetworkHost
from eaves.testing.uplinks import SERVER, Stream, Uplinks

pytestmark = pytest.mark.contract

PORTS = (Port("cable", "wan0", 0, ("shared",)), Port("modem", "wan1", 10, ("shared",)))
PROBED = DesiredRoute("0.0.0.0/0", port_label="uplink", probe=Probe(ping_gateway=True, ping_max_cost=255))


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[NetworkHost]:
    async with NetworkHost(tmp_path, ports=PORTS, probe_every_s=0.3) as found:
        yield found


@pytest.fixture
def world(host: NetworkHost) -> Iterator[Uplinks]:
    with Uplinks(host.namespace) as found:
        found.serve()
        yield found


async def came_by(host: NetworkHost, app: str) -> str:
    """Which uplink's address a new connection of the app has outside."""
    stream = await open_stream(host, app)
    try:
        return await asyncio.to_thread(stream.read_line)
    finally:
        stream.close()


async def open_stream(host: NetworkHost, app: str, address: str = SERVER, port: int = 80) -> Stream:
    return await asyncio.to_thread(Stream, (await host.connection(app)).netns, address, port)


def uses(interface: str) -> Callable[[NetworkStatus], bool]:
    return lambda found: found.active and found.uplink == interface


async def test_each_network_leaves_by_the_ports_that_its_label_names(host: NetworkHost, world: Uplinks) -> None:
    cheap, dear = host.network("cheap"), host.network("dear", 1, port_label="modem")
    free, shared = host.network("free", 2, port_label="freeuplink"), host.network("shared", 3, port_label="shared")
    networks = (cheap, dear, free, shared)
    host.apply(networks=networks, apps=tuple(host.app(network.name, network) for network in networks))
    found = {network.name: await came_by(host, network.name) for network in networks}
    assert found == {"cheap": "10.200.0.2", "dear": "10.200.1.2", "free": "10.200.0.2", "shared": "10.200.0.2"}
    status = await host.status(dear, uses("wan1"))
    assert (status.ports, status.uplink_reason) == (("modem",), "cost 10, 1 of 1 ports work")
    main = host.namespace.run("ip", "route", "show", "table", "main")
    assert main.count("default") == 2, "the host's own routes are as they were"


async def test_a_dead_gateway_moves_new_connections_and_its_return_moves_them_back(
    host: NetworkHost, world: Uplinks
) -> None:
    network = host.network(routes=(PROBED,))
    host.apply(networks=(network,), apps=(host.app("web", network),))
    await host.status(network, uses("wan0"))
    assert await came_by(host, "web") == "10.200.0.2"
    world.break_way(0)
    status = await host.status(network, uses("wan1"))
    assert "gateway 10.200.0.1 of wan0 does not answer" in status.uplink_reason
    assert [(route.destination, route.gateway) for route in status.routes if route.destination == "0.0.0.0/0"] == [
        ("0.0.0.0/0", "10.200.1.1")
    ]
    assert await came_by(host, "web") == "10.200.1.2"
    stream = await open_stream(host, "web")
    assert await asyncio.to_thread(stream.read_line) == "10.200.1.2"
    world.mend_way(0)
    await host.status(network, uses("wan0"))
    assert await came_by(host, "web") == "10.200.0.2"
    assert await asyncio.to_thread(stream.echo, "still by the modem") == "still by the modem"
    stream.close()


async def test_a_pulled_cable_counts_at_once_and_a_lost_probe_host_too(host: NetworkHost, world: Uplinks) -> None:
    probe = Probe(host=SERVER, port=80)
    network = host.network(routes=(DesiredRoute("0.0.0.0/0", port_label="uplink", probe=probe),))
    host.apply(networks=(network,), apps=(host.app("web", network),))
    await host.status(network, uses("wan0"))
    world.routers[0].batch("link set lan down")
    await host.status(network, uses("wan1"))
    assert await came_by(host, "web") == "10.200.1.2"
    world.routers[0].batch("link set lan up")
    await host.status(network, uses("wan0"))
    world.routers[0].batch("link set net down")
    status = await host.status(network, uses("wan1"))
    assert f"{SERVER}:80 does not answer by wan0" in status.uplink_reason


async def test_a_flapping_uplink_is_left_alone_for_longer_each_time(host: NetworkHost, world: Uplinks) -> None:
    network = host.network(routes=(PROBED,))
    host.apply(networks=(network,), apps=(host.app("web", network),))
    await host.status(network, uses("wan0"))
    loop, waits = asyncio.get_running_loop(), []
    for _ in range(3):
        world.routers[0].batch("link set lan down")
        await host.status(network, uses("wan1"))
        world.routers[0].batch("link set lan up")
        began = loop.time()
        await host.status(network, uses("wan0"))
        waits.append(loop.time() - began)
    assert waits[2] > waits[0] + 1, waits


async def test_a_port_of_the_node_is_answered_by_the_uplink_that_was_asked(host: NetworkHost, world: Uplinks) -> None:
    network, other = host.network(), host.network("other", 1)
    web = host.app("web", network, acls=(map_port(8080, 80), ALLOW_ALL))
    inner = host.app("inner", network, acls=(map_port(8081, 80, adapter="modem"), ALLOW_ALL))
    host.apply(networks=(network, other), apps=(web, inner, host.app("peer", network), host.app("far", other)))
    for name in ("web", "inner"):
        world.serve_in((await host.connection(name)).netns, 80)
    for address in ("10.200.0.2", "10.200.1.2"):
        stream = await asyncio.to_thread(Stream, world.server.path, address, 8080)
        assert await asyncio.to_thread(stream.read_line), f"from outside by {address}"
        stream.close()
    for app in ("web", "peer", "far"):
        for address in ("10.200.0.2", "10.200.1.2", "10.0.0.1"):
            stream = await open_stream(host, app, address, 8080)
            assert await asyncio.to_thread(stream.echo, "x"), f"hairpin from {app} by {address}"
            stream.close()
    stream = await asyncio.to_thread(Stream, world.server.path, "10.200.1.2", 8081)
    stream.close()
    with pytest.raises(OSError, match=r"refused|timed out"):
        await asyncio.to_thread(Stream, world.server.path, "10.200.0.2", 8081, 2)


async def test_static_routes_lead_by_ports_and_by_apps_and_guests_are_told(host: NetworkHost, world: Uplinks) -> None:
    world.server.batch("addr add 198.51.100.2/32 dev lo")
    by_port = DesiredRoute("198.51.100.2/32", port_label="modem")
    by_app = DesiredRoute("192.168.77.0/24", gateway="10.0.0.50")
    inner = host.network("inner", routes=(by_port, by_app), propagate_routes=True)
    world.routers[1].batch("route add 198.51.100.2/32 via 10.201.1.1")
    world.serve("198.51.100.2")
    gateway = host.app("gateway", inner)
    fixed = DesiredInterface("inner", inner.id, "10.0.0.50", "", (ALLOW_ALL,))
    gateway = msgspec.structs.replace(gateway, interfaces=(fixed,))
    machine = host.machine("old", inner)
    host.apply(networks=(inner,), apps=(gateway, host.app("web", inner), machine))
    stream = await open_stream(host, "web", "198.51.100.2")
    assert await asyncio.to_thread(stream.read_line) == "10.200.1.2"
    stream.close()
    assert await came_by(host, "web") == "10.200.0.2"
    # The gateway has a network behind it that only the route to it leads to.
    behind = (await host.connection("gateway")).netns
    await run_in(behind, "ip", "addr", "add", "192.168.77.1/24", "dev", "lo")
    code, shown = await host.exec("web", "busybox", "ping", "-c", "1", "-W", "5", "192.168.77.1")
    assert code == 0, shown
    _, routes = await host.exec("web", "ip", "route")
    for destination in ("192.168.77.0/24", "198.51.100.2", "10.200.0.0/24", "10.200.1.0/24"):
        assert f"{destination} via 10.0.0.1" in routes
    _, own = await host.exec("gateway", "ip", "route")
    assert "192.168.77.0/24 via" not in own
    with await host.boot("old") as guest:
        lease = await asyncio.to_thread(guest.ask_dhcp)
        assert "192.168.77.0/24 10.0.0.1" in lease["staticroutes"]
        assert "0.0.0.0/0 10.0.0.1" in lease["staticroutes"]
        assert " 0% packet loss" in guest.run("busybox", "ping", "-c", "1", "-W", "5", "192.168.77.1")


async def test_an_app_can_be_the_gateway_to_everything(host: NetworkHost, world: Uplinks) -> None:
    inner = host.network("inner", port_label="", routes=(DesiredRoute("0.0.0.0/0", gateway="10.0.0.50"),))
    outer = host.network("outer", 1)
    fixed = DesiredInterface("inner", inner.id, "10.0.0.50", "", (ALLOW_ALL,))
    router = host.app("router", outer)
    router = msgspec.structs.replace(router, interfaces=(*router.interfaces, fixed))
    host.apply(networks=(inner, outer), apps=(router, host.app("web", inner)))
    inside = (await host.connection("router")).netns
    await run_in(inside, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
    rules = "table ip nat { chain out { type nat hook postrouting priority srcnat; oifname eth0 masquerade; }; }"
    await run_in(inside, "nft", rules)
    assert await came_by(host, "web") == "10.200.0.2"
    await host.stop()
    assert await came_by(host, "web") == "10.200.0.2", "while no daemon runs"
    await host.start()


async def test_new_apps_ports_and_routes_cut_no_stream_of_another(host: NetworkHost, world: Uplinks) -> None:
    network = host.network()
    server = host.app("server", network, acls=(map_port(8080, 80), ALLOW_ALL))
    host.apply(networks=(network,), apps=(server,))
    world.serve_in((await host.connection("server")).netns, 80)
    inward = await asyncio.to_thread(Stream, world.server.path, "10.200.0.2", 8080)
    outward = await open_stream(host, "server")
    for stream in (inward, outward):
        await asyncio.to_thread(stream.read_line)
    more = host.network("more", 1)
    routed = msgspec.structs.replace(network, routes=(DesiredRoute("192.168.9.0/24", port_label="modem"),))
    wider = msgspec.structs.replace(routed, propagate_routes=True, static_hosts={"a.example": ("192.0.2.1",)})
    other = host.app("other", network, acls=(map_port(8090, 80), ALLOW_ALL))
    steps: list[dict[str, Any]] = [
        {"apps": (server, other)},
        {"networks": (network, more), "apps": (server, other, host.app("third", more))},
        {"networks": (routed, more)},
        {"networks": (wider, more)},
        {"ports": (DesiredPort("other-name", "wan1", 3),)},
        {"networks": (wider,), "apps": (server,)},
    ]
    for number, step in enumerate(steps):
        host.apply(**step)
        await host.turn()
        for stream in (inward, outward):
            assert await asyncio.to_thread(stream.echo, f"step {number}") == f"step {number}"
    await host.stop()
    assert await asyncio.to_thread(inward.echo, "no daemon") == "no daemon"
    await host.start()
    await host.connection("server")
    assert await asyncio.to_thread(outward.echo, "a new daemon") == "a new daemon"
    for stream in (inward, outward):
        stream.close()


async def test_nothing_is_left_in_the_hosts_routing(host: NetworkHost, world: Uplinks) -> None:
    before = (routing(host), host.namespace.run("ip", "rule"))
    network = host.network(routes=(PROBED, DesiredRoute("192.168.9.0/24", port_label="modem")))
    host.apply(networks=(network,), apps=(host.app("web", network),))
    await host.connection("web")
    assert "iif" in host.namespace.run("ip", "rule")
    host.apply(networks=(), apps=())
    await host.turn()
    async with asyncio.timeout(30):
        while (routing(host), host.namespace.run("ip", "rule")) != before:
            await host.turn()
    host.apply(networks=(network,), apps=(host.app("web", network),))
    await host.connection("web")
    await host.stop()
    assert host.networks is not None
    await host.networks.teardown()
    assert (routing(host), host.namespace.run("ip", "rule")) == before


async def test_a_label_that_no_port_bears_is_told_and_lets_nothing_out(host: NetworkHost, world: Uplinks) -> None:
    network = host.network(port_label="satellite")
    host.apply(networks=(network,), apps=(host.app("web", network), host.app("peer", network)))
    status = await host.status(network, lambda found: found.fault is not None)
    assert status.fault is not None
    assert status.fault.code == "PortMissing"
    assert "cable" in status.fault.message
    code, _ = await host.exec("web", "busybox", "nc", "-w", "2", SERVER, "80")
    assert code != 0
    peer = (await host.connection("peer")).interfaces[0].addresses[0]
    assert (await host.exec("web", "busybox", "ping", "-c", "1", "-W", "5", peer))[0] == 0


def routing(host: NetworkHost) -> str:
    return host.namespace.run("ip", "route", "show", "table", "all", "type", "unicast")


async def run_in(namespace: str, *command: str) -> None:
    await process.run(["nsenter", f"--net={namespace}", *command], timeout_s=30)
