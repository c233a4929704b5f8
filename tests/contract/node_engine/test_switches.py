"""Networks of kind Switch on real bridges: ports of the host, addresses from outside, access rules, loops, air gaps."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from eaves.kit import process
from eaves.node import pids
from eaves.node.desired.model import AclAction, AclDirection, AclRule, NetworkKind
from eaves.node.networks.connection import Connection
from eaves.node.networks.model import Port
from eaves.node.networks.rstp import bpdu
from eaves.node.networks.rstp.model import Kind, Message, Vector
from eaves.testing.desired import ALLOW_ALL
from eaves.testing.namespaces import Namespace
from eaves.testing.network_host import NetworkHost

pytestmark = pytest.mark.contract

SWITCH: dict[str, Any] = {"kind": NetworkKind.SWITCH, "subnet": "", "port_label": "floor"}
ALLOW_IPV6 = AclRule(101, "all of IPv6", AclDirection.BOTH, AclAction.ALLOW, subnet="::/0")
PORTS = (Port("floor", "lan0"),)


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[NetworkHost]:
    async with NetworkHost(tmp_path, ports=PORTS) as found:
        yield found


@pytest.fixture
def site(host: NetworkHost, tmp_path: Path) -> Iterator[Namespace]:
    """The network outside: a DHCP server at 10.77.0.1 behind the node's interface lan0, router of 2001:db8:77::/64."""
    with Namespace() as outside:
        host.namespace.connect("lan0", outside, "floor")
        host.namespace.batch("link set lan0 down", "addr flush dev lan0")
        outside.batch("addr add 10.77.0.1/24 dev floor", "addr add 2001:db8:77::1/64 dev floor nodad")
        pid_file = tmp_path / "site.pid"
        outside.run(
            "dnsmasq",
            "--conf-file=/dev/null",
            "--interface=floor",
            "--bind-interfaces",
            "--except-interface=lo",
            "--no-hosts",
            "--no-resolv",
            "--no-ping",
            "--dhcp-range=10.77.0.100,10.77.0.150,1h",
            "--dhcp-range=2001:db8:77::,ra-only,64",
            "--enable-ra",
            "--domain=floor.example",
            f"--dhcp-leasefile={tmp_path / 'site.leases'}",
            f"--pid-file={pid_file}",
        )
        yield outside
        with contextlib.suppress(OSError):
            outside.run("kill", pid_file.read_text().strip(), check=False)


def has_address(connection: Connection) -> bool:
    return bool(connection.interfaces[0].addresses)


async def address_of(host: NetworkHost, app: str, prefix: str = "10.77.0.") -> str:
    found = await host.connection(
        app, lambda now: any(address.startswith(prefix) for address in now.interfaces[0].addresses)
    )
    return next(address for address in found.interfaces[0].addresses if address.startswith(prefix))


async def leased(host: NetworkHost, app: str) -> str:
    """The address of a container once it uses it: the node sees the server's word before the container's client has acted on it."""
    await host.connection(app, lambda found: "nameserver" in found.resolv_conf)
    return await address_of(host, app)


async def can_ping(host: NetworkHost, app: str, address: str) -> bool:
    return (await host.exec(app, "busybox", "ping", "-c", "1", "-W", "3", address))[0] == 0


async def test_container_and_machine_get_addresses_from_outside_and_they_are_learnt(
    host: NetworkHost, site: Namespace
) -> None:
    network = host.network("floor", **SWITCH)
    host.apply(networks=(network,), apps=(host.app("web", network), host.machine("old", network)))
    web = await address_of(host, "web")
    connection = await host.connection("web", lambda found: "nameserver" in found.resolv_conf)
    assert connection.resolv_conf == "nameserver 10.77.0.1\nsearch floor.example\n"
    assert (await host.exec("web", "busybox", "ping", "-c", "1", "-W", "5", "10.77.0.1"))[0] == 0
    with await host.boot("old") as guest:
        lease = await asyncio.to_thread(guest.ask_dhcp)
        assert lease["ip"] == await address_of(host, "old")
        assert " 0% packet loss" in guest.run("busybox", "ping", "-c", "1", "-W", "5", web)
        guest.namespace.batch("addr add 10.77.0.200/24 dev eth0")
        guest.run("busybox", "ping", "-c", "1", "-W", "5", "-I", "10.77.0.200", "10.77.0.1")
        assert await address_of(host, "old", "10.77.0.200")
    status = await host.status(network, lambda found: len(found.leases) >= 3)
    assert (status.active, status.ports, status.bridge_address, status.fault) == (True, ("floor",), "", None)


