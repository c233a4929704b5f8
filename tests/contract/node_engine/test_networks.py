"""Networks on the real kernel: names, access rules, port maps, and what happens when somebody breaks them."""

from __future__ import annotations

import asyncio
import itertools
import socket
from pathlib import Path
from typing import Any

import pytest

from eaves.kit import process
from eaves.node.desired.model import AclAction, AclDirection, AclRule, DesiredInterface
from eaves.node.networks.model import Layout, PortMap, WantedBridge, WantedNetns, WantedVif
from eaves.node.networks.ruleset import render_ruleset
from eaves.node.observed import AppStatus, NetworkStatus
from eaves.testing.desired import ALLOW_ALL, map_port
from eaves.testing.engine_host import EngineHost, find_port
from eaves.testing.registry import Registry

pytestmark = pytest.mark.contract

SERVE: dict[str, Any] = {"command": ("/bin/httpd",), "args": ("-f", "-p", "80", "-h", "/www")}


def allow(number: int, direction: AclDirection = AclDirection.BOTH, **match: object) -> AclRule:
    return AclRule(number, "", direction, AclAction.ALLOW, **match)  # type: ignore[arg-type]


async def can_reach(host: EngineHost, name: str, server: str, port: int = 80) -> bool:
    get = f"exec 3<>/dev/tcp/{server}/{port} && printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3 && cat <&3"
    _, output = await host.exec(name, "timeout", "3", "bash", "-c", get)
    return "hello from eaves" in output


def address_of(host: EngineHost, name: str, index: int = 0) -> str:
    status = host.observations.get(AppStatus, f"app-{name}")
    assert isinstance(status, AppStatus)
    return status.interfaces[index].addresses[0]


async def test_apps_find_each_other_by_name_and_by_node_port(host: EngineHost, registry: Registry) -> None:
    port = find_port()
    image, network = host.image(registry.datastore(), "shop/shell:1"), host.network(domain="site.example")
    server = host.app("server", image, network, acls=(map_port(port), ALLOW_ALL), **SERVE)
    client = host.app("client", image, network)
    await host.apply(images=(image,), networks=(network,), apps=(server, client))
    await host.wait_app("server")
    await host.wait_app("client")
    assert await can_reach(host, "client", "server")
    assert await can_reach(host, "client", "server.default")
    assert await can_reach(host, "client", "server.site.example")
    gateway = network.subnet.replace(".0/24", ".1")
    assert await can_reach(host, "client", gateway, port), "by the node's port"
    assert await can_reach(host, "server", gateway, port), "by its own node port"


async def test_nothing_is_allowed_that_no_rule_allows(host: EngineHost, registry: Registry) -> None:
    image, network = host.image(registry.datastore(), "shop/shell:1"), host.network()
    apps = (
        host.app("open", image, network, **SERVE),
        host.app("closed", image, network, acls=(), **SERVE),
        host.app("inward", image, network, acls=(allow(1, AclDirection.INGRESS),), **SERVE),
        host.app("picky", image, network, acls=(allow(1, protocol="tcp", remote_port="80"),)),
    )
    await host.apply(images=(image,), networks=(network,), apps=apps)
    for app in apps:
        await host.wait_app(app.name)
    found = {
        (source, target): await can_reach(host, source, target)
        for source, target in (
            ("open", "closed"),
            ("closed", "open"),
            ("open", "inward"),
            ("inward", "open"),
            ("picky", "open"),
        )
    }
    assert found == {
        ("open", "closed"): False,
        ("closed", "open"): False,
        ("open", "inward"): True,
        ("inward", "open"): False,
        ("picky", "open"): True,
    }


async def test_first_rule_that_matches_decides(host: EngineHost, registry: Registry) -> None:
    image, network = host.image(registry.datastore(), "shop/shell:1"), host.network()
    server = host.app("server", image, network, **SERVE)
    await host.apply(images=(image,), networks=(network,), apps=(server,))
    await host.wait_app("server")
    subnet = f"{address_of(host, 'server')}/32"
    drop = AclRule(1, "", AclDirection.BOTH, AclAction.DROP, subnet=subnet)
    clients = (
        host.app("first", image, network, acls=(drop, ALLOW_ALL)),
        host.app("second", image, network, acls=(allow(2, subnet=subnet), drop)),
    )
    await host.apply(apps=(server, *clients))
    await host.wait_app("first")
    await host.wait_app("second")
    assert not await can_reach(host, "first", "server")
    assert await can_reach(host, "second", "server")


