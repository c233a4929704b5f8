"""Mobile networks: ModemManager, NetworkManager and pppd as they are, a modem on serial lines, and an operator's machine behind it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from eaves.node.ports.modem_model import ModemState
from eaves.node.ports.service import Times
from eaves.testing import modem as modems
from eaves.testing.modem import Modem, Sim
from eaves.testing.modem_services import ModemServices, find_modem_lines
from eaves.testing.network_manager import DhcpRouter, ManagedHost
from eaves.testing.port_sections import CONTROLLER, SectionsMaker
from eaves.testing.ports_stage import PortsStage

log = logging.getLogger(__name__)

TIMES = Times(trial_s=90, margin_s=30, settle_s=60, recheck_s=1)
"""A guest without hardware virtualisation takes its time."""
LIMIT_S = 240
pytestmark = pytest.mark.soak
APN, USER, PASSWORD = "internet.example", "till-17", "correct horse battery"


@pytest.fixture
def box() -> Iterator[ManagedHost]:
    with ManagedHost() as found:
        yield found


@pytest.fixture
def modem(box: ManagedHost) -> Iterator[Modem]:
    with Modem(find_modem_lines(), "10.64.0", sim=Sim(), apns=[APN], users={USER: PASSWORD}) as found:
        found.network.batch(f"addr add {CONTROLLER}/32 dev lo")
        with ModemServices(box.address) as services:
            yield found
            log.info("services: %s", services.log())
        log.info("peer: %s commands: %s", found.log(), found.said[-40:])


def route(box: ManagedHost) -> str:
    return box.namespace.run("ip", "route", "get", CONTROLLER, check=False)


async def test_a_call_carries_the_node_when_its_cable_is_cut(
    box: ManagedHost, modem: Modem, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with DhcpRouter(box.namespace, "wan0", "10.77.0") as cable:
        cable.start_dhcp()
        cable.namespace.batch(f"addr add {CONTROLLER}/32 dev lo")
        wanted = SectionsMaker().hardware("wan0").dhcp("wan0")
        wanted.cellular("wwan0", APN, user=USER, password=PASSWORD).dhcp("wwan0", cost=10)
        async with PortsStage(box, tmp_path, times=TIMES) as stage:
            await stage.applied(wanted.sections(), LIMIT_S)
            view = await stage.until(lambda view: not view.faults and bool(view.modems), LIMIT_S)
            seen = view.modems["wwan0"]
            assert (seen.state, seen.imei, seen.operator) == (ModemState.CONNECTED, modems.IMEI, modems.OPERATOR)
            assert [(bearer.apn, bearer.is_connected) for bearer in seen.bearers] == [(APN, True)]
            assert next(port for port in view.setups[0].ports if port.label == "wwan0").interface == "ppp0"
            assert "10.64.0.2" in box.addresses("ppp0")
            assert "dev wan0" in route(box), "the cheaper one carries"
            cable.namespace.run("ip", "link", "set", "lan", "down")
            await stage.until(lambda _: "dev ppp0" in route(box), LIMIT_S)
            box.namespace.run("busybox", "ping", "-c", "1", "-W", "5", CONTROLLER)
            commands = box.namespace.run("ps", "-eww", "-o", "args")
            assert PASSWORD not in caplog.text + box.log() + box.profiles() + commands


@pytest.mark.parametrize(
    ("apn", "password", "said"),
    [
        (APN, "wrong horse battery", "check access point name, username and password"),
        ("elsewhere", PASSWORD, "no carrier"),
    ],
    ids=["wrong password", "wrong access point"],
)
async def test_a_call_that_is_refused_is_told(
    box: ManagedHost, modem: Modem, tmp_path: Path, apn: str, password: str, said: str
) -> None:
    wanted = SectionsMaker().cellular("wwan0", apn, user=USER, password=password).dhcp("wwan0")
    async with PortsStage(box, tmp_path, times=TIMES) as stage:
        view = await stage.failed(wanted.sections(), LIMIT_S)
        assert said in view.records[0].last_error


async def test_a_call_that_ends_is_made_again(box: ManagedHost, modem: Modem, tmp_path: Path) -> None:
    wanted = SectionsMaker().cellular("wwan0", APN, user=USER, password=PASSWORD).dhcp("wwan0")
    async with PortsStage(box, tmp_path, times=TIMES) as stage:
        await stage.applied(wanted.sections(), LIMIT_S)
        calls = modem.calls
        modem.hang_up()
        await stage.until(lambda _: modem.calls > calls and "dev ppp0" in route(box), LIMIT_S)
        box.namespace.run("busybox", "ping", "-c", "1", "-W", "5", CONTROLLER)