async def test_ipv6_of_the_site_reaches_apps_that_may_use_it(host: NetworkHost, site: Namespace) -> None:
    network = host.network("floor", **SWITCH)
    host.apply(
        networks=(network,),
        apps=(host.app("six", network, acls=(ALLOW_ALL, ALLOW_IPV6)), host.app("four", network)),
    )
    six = await address_of(host, "six", "2001:db8:77:")
    assert "2001:db8:77:" in six
    await address_of(host, "four", "2001:db8:77:")
    assert (await host.exec("six", "busybox", "ping6", "-c", "1", "-W", "5", "2001:db8:77::1"))[0] == 0


async def test_rules_hold_on_a_switch_and_answers_come_back(host: NetworkHost, site: Namespace) -> None:
    network = host.network("floor", **SWITCH)
    web_only = AclRule(1, "", AclDirection.EGRESS, AclAction.ALLOW, protocol="tcp", remote_port="80")
    apps = (
        host.app("open", network),
        host.app("client", network, acls=(web_only,)),
        host.app("shut", network, acls=()),
    )
    host.apply(networks=(network,), apps=apps)
    found = {app.name: await leased(host, app.name) for app in apps}
    for name in ("open", "shut"):
        await serve(host, name)
    assert await can_get(host, "client", found["open"]), "its own rule lets it out, and the answer in"
    assert not await can_get(host, "client", found["shut"]), "nothing is let in"
    assert not await can_ping(host, "client", found["open"])
    assert not await can_ping(host, "open", found["client"])
    assert await can_ping(host, "open", "10.77.0.1")
    host.apply(apps=(apps[0], host.app("client", network), apps[2]))
    async with asyncio.timeout(30):
        while not await can_ping(host, "open", found["client"]):  # noqa: ASYNC110 - each try waits for an answer
            await asyncio.sleep(0.2)


async def test_an_app_cannot_pose_as_another_nor_as_a_server(host: NetworkHost, site: Namespace) -> None:
    network = host.network("floor", **SWITCH)
    host.apply(networks=(network,), apps=(host.app("web", network), host.app("peer", network)))
    peer = await leased(host, "peer")
    await leased(host, "web")
    assert await can_ping(host, "web", peer)
    inside = (await host.connection("web")).netns
    await process.run(["nsenter", f"--net={inside}", "ip", "link", "set", "eth0", "address", "02:00:00:00:be:ef"])
    assert not await can_ping(host, "web", peer)


async def test_apps_on_a_switch_without_port_have_only_each_other(host: NetworkHost, site: Namespace) -> None:
    network = host.network("island", **(SWITCH | {"port_label": ""}))
    host.apply(networks=(network,), apps=(host.app("a", network), host.app("b", network)))
    for number, name in enumerate("ab"):
        inside = (await host.connection(name)).netns
        await process.run(["nsenter", f"--net={inside}", "ip", "addr", "add", f"10.9.9.{number + 1}/24", "dev", "eth0"])
    assert await can_ping(host, "a", "10.9.9.2")
    await address_of(host, "a", "10.9.9.1")
    site.batch("addr add 10.9.9.9/24 dev floor")
    assert not await can_ping(host, "a", "10.9.9.9")
    status = await host.status(network, lambda found: found.active)
    assert (status.ports, status.fault) == ((), None)


