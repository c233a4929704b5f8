"""Ports that need what only a stock kernel has: VLANs and bonds, by NetworkManager."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from eaves.node.ports.service import Times
from eaves.testing.network_manager import DhcpRouter, ManagedHost
from eaves.testing.port_sections import CONTROLLER, SectionsMaker
from eaves.testing.ports_stage import PortsStage
from eaves.wire.pb.evecommon import netcmn_pb2 as netcmn

TIMES = Times(trial_s=60, margin_s=30, settle_s=20, recheck_s=1)
"""A guest without hardware virtualisation takes its time."""
LIMIT_S = 180


@pytest.fixture(scope="module", autouse=True)
def modules() -> None:
    subprocess.run(["modprobe", "--all", "--quiet", "veth", "8021q", "bonding", "bridge"], check=False)


@pytest.fixture
def box() -> Iterator[ManagedHost]:
    with ManagedHost() as found:
        yield found


@pytest.fixture
def router(box: ManagedHost) -> Iterator[DhcpRouter]:
    with DhcpRouter(box.namespace, "wan0", "10.77.0") as found:
        found.namespace.batch(f"addr add {CONTROLLER}/32 dev lo")
        yield found


def is_gone(box: ManagedHost, interface: str) -> bool:
    return "does not exist" in box.namespace.run("ip", "link", "show", interface, check=False)


async def test_a_vlan_has_addresses_beside_its_port_and_goes_when_it_is_not_wanted(
    box: ManagedHost, router: DhcpRouter, tmp_path: Path
) -> None:
    router.namespace.batch(
        "link add link lan name lan.10 type vlan id 10", "addr add 10.78.0.1/24 dev lan.10", "link set lan.10 up"
    )
    tagged = SectionsMaker().hardware("wan0").vlan("office", "wan0", 10)
    tagged.static("office", "10.78.0.9", "10.78.0.0/24", "10.78.0.1")
    plain = SectionsMaker().hardware("wan0").static("wan0", "10.77.0.9", "10.77.0.0/24", "10.77.0.1")
    async with PortsStage(box, tmp_path, times=TIMES) as stage:
        await stage.applied(tagged.sections(), LIMIT_S)
        assert "10.78.0.9/24" in box.addresses("office")
        assert "vlan protocol 802.1Q id 10" in box.namespace.run("ip", "-d", "link", "show", "office")
        assert "inet" not in box.namespace.run("ip", "-4", "addr", "show", "wan0"), "the cable itself has no address"
        await stage.applied(plain.sections(), LIMIT_S)
        await stage.until(lambda _: is_gone(box, "office"), LIMIT_S)


async def test_a_vlan_that_leads_nowhere_falls_back_and_is_gone(
    box: ManagedHost, router: DhcpRouter, tmp_path: Path
) -> None:
    plain = SectionsMaker().hardware("wan0").static("wan0", "10.77.0.9", "10.77.0.0/24", "10.77.0.1").sections()
    wrong = SectionsMaker().hardware("wan0").vlan("office", "wan0", 99)
    wrong.static("office", "10.78.0.9", "10.78.0.0/24", "10.78.0.1")
    async with PortsStage(box, tmp_path, times=TIMES) as stage:
        await stage.applied(plain, LIMIT_S)
        view = await stage.failed(wrong.sections(), LIMIT_S)
        assert "office: the controller does not answer" in view.records[0].last_error
        await stage.until(lambda _: "10.77.0.9/24" in box.addresses("wan0"), LIMIT_S)
        await stage.until(lambda _: is_gone(box, "office"), LIMIT_S)


async def test_a_bond_carries_on_by_its_second_cable(box: ManagedHost, router: DhcpRouter, tmp_path: Path) -> None:
    # Both cables end in one switch, as cables of a bond do.
    box.namespace.connect("wan1", router.namespace, "lan1")
    router.namespace.batch(
        "link add switch type bridge",
        "addr flush dev lan",
        "link set lan master switch",
        "link set lan1 master switch",
        "addr add 10.77.0.1/24 dev switch",
        "link set switch up",
    )
    router.start_dhcp("switch")
    bonded = SectionsMaker().hardware("wan0", "wan1")
    bonded.bond("bond0", "wan0", "wan1", bond_mode=netcmn.BOND_MODE_ACTIVE_BACKUP).dhcp("bond0")
    async with PortsStage(box, tmp_path, times=TIMES) as stage:
        await stage.applied(bonded.sections(), LIMIT_S)
        assert "10.77.0." in box.addresses("bond0")
        state = "/proc/net/bonding/bond0"
        assert "Currently Active Slave: wan0" in box.namespace.run("cat", state)
        router.namespace.run("ip", "link", "set", "lan", "down")
        await stage.until(lambda _: "Currently Active Slave: wan1" in box.namespace.run("cat", state), LIMIT_S)
        box.namespace.run("busybox", "ping", "-c", "3", "-W", "5", CONTROLLER)


@pytest.mark.soak
async def test_lacp_with_a_switch_that_speaks_it(box: ManagedHost, router: DhcpRouter, tmp_path: Path) -> None:
    box.namespace.connect("wan1", router.namespace, "lan1")
    router.namespace.batch(
        "addr flush dev lan",
        "link set lan down",
        "link set lan1 down",
        "link add switch type bond mode 802.3ad miimon 100 lacp_rate fast",
        "link set lan master switch",
        "link set lan1 master switch",
        "addr add 10.77.0.1/24 dev switch",
        "link set switch up",
    )
    router.start_dhcp("switch")
    bonded = SectionsMaker().hardware("wan0", "wan1")
    bonded.bond("bond0", "wan0", "wan1", bond_mode=netcmn.BOND_MODE_802_3AD, lacp_rate=netcmn.LACP_RATE_FAST)
    bonded.dhcp("bond0")
    async with PortsStage(box, tmp_path, times=TIMES) as stage:
        await stage.applied(bonded.sections(), LIMIT_S)
        assert "10.77.0." in box.addresses("bond0")

        def count_partners(_: object) -> bool:
            state = box.namespace.run("cat", "/proc/net/bonding/bond0")
            return "IEEE 802.3ad" in state and "Number of ports: 2" in state

        # Both cables in one aggregator: the other side agreed.
        await stage.until(count_partners, LIMIT_S)
        router.namespace.run("ip", "link", "set", "lan", "down")
        await stage.until(
            lambda _: "Number of ports: 1" in box.namespace.run("cat", "/proc/net/bonding/bond0"), LIMIT_S
        )
        box.namespace.run("busybox", "ping", "-c", "3", "-W", "5", CONTROLLER)