async def test_app_on_two_networks_knows_the_peers_of_both(host: EngineHost, registry: Registry) -> None:
    image = host.image(registry.datastore(), "shop/shell:1")
    front, back = host.network("front"), host.network("back", port_label="")
    both = host.app("both", image, front, back)
    apps = (both, host.app("shop", image, front, **SERVE), host.app("store", image, back, **SERVE))
    await host.apply(images=(image,), networks=(front, back), apps=apps)
    for app in apps:
        await host.wait_app(app.name)
    status = await host.wait_app("both")
    assert [interface.network_id for interface in status.interfaces] == [front.id, back.id]
    assert await can_reach(host, "both", "shop")
    assert await can_reach(host, "both", "store")
    assert not await can_reach(host, "shop", address_of(host, "store")), "networks are apart"


async def test_apps_do_not_reach_the_loopback_of_the_host(host: EngineHost, registry: Registry) -> None:
    image, network = host.image(registry.datastore(), "shop/shell:1"), host.network()
    await host.apply(images=(image,), networks=(network,), apps=(host.app("shell", image, network),))
    await host.wait_app("shell")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        gateway = network.subnet.replace(".0/24", ".1")
        await host.exec("shell", "sh", "-c", f"ip route add 127.0.0.0/8 via {gateway} 2>/dev/null")
        code, _ = await host.exec("shell", "nc", "-w", "1", gateway, str(port))
        assert code != 0
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()


async def test_every_kind_of_rule_is_taken_by_the_kernel() -> None:
    matches: list[dict[str, Any]] = [
        {},
        {"subnet": "10.0.0.0/8"},
        {"subnet": "0.0.0.0/0"},
        {"host": "example.org"},
        {"protocol": "icmp"},
        {"protocol": "47"},
        {"protocol": "sctp", "local_port": "1-65535"},
        {"subnet": "192.0.2.1/32", "protocol": "tcp", "local_port": "80", "remote_port": "1024-2048"},
        {"host": "example.org", "protocol": "udp", "remote_port": "53"},
    ]
    actions: list[dict[str, Any]] = [
        {"action": AclAction.ALLOW},
        {"action": AclAction.DROP},
        {"action": AclAction.LIMIT, "limit_rate": 7, "limit_unit": "m", "limit_burst": 3},
        {"action": AclAction.LIMIT, "limit_rate": 1},
    ]
    rules = [
        AclRule(number, "", direction, **action, **match)
        for number, (direction, action, match) in enumerate(itertools.product(AclDirection, actions, matches))
    ]
    rules += [map_port(80), map_port(81, 8081, protocol="udp")]
    # The loopback stands in for an interface, which must exist.
    vif = WantedVif(
        "a", "n", "eth0", "lo", "n0", "evbr0", "10.0.0.2", 24, "10.0.0.1", "02:00:00:00:00:01", 1500, tuple(rules)
    )
    bridges = tuple(
        WantedBridge(f"n{n}", f"evbr{n}", f"10.{n}.0.1/24", f"10.{n}.0.0/24", 1500, n == 1, "wan" if n == 2 else "")
        for n in range(3)
    )
    maps = (PortMap("a", "tcp", 80, "10.0.0.2", 80, "192.0.2.0/24", "wan"),)
    layout = Layout(bridges, (WantedNetns("a", "a", ("a",), (vif,), "10.0.0.1"),), maps)
    for wanted in (layout, Layout(bridges)):
        await process.run(["nft", "--check", "-f", "-"], stdin=render_ruleset(wanted, "evcheck").encode())


async def test_rules_change_without_cutting_open_connections(host: EngineHost, registry: Registry) -> None:
    port = find_port()
    image, network = host.image(registry.datastore(), "shop/shell:1"), host.network()
    args = ("-ll", "-p", "80", "-e", "/bin/cat")
    server = host.app("server", image, network, acls=(map_port(port),), command=("/bin/nc",), args=args)
    await host.apply(images=(image,), networks=(network,), apps=(server,))
    first = await host.wait_app("server")
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"one\n")
    assert await reader.readline() == b"one\n"
    other = find_port()
    rules = (map_port(other), ALLOW_ALL)
    server = host.app("server", image, network, acls=rules, command=("/bin/nc",), args=args)
    await host.apply(apps=(server,))
    await wait_table(host, f"dport {other}")
    writer.write(b"two\n")
    assert await reader.readline() == b"two\n"
    writer.close()
    again = await host.wait_app("server")
    assert again.container_id == first.container_id
    assert again.restarts == 0


