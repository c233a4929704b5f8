"""What networks do with a kernel that has everything: VLANs of switches, guarded ports, lossy uplinks."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from eaves.kit import process
from eaves.node.desired.model import DesiredApp, DesiredNetwork, NetworkKind
from eaves.node.desired.network_model import AccessPort, DesiredRoute, Probe
from eaves.node.networks.model import Port
from eaves.testing.namespaces import Namespace
from eaves.testing.network_host import NetworkHost
from eaves.testing.uplinks import Uplinks

LIMIT_S = 180
"""A guest without hardware virtualisation takes its time."""
SWITCH: dict[str, Any] = {"kind": NetworkKind.SWITCH, "subnet": "", "port_label": "floor"}
PORTS = (Port("trunk", "lan0", 0, ("floor",)), Port("desk", "lan1", 0, ("floor",)))


@pytest.fixture(scope="module", autouse=True)
def modules() -> None:
    names = ["bridge", "veth", "8021q", "tun", "nf_tables", "nft_meta_bridge", "sch_netem"]
    subprocess.run(["modprobe", "--all", "--quiet", *names], check=False)


@pytest.fixture
def site() -> Iterator[Namespace]:
    """Two cables: one with VLANs 10 and 20 tagged (10.10.0.1, 10.20.0.1), one with a desk that knows no VLANs (10.20.0.7)."""
    with Namespace() as outside:
        yield outside


@pytest.fixture
def desk() -> Iterator[Namespace]:
    with Namespace() as found:
        yield found


def plug(host: NetworkHost, site: Namespace, desk: Namespace) -> None:
    host.namespace.connect("lan0", site, "cable")
    host.namespace.connect("lan1", desk, "cable")
    for name in ("lan0", "lan1"):
        host.namespace.batch(f"addr flush dev {name}")
    for vlan in (10, 20):
        site.batch(
            f"link add link cable name cable.{vlan} type vlan id {vlan}",
            f"addr add 10.{vlan}.0.1/24 dev cable.{vlan}",
            f"link set cable.{vlan} up",
        )
    desk.batch("addr add 10.20.0.7/24 dev cable")


def on_vlan(host: NetworkHost, name: str, network: DesiredNetwork, vlan: int) -> DesiredApp:
    app = host.app(name, network)
    return msgspec.structs.replace(app, interfaces=(msgspec.structs.replace(app.interfaces[0], vlan=vlan),))


async def set_address(host: NetworkHost, app: str, address: str) -> None:
    inside = (await host.connection(app, limit_s=LIMIT_S)).netns
    await process.run(["nsenter", f"--net={inside}", "ip", "addr", "add", address, "dev", "eth0"])


async def can_ping(host: NetworkHost, app: str, address: str) -> bool:
    return (await host.exec(app, "busybox", "ping", "-c", "2", "-W", "3", address))[0] == 0


async def wait_ping(host: NetworkHost, app: str, address: str) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not await can_ping(host, app, address):  # noqa: ASYNC110 - each try waits for an answer
            await asyncio.sleep(0.1)


async def test_vlans_are_apart_on_one_switch(tmp_path: Path, site: Namespace, desk: Namespace) -> None:
    # Kernels before 6.9 take spanning-tree messages in the first namespace alone.
    async with NetworkHost(tmp_path, namespace=Namespace.at("/proc/self/ns/net"), ports=PORTS) as host:
        plug(host, site, desk)
        network = host.network("floor", **SWITCH, access_ports=(AccessPort("desk", 20),))
        ten, twenty = on_vlan(host, "ten", network, 10), on_vlan(host, "twenty", network, 20)
        host.apply(networks=(network,), apps=(ten, twenty, host.app("trunk", network)))
        await set_address(host, "ten", "10.10.0.5/24")
        await set_address(host, "twenty", "10.20.0.5/24")
        await wait_ping(host, "ten", "10.10.0.1")
        await wait_ping(host, "twenty", "10.20.0.1")
        await wait_ping(host, "twenty", "10.20.0.7")
        await set_address(host, "ten", "10.20.0.6/24")
        assert not await can_ping(host, "ten", "10.20.0.5"), "the same switch, another VLAN"
        inside = (await host.connection("trunk")).netns
        trunk = Namespace.at(inside)
        trunk.batch(
            "link add link eth0 name eth0.10 type vlan id 10",
            "addr add 10.10.0.9/24 dev eth0.10",
            "link set eth0.10 up",
        )
        trunk.close()
        await wait_ping(host, "trunk", "10.10.0.5")
        host.apply(apps=(on_vlan(host, "ten", network, 20), twenty))
        await wait_ping(host, "ten", "10.20.0.5")
        status = await host.status(network, lambda found: found.active)
        assert (status.fault, sorted(status.ports)) == (None, ["desk", "trunk"])


async def test_a_guarded_port_goes_down_when_a_bridge_is_plugged_in(
    tmp_path: Path, site: Namespace, desk: Namespace
) -> None:
    # Kernels before 6.9 take spanning-tree messages in the first namespace alone.
    async with NetworkHost(tmp_path, namespace=Namespace.at("/proc/self/ns/net"), ports=PORTS) as host:
        plug(host, site, desk)
        network = host.network("floor", **SWITCH, bpdu_guard_label="desk")
        host.apply(networks=(network,), apps=(host.app("a", network),))
        await set_address(host, "a", "10.20.0.5/24")
        await wait_ping(host, "a", "10.20.0.7")
        desk.batch(
            # It is the root wherever messages reach it, so it goes on sending: one that has found a better root falls silent.
            "link add hub type bridge priority 0 stp_state 1 forward_delay 200 hello_time 100",
            "addr flush dev cable",
            "link set cable master hub",
            "addr add 10.20.0.7/24 dev hub",
            "link set hub up",
        )
        async with asyncio.timeout(LIMIT_S):
            while "locked on" not in host.namespace.run("bridge", "-d", "link", "show", "dev", "lan1"):  # noqa: ASYNC110
                await asyncio.sleep(0.2)
        assert not await can_ping(host, "a", "10.20.0.7")
        status = await host.status(network, lambda found: found.fault is not None, LIMIT_S)
        assert status.fault is not None
        assert status.fault.code == "PortGuarded"


async def test_an_uplink_that_loses_everything_is_left_and_one_that_loses_little_is_kept(tmp_path: Path) -> None:
    ports = (Port("cable", "wan0"), Port("modem", "wan1", 10))
    async with NetworkHost(tmp_path, ports=ports, probe_every_s=0.3) as host:
        with Uplinks(host.namespace) as world:
            probe = Probe(ping_gateway=True, ping_max_cost=255)
            network = host.network(routes=(DesiredRoute("0.0.0.0/0", port_label="uplink", probe=probe),))
            host.apply(networks=(network,), apps=(host.app("web", network),))
            await host.status(network, lambda found: found.uplink == "wan0", LIMIT_S)
            lan = world.routers[0]
            lan.run("tc", "qdisc", "add", "dev", "lan", "root", "netem", "loss", "5%", "delay", "50ms")
            await asyncio.sleep(6)
            await host.status(network, lambda found: found.uplink == "wan0", LIMIT_S)
            lan.run("tc", "qdisc", "change", "dev", "lan", "root", "netem", "loss", "100%")
            await host.status(network, lambda found: found.uplink == "wan1", LIMIT_S)