async def test_a_port_that_the_host_uses_is_left_alone_and_told(host: NetworkHost, site: Namespace) -> None:
    host.namespace.batch("addr add 10.77.0.5/24 dev lan0", "link set lan0 up")
    network = host.network("floor", **SWITCH)
    host.apply(networks=(network,), apps=(host.app("a", network),))
    status = await host.status(network, lambda found: found.fault is not None)
    assert status.fault is not None
    assert status.fault.code == "PortNotFree"
    assert "addresses on lan0" in status.fault.message
    assert "master" not in host.namespace.run("ip", "link", "show", "lan0")
    assert site.run("busybox", "ping", "-c", "1", "-W", "5", "10.77.0.5")
    host.namespace.batch("addr flush dev lan0")
    assert await address_of(host, "a"), "taken as soon as it is free"


async def test_apps_on_the_cable_of_the_host_reach_the_site_and_nothing_of_the_host(
    host: NetworkHost, site: Namespace
) -> None:
    host.namespace.batch(
        "link add eaves-lan0 type bridge",
        "link set lan0 master eaves-lan0",
        "link set lan0 up",
        "addr add 10.77.0.5/24 dev eaves-lan0",
        "addr add 2001:db8:77::5/64 dev eaves-lan0 nodad",
        "link set eaves-lan0 up",
    )
    network = host.network("floor", **SWITCH)
    host.apply(
        networks=(network,), apps=(host.app("web", network, acls=(ALLOW_ALL, ALLOW_IPV6)), host.app("b", network))
    )
    web = await leased(host, "web")
    await address_of(host, "web", "2001:db8:77:")
    status = await host.status(network, lambda found: found.ports == ("floor",))
    assert status.fault is None
    await serve(host, "web")
    assert await can_ping(host, "web", "10.77.0.1")
    assert await can_ping(host, "web", await leased(host, "b"))
    for _ in range(2):
        assert site.run("busybox", "ping", "-c", "1", "-W", "5", "10.77.0.5"), "the host is reached beside them"
        assert site.run("busybox", "ping", "-c", "1", "-W", "5", web)
        assert not await can_ping(host, "web", "10.77.0.5")
        assert (await host.exec("web", "busybox", "ping6", "-c", "1", "-W", "2", "2001:db8:77::5"))[0]
        # A false neighbour: the app claims the router's address.
        await host.exec(
            "web", "busybox", "arping", "-U", "-c", "2", "-I", "eth0", "-s", "10.77.0.1", "10.77.0.1", timeout_s=20
        )
        router = site.run("ip", "-o", "link", "show", "floor").split("link/ether ")[1].split()[0]
        host.namespace.run("busybox", "ping", "-c", "1", "-W", "5", "10.77.0.1")
        assert router in host.namespace.run("ip", "neigh", "show", "10.77.0.1", "dev", "eaves-lan0")
    host.apply(networks=(), apps=())
    async with asyncio.timeout(30):
        while "evv" in host.namespace.run("bridge", "link", "show"):
            await host.turn()
    assert "eaves-lan0" in host.namespace.run("ip", "link", "show", "lan0"), "the bridge is not the switch's to remove"
    assert site.run("busybox", "ping", "-c", "1", "-W", "5", "10.77.0.5")


async def test_a_port_goes_back_to_the_host_as_it_was(host: NetworkHost, site: Namespace) -> None:
    before = link_state(host)
    network = host.network("floor", **SWITCH)
    host.apply(networks=(network,), apps=(host.app("a", network),))
    await address_of(host, "a")
    assert "master" in link_state(host)
    host.apply(networks=(), apps=())
    async with asyncio.timeout(30):
        while link_state(host) != before:
            await host.turn()
    host.apply(networks=(network,), apps=(host.app("a", network),))
    await address_of(host, "a")
    await host.stop()
    assert host.networks is not None
    await host.networks.teardown()
    assert link_state(host) == before


