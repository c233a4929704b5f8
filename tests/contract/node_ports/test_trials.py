"""A new config of the ports is tried, and comes into force or goes: with NetworkManager itself."""

from __future__ import annotations

import asyncio
from pathlib import Path

from msgspec.structs import replace

from eaves.node.ports.service import remove_profiles
from eaves.testing.network_manager import DhcpRouter, ManagedHost
from eaves.testing.port_sections import SectionsMaker
from eaves.testing.ports_stage import TIMES, PortsStage

DHCP = SectionsMaker().hardware("wan0").dhcp("wan0").sections()
STATIC = SectionsMaker().hardware("wan0").static("wan0", "10.77.0.9", "10.77.0.0/24", "10.77.0.1").sections()
BAD = SectionsMaker().hardware("wan0").static("wan0", "10.99.0.9", "10.99.0.0/24", "10.99.0.1").sections()


async def test_dhcp_then_a_static_address(box: ManagedHost, router: DhcpRouter, tmp_path: Path) -> None:
    async with PortsStage(box, tmp_path) as stage:
        await stage.applied(DHCP)
        assert "10.77.0.1" in box.addresses("wan0")
        view = await stage.applied(STATIC)
        assert (view.index, view.records[0].last_error) == (0, "")
        assert "10.77.0.9/24" in box.addresses("wan0")
        assert len((await stage.observe()).profiles) == 1, "the former profile is gone"
    assert "10.77.0.9/24" in box.addresses("wan0"), "the network stays when the daemon ends"


async def test_a_config_that_does_not_lead_to_the_controller_falls_back(
    box: ManagedHost, router: DhcpRouter, tmp_path: Path
) -> None:
    async with PortsStage(box, tmp_path) as stage:
        await stage.applied(STATIC)
        view = await stage.failed(BAD)
        assert view.records[0].last_error == "wan0: the controller does not answer"
        assert view.records[view.index].sections == STATIC
        await stage.until(lambda _: "10.77.0.9/24" in box.addresses("wan0"))
        assert "10.99.0.9" not in box.addresses("wan0")
        assert len((await stage.observe()).profiles) == 1


async def test_without_an_answer_of_dhcp_it_falls_back_to_what_the_host_had(
    box: ManagedHost, router: DhcpRouter, tmp_path: Path
) -> None:
    router.stop_dhcp()
    async with PortsStage(box, tmp_path) as stage:
        view = await stage.failed(DHCP)
        assert view.records[0].last_error.startswith("wan0: wan0 is not up")
        assert view.records[view.index].key == "host"
        assert not (await stage.observe()).profiles


async def test_a_port_that_does_not_exist_is_named(box: ManagedHost, router: DhcpRouter, tmp_path: Path) -> None:
    async with PortsStage(box, tmp_path) as stage:
        view = await stage.failed(SectionsMaker().hardware("eth7").dhcp("eth7").sections())
        assert "eth7 does not exist" in view.records[0].last_error


async def test_a_daemon_that_dies_in_a_trial_leaves_the_network_as_it_was(
    box: ManagedHost, router: DhcpRouter, tmp_path: Path
) -> None:
    async with PortsStage(box, tmp_path) as stage:
        await stage.applied(STATIC)
    async with PortsStage(box, tmp_path) as stage:
        stage.ports.take(BAD)
        await stage.until(lambda _: "10.99.0.9" in box.addresses("wan0"))
        await stage.kill()
    async with asyncio.timeout(60):
        while "10.77.0.9/24" not in box.addresses("wan0"):  # noqa: ASYNC110 - each look is a command of its own
            await asyncio.sleep(0.2)
    assert "10.99.0.9" not in box.addresses("wan0")
    async with PortsStage(box, tmp_path) as stage:
        view = await stage.failed(BAD)
        assert "the node daemon ended" in view.records[0].last_error
        assert view.records[view.index].sections == STATIC


async def test_a_daemon_that_comes_back_in_a_trial_ends_it_at_once(
    box: ManagedHost, router: DhcpRouter, tmp_path: Path
) -> None:
    times = replace(TIMES, trial_s=300, margin_s=300)
    async with PortsStage(box, tmp_path, times=times) as stage:
        await stage.applied(STATIC)
        stage.ports.take(BAD)
        await stage.until(lambda _: "10.99.0.9" in box.addresses("wan0"))
        await stage.kill()
    async with PortsStage(box, tmp_path, times=times) as stage:
        await stage.until(lambda _: "10.77.0.9/24" in box.addresses("wan0"))


async def test_a_failed_config_is_tried_again_and_comes_into_force_once_it_works(
    box: ManagedHost, router: DhcpRouter, tmp_path: Path
) -> None:
    router.stop_dhcp()
    async with PortsStage(box, tmp_path, times=replace(TIMES, retry_s=1)) as stage:
        await stage.failed(DHCP)
        router.start_dhcp()
        await stage.applied(DHCP)