async def test_broken_networks_are_mended(host: EngineHost, registry: Registry) -> None:
    port = find_port()
    image, network = host.image(registry.datastore(), "shop/shell:1"), host.network()
    apps = (
        host.app("server", image, network, acls=(map_port(port), ALLOW_ALL), **SERVE),
        host.app("client", image, network),
    )
    await host.apply(images=(image,), networks=(network,), apps=apps)
    first = await host.wait_app("server")
    await host.wait_app("client")
    instance = host.instance
    bridge, veth = find_link(instance.bridge_prefix), find_link(instance.veth_prefix)
    pid = (instance.dns_dir / bridge / "pid").read_text().strip()
    netns = str(instance.netns_dir / "app-server")
    breakages = (
        ["ip", "link", "delete", bridge],
        ["nft", "delete", "table", "inet", instance.table],
        ["nft", "flush", "chain", "inet", instance.table, "to_port"],
        ["ip", "link", "delete", veth],
        ["ip", "link", "set", veth, "nomaster"],
        ["kill", "-9", pid],
        ["umount", "--lazy", netns],
    )
    for breakage in breakages:
        await process.run(breakage)
        await wait_reach(host, "client", "server")
        await wait_table(host, f"dport {port}")
    again = await host.wait_app("server")
    assert again.container_id == first.container_id
    assert again.restarts == 0


async def test_address_and_mac_stay_with_the_app(host: EngineHost, registry: Registry) -> None:
    image, network = host.image(registry.datastore(), "shop/shell:1"), host.network()
    one, two = host.app("one", image, network), host.app("two", image, network)
    await host.apply(images=(image,), networks=(network,), apps=(one, two))
    before = (await host.wait_app("two")).interfaces
    await host.apply(apps=())
    await host.wait_gone(AppStatus, "app-two")
    await host.apply(apps=(two,))
    assert (await host.wait_app("two")).interfaces == before
    _, shown = await host.exec("two", "cat", "/sys/class/net/eth0/address")
    assert shown.strip() == before[0].mac


async def test_given_address_and_mac_are_used(host: EngineHost, registry: Registry) -> None:
    image, network = host.image(registry.datastore(), "shop/shell:1"), host.network(mtu=1400)
    address = network.subnet.replace(".0/24", ".77")
    interface = DesiredInterface("default", network.id, address, "02:11:22:33:44:55", (ALLOW_ALL,))
    app = host.app("fixed", image, interfaces=(interface,))
    await host.apply(images=(image,), networks=(network,), apps=(app,))
    status = await host.wait_app("fixed")
    assert status.interfaces[0].addresses == (address,)
    _, shown = await host.exec("fixed", "cat", "/sys/class/net/eth0/address", "/sys/class/net/eth0/mtu")
    assert shown.split() == ["02:11:22:33:44:55", "1400"]


async def test_host_port_in_use_is_told_and_left_alone(host: EngineHost, registry: Registry) -> None:
    image, network = host.image(registry.datastore(), "shop/shell:1"), host.network()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        app = host.app("server", image, network, acls=(map_port(port),), **SERVE)
        await host.apply(images=(image,), networks=(network,), apps=(app,))
        status = await host.wait_app("server")
        assert status.fault is not None
        assert status.fault.code == "PortInUse"
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        listener.accept()[0].close()


async def test_impossible_network_stands_beside_a_good_one(host: EngineHost, registry: Registry) -> None:
    image = host.image(registry.datastore(), "shop/shell:1")
    good, bad = host.network("good"), host.network("bad", subnet="10.0.0.0/31")
    apps = (host.app("good", image, good), host.app("bad", image, bad))
    await host.apply(images=(image,), networks=(good, bad), apps=apps)
    await host.wait_app("good")
    status = await host.wait(NetworkStatus, bad.id, lambda found: found.fault is not None)
    assert status.fault is not None
    assert status.fault.code == "SubnetTooSmall"


async def test_names_of_hosts_in_rules_open_their_addresses(host: EngineHost, registry: Registry) -> None:
    image = host.image(registry.datastore(), "shop/shell:1")
    network = host.network(static_hosts={"target.example": ("10.127.255.1",)})
    rule = allow(1, host="target.example")
    app = host.app("shell", image, network, acls=(rule,))
    await host.apply(images=(image,), networks=(network,), apps=(app,))
    await host.wait_app("shell")
    _, answer = await host.exec("shell", "nslookup", "target.example")
    assert "10.127.255.1" in answer
    listed = await process.run(["nft", "list", "table", "inet", host.instance.table])
    assert "ip daddr 10.127.255.1 return" in listed.text


def find_link(prefix: str) -> str:
    return next(path.name for path in Path("/sys/class/net").iterdir() if path.name.startswith(prefix))


async def wait_reach(host: EngineHost, name: str, server: str) -> None:
    async with asyncio.timeout(30):
        while not await can_reach(host, name, server):  # noqa: ASYNC110 - each try waits for an answer
            await asyncio.sleep(0.2)


async def wait_table(host: EngineHost, part: str) -> None:
    async with asyncio.timeout(30):
        while True:
            listed = await process.run(["nft", "list", "table", "inet", host.instance.table], check=False)
            if part in listed.text:
                return
            await asyncio.sleep(0.1)