async def test_two_cables_to_the_same_site_make_no_loop(tmp_path: Path) -> None:
    ports = (Port("a", "lan0", 0, ("floor",)), Port("b", "lan1", 0, ("floor",)))
    async with NetworkHost(tmp_path, ports=ports) as host:
        with Namespace() as outside:
            outside.batch("link add hub type bridge stp_state 1 forward_delay 200", "link set hub up")
            for name in ("lan0", "lan1"):
                host.namespace.connect(name, outside, name)
                host.namespace.batch(f"addr flush dev {name}")
                outside.batch(f"link set {name} master hub")
            outside.batch("addr add 10.77.0.1/24 dev hub")
            network = host.network("floor", **SWITCH)
            host.apply(networks=(network,), apps=(host.app("a", network),))
            inside = (await host.connection("a")).netns
            await process.run(["nsenter", f"--net={inside}", "ip", "addr", "add", "10.77.0.9/24", "dev", "eth0"])
            await wait_ping(host, "a", "10.77.0.1")
            shown = host.namespace.run("bridge", "-d", "link", "show")
            assert [shown.count("state forwarding"), shown.count("state listening")] == [2, 1], "a cable and the app"
            assert shown.count("locked on") == 1
            status = await host.status(network, lambda found: found.active)
            assert status.ports == ("a", "b")
            status = await host.status(network, lambda found: found.tree is not None and not found.tree.is_root)
            assert status.tree is not None
            assert [(port.name, port.role, port.state) for port in status.tree.ports] == [
                ("a", "Root", "Forwarding"),
                ("b", "Alternate", "Discarding"),
            ]
            assert status.fault is None, "a second cable is no fault"
            outside.batch("link set lan0 down")
            await wait_ping(host, "a", "10.77.0.1")
            # As an earlier release had it.
            host.namespace.batch(f"link set {status.bridge} type bridge stp_state 1 forward_delay 400")
            async with asyncio.timeout(30):
                while "stp_state 0" not in host.namespace.run("ip", "-d", "link", "show", status.bridge):
                    await host.turn()
            await wait_ping(host, "a", "10.77.0.1")


async def test_a_spanning_tree_outlives_the_daemon_and_goes_with_its_switch(tmp_path: Path) -> None:
    ports = (Port("a", "lan0", 0, ("floor",)), Port("b", "lan1", 0, ("floor",)))
    async with NetworkHost(tmp_path, ports=ports) as host:
        with Namespace() as left, Namespace() as right:
            for name, site in (("lan0", left), ("lan1", right)):
                host.namespace.connect(name, site, "floor")
                host.namespace.batch(f"addr flush dev {name}")
                site.batch(f"addr add 10.77.0.{1 + (site is right)}/24 dev floor")
            network = host.network("floor", **SWITCH)
            host.apply(networks=(network,), apps=(host.app("a", network),))
            inside = (await host.connection("a")).netns
            await process.run(["nsenter", f"--net={inside}", "ip", "addr", "add", "10.77.0.9/24", "dev", "eth0"])
            for address in ("10.77.0.1", "10.77.0.2"):
                await wait_ping(host, "a", address)
            pid = await tree_pid(host)
            await host.stop()
            assert left.run("busybox", "ping", "-c", "1", "-W", "5", "10.77.0.2"), "through a node without a daemon"
            await host.start()
            await host.turn()
            assert await tree_pid(host) == pid
            os.kill(pid, signal.SIGKILL)
            async with asyncio.timeout(30):
                while await tree_pid(host) in (0, pid):
                    await host.turn()
            await wait_ping(host, "a", "10.77.0.2")
            only = host.network("floor", **(SWITCH | {"port_label": "a"}))
            host.apply(networks=(only,), apps=(host.app("a", only),))
            async with asyncio.timeout(30):
                while await tree_pid(host):
                    await host.turn()
            await wait_ping(host, "a", "10.77.0.1")
            assert "locked on" not in host.namespace.run("bridge", "-d", "link", "show")
            assert "master" not in host.namespace.run("ip", "link", "show", "lan1")