async def test_the_machine_boots_into_what_worked_last(box: ManagedHost, router: DhcpRouter, tmp_path: Path) -> None:
    async with PortsStage(box, tmp_path) as stage:
        await stage.applied(STATIC)
    box.kill_manager()
    box.namespace.batch("addr flush dev wan0")
    box.start_manager()
    async with PortsStage(box, tmp_path) as stage:
        await stage.until(lambda _: "10.77.0.9/24" in box.addresses("wan0"))


async def test_what_is_withdrawn_and_what_is_reset_leaves_nothing(
    box: ManagedHost, router: DhcpRouter, tmp_path: Path
) -> None:
    async with PortsStage(box, tmp_path) as stage:
        await stage.applied(STATIC)
        stage.ports.take(b"")
        await stage.until(lambda view: view.records[0].key == "host")
        await stage.until(lambda _: "10.77.0.9" not in box.addresses("wan0"))
        assert not (await stage.observe()).profiles
        await stage.applied(STATIC)
    await remove_profiles("test", stage.open_manager)
    assert not (await stage.observe()).profiles
    assert "10.77.0.9" not in box.addresses("wan0")


async def test_the_cheaper_port_is_used_first(
    box: ManagedHost, router: DhcpRouter, second: DhcpRouter, tmp_path: Path
) -> None:
    both = SectionsMaker().hardware("wan0", "wan1").dhcp("wan0", cost=10).dhcp("wan1", cost=0).sections()
    async with PortsStage(box, tmp_path) as stage:
        await stage.applied(both)
        assert "dev wan1" in box.namespace.run("ip", "route", "get", "203.0.113.9")
        second.namespace.run("ip", "link", "set", "lan", "down")
        await stage.until(lambda _: "dev wan0" in box.namespace.run("ip", "route", "get", "203.0.113.9", check=False))


async def test_addresses_that_somebody_set_by_hand_come_back(
    box: ManagedHost, router: DhcpRouter, tmp_path: Path
) -> None:
    # Long before: a NetworkManager that hears of the address first takes down what there is without the route.
    box.kill_manager()
    box.namespace.batch("addr add 10.77.0.2/24 dev wan0", "route add default via 10.77.0.1 dev wan0")
    box.start_manager()
    async with PortsStage(box, tmp_path) as stage:
        await stage.failed(BAD)
        await stage.until(lambda _: "10.77.0.2/24" in box.addresses("wan0"))
        await stage.until(
            lambda _: "via 10.77.0.1" in box.namespace.run("ip", "route", "get", "203.0.113.9", check=False)
        )
        assert "10.99.0.9" not in box.addresses("wan0")


async def test_what_others_make_during_a_trial_stays_when_it_goes_back(
    box: ManagedHost, router: DhcpRouter, tmp_path: Path
) -> None:
    async with PortsStage(box, tmp_path) as stage:
        await stage.applied(STATIC)
        stage.ports.take(BAD)
        await stage.until(lambda _: "10.99.0.9" in box.addresses("wan0"))
        box.namespace.batch(
            "link add apps type bridge",
            "addr add 10.50.0.1/24 dev apps",
            "link set apps up",
            "link add in type veth peer name out",
            "link set in master apps",
            "link set in up",
            "link set out up",
        )
        await stage.failed(BAD)
        await stage.until(lambda _: "10.77.0.9/24" in box.addresses("wan0"))
        assert "10.50.0.1/24" in box.addresses("apps")
        assert "master apps" in box.namespace.run("ip", "link", "show", "in")


async def test_time_servers_of_dhcp_and_of_the_config_reach_the_time_service(
    box: ManagedHost, router: DhcpRouter, tmp_path: Path
) -> None:
    router.stop_dhcp()
    router.start_dhcp("lan", "--dhcp-option=option:ntp-server,10.77.0.1,10.77.0.3")
    maker = SectionsMaker().hardware("wan0").dhcp("wan0")
    maker.config.networks[0].ip.ntp = "time.example"
    maker.config.networks[0].ip.more_ntp.append("2001:db8::9; rm -rf /")
    sources = tmp_path / "run/chrony-dhcp/eaves-test.sources"
    async with PortsStage(box, tmp_path) as stage:
        await stage.applied(maker.sections())
        view = await stage.until(lambda view: bool(view.time_servers))
        assert view.time_servers == {"wan0": ("time.example", "10.77.0.1", "10.77.0.3")}
        assert sources.read_text().split("\n")[:2] == ["server time.example iburst", "server 10.77.0.1 iburst"]
        maker.config.networks[0].ip.dhcp_options_ignore.ntp_server_exclusively = True
        await stage.applied(maker.sections())
        await stage.until(lambda view: view.time_servers == {"wan0": ("time.example",)})
        stage.ports.take(b"")
        await stage.until(lambda _: not sources.exists())