async def test_apps_cannot_speak_for_the_bridge(tmp_path: Path) -> None:
    ports = (Port("a", "lan0", 0, ("floor",)), Port("b", "lan1", 0, ("floor",)))
    async with NetworkHost(tmp_path, ports=ports) as host:
        with Namespace() as left, Namespace() as right:
            for name, site in (("lan0", left), ("lan1", right)):
                host.namespace.connect(name, site, "floor")
                host.namespace.batch(f"addr flush dev {name}")
                site.batch(f"addr add 10.77.0.{1 + (site is right)}/24 dev floor")
            network = host.network("floor", **SWITCH)
            host.apply(networks=(network,), apps=(host.machine("mad", network),))
            with await host.boot("mad") as guest:
                guest.namespace.batch("addr add 10.77.0.200/24 dev eth0")
                while " 0% packet loss" not in guest.run(  # noqa: ASYNC110 - each try waits for an answer
                    "busybox", "ping", "-c", "1", "-W", "3", "10.77.0.2", check=False
                ):
                    await asyncio.sleep(0.2)
                with right.entered(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as heard:
                    heard.bind(("floor", 3))
                    heard.settimeout(5)
                    with guest.namespace.entered(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as speaker:
                        speaker.bind(("eth0", 0))
                        claim = Message(Kind.RST, Vector(1, 0, 1, 0x8001))
                        speaker.send(
                            bpdu.encode_frame(
                                claim, bytes.fromhex((await host.connection("mad")).taps[0].mac.replace(":", ""))
                            )
                        )
                    roots: list[int] = []
                    while len(roots) < 2:
                        frame = await asyncio.to_thread(heard.recv, 2000)
                        if frame.startswith(bpdu.GROUP_ADDRESS):
                            roots.append(bpdu.parse_frame(frame).priority.root)
                assert 1 not in roots


async def tree_pid(host: NetworkHost) -> int:
    """0 = there is none."""
    return await asyncio.to_thread(load_tree_pid, host.instance.trees_dir)


def load_tree_pid(folder: Path) -> int:
    return next((pids.load_pid(path, str(path.parent)) for path in folder.glob("*/pid")), 0)


async def test_a_flood_on_a_switch_costs_the_daemon_little_and_learns_little(
    host: NetworkHost, site: Namespace
) -> None:
    network = host.network("floor", **SWITCH)
    host.apply(networks=(network,), apps=(host.machine("mad", network), host.app("web", network)))
    await leased(host, "web")
    with await host.boot("mad") as guest:
        await asyncio.to_thread(guest.flood_arp, "10.77.1.", 20000)
        found = (await host.connection("mad", has_address)).interfaces[0].addresses
        assert 0 < len(found) <= 8
        assert await can_ping(host, "web", "10.77.0.1")


async def test_moving_an_app_and_replacing_a_network_in_one_config(host: NetworkHost, site: Namespace) -> None:
    floor, local = host.network("floor", **SWITCH), host.network("inner", 5)
    host.apply(networks=(floor, local), apps=(host.app("a", floor), host.app("b", local)))
    await address_of(host, "a")
    host.apply(apps=(host.app("a", local), host.app("b", local)))
    moved = await address_of(host, "a", "10.5.0.")
    assert await can_ping(host, "b", moved)
    other = host.network("new", 6)
    host.apply(networks=(floor, other), apps=(host.app("a", floor), host.app("b", other)))
    await address_of(host, "a")
    await address_of(host, "b", "10.6.0.")


async def serve(host: NetworkHost, app: str) -> None:
    inside = (await host.connection(app)).netns
    await process.run(["nsenter", f"--net={inside}", "busybox", "httpd", "-p", "80", "-h", "/usr/share/doc"])


async def can_get(host: NetworkHost, app: str, address: str) -> bool:
    code, output = await host.exec(app, "busybox", "nc", "-w", "3", address, "80", "-e", "true")
    return code == 0 or "404" in output


async def wait_ping(host: NetworkHost, app: str, address: str) -> None:
    async with asyncio.timeout(60):
        while not await can_ping(host, app, address):  # noqa: ASYNC110 - each try waits for an answer
            await asyncio.sleep(0.2)


def link_state(host: NetworkHost) -> str:
    """Flags and master of lan0, without counters."""
    return host.namespace.run("ip", "-o", "link", "show", "lan0").split(" link/")[0]
