"""Modems by a real ModemManager and NetworkManager. A modem on a socket carries no data; that it does, ``tests/guest`` shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from eaves.node.ports.modem_model import ModemState, Registration, Technology
from eaves.node.ports.service import Times
from eaves.testing import modem as modems
from eaves.testing.modem import Modem, Sim
from eaves.testing.modem_services import ModemServices, listen_as_modem
from eaves.testing.network_manager import ManagedHost
from eaves.testing.port_sections import SectionsMaker
from eaves.testing.ports_stage import PortsStage

LIMIT_S = 120
SHORT = Times(trial_s=4, margin_s=4, settle_s=2, retry_s=600, recheck_s=1)
PIN = Times(trial_s=8, margin_s=4, settle_s=2, retry_s=600, recheck_s=1)
LONG = Times(trial_s=60, margin_s=30, settle_s=2, retry_s=600, recheck_s=1)

Plug = Callable[..., Modem]


@pytest.fixture
def box() -> Iterator[ManagedHost]:
    with ManagedHost() as found:
        yield found


@pytest.fixture
def plug(box: ManagedHost) -> Iterator[Plug]:
    """Give the box a modem, and what uses it."""
    opened: list[Modem | ModemServices] = []
    with listen_as_modem() as line:

        def do(sim: Sim | None, registration: modems.Registration = modems.Registration.HOME) -> Modem:
            found = Modem([line], "10.64.0", sim=sim, registration=registration, apns=["internet.example"])
            opened.append(found.__enter__())
            opened.append(ModemServices(box.address, line=line).__enter__())
            return found

        yield do
        for one in reversed(opened):
            one.__exit__()


def sections(pin: str = "", *, forbid_roaming: bool = False) -> bytes:
    maker = SectionsMaker().cellular("wwan0", "internet.example", pin=pin, forbid_roaming=forbid_roaming)
    return maker.dhcp("wwan0").sections()


async def test_a_modem_is_told_with_its_card_and_its_network(box: ManagedHost, plug: Plug, tmp_path: Path) -> None:
    plug(Sim())
    async with PortsStage(box, tmp_path, times=LONG) as stage:
        modem = await stage.modem(lambda modem: modem.registration is Registration.HOME, LIMIT_S)
        assert (modem.imei, modem.model) == (modems.IMEI, modems.MODEL)
        assert (modem.plmn, modem.operator) == (modems.PLMN, modems.OPERATOR)
        assert modem.technologies == (Technology.LTE,)
        (sim,) = modem.sims
        assert (sim.iccid, sim.imsi) == (Sim.iccid, Sim.imsi)


async def test_the_signal_is_measured(box: ManagedHost, plug: Plug, tmp_path: Path) -> None:
    plug(Sim())
    async with PortsStage(box, tmp_path, times=SHORT) as stage:
        await stage.modem(lambda modem: modem.registration is Registration.HOME, LIMIT_S)
        signal = await stage.signal(lambda signal: signal.rsrp is not None, LIMIT_S)
        assert (signal.rsrp, signal.rsrq) == (modems.RSRP_DBM, modems.RSRQ_DB)


async def test_a_modem_that_is_not_there_is_named(box: ManagedHost, tmp_path: Path) -> None:
    async with PortsStage(box, tmp_path, times=SHORT) as stage:
        view = await stage.failed(sections(), LIMIT_S)
        assert view.records[0].last_error == "wwan0: the modem is not up: ModemManager does not run"


@pytest.mark.parametrize(
    ("pin", "registration", "seen", "said"),
    [
        (None, modems.Registration.HOME, ModemState.FAILED, "the modem has no SIM card"),
        ("4711", modems.Registration.HOME, ModemState.LOCKED, "the SIM card asks for its PIN (3 tries left)"),
        ("", modems.Registration.DENIED, Registration.DENIED, "the mobile network denies registration"),
        ("", modems.Registration.SEARCHING, ModemState.SEARCHING, "no mobile network takes it in"),
    ],
    ids=["no card", "no PIN", "denied", "searching"],
)
async def test_why_no_call_is_made_is_told(
    box: ManagedHost,
    plug: Plug,
    tmp_path: Path,
    pin: str | None,
    registration: modems.Registration,
    seen: ModemState | Registration,
    said: str,
) -> None:
    plug(None if pin is None else Sim(pin), registration)
    async with PortsStage(box, tmp_path, times=SHORT) as stage:
        await stage.modem(lambda modem: seen in (modem.state, modem.registration), LIMIT_S)
        view = await stage.failed(sections(), LIMIT_S)
        assert view.records[0].last_error.endswith(f" is not up: {said}")


async def test_a_network_of_others_is_left_alone_when_roaming_is_forbidden(
    box: ManagedHost, plug: Plug, tmp_path: Path
) -> None:
    plug(Sim(), modems.Registration.ROAMING)
    async with PortsStage(box, tmp_path, times=SHORT) as stage:
        await stage.modem(lambda modem: modem.registration is Registration.ROAMING, LIMIT_S)
        view = await stage.failed(sections(forbid_roaming=True), LIMIT_S)
        said = f"it is in the network of {modems.OPERATOR}, and roaming is forbidden"
        assert view.records[0].last_error.endswith(f" is not up: {said}")


async def test_a_card_is_opened_by_its_pin(
    box: ManagedHost, plug: Plug, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    modem = plug(Sim("4711"))
    async with PortsStage(box, tmp_path, times=LONG) as stage:
        stage.ports.take(sections("4711"))
        await stage.modem(lambda seen: seen.state > ModemState.LOCKED, LIMIT_S)
        assert modem.sim is not None
        assert modem.sim.tried == ["4711"]
        assert "4711" not in caplog.text + box.log() + (tmp_path / "modems.json").read_text()


async def test_a_wrong_pin_is_entered_once_whatever_happens(box: ManagedHost, plug: Plug, tmp_path: Path) -> None:
    modem = plug(Sim("4711"))
    sim = modem.sim
    assert sim is not None
    # Another config, another daemon, the same PIN.
    for forbid_roaming in (False, True):
        async with PortsStage(box, tmp_path, times=PIN) as stage:
            await stage.modem(lambda seen: seen.state is ModemState.LOCKED, LIMIT_S)
            view = await stage.failed(sections("0000", forbid_roaming=forbid_roaming), LIMIT_S)
            assert "the PIN of the SIM card is wrong and is not sent again" in view.records[0].last_error
            assert sim.tried == ["0000"]
    async with PortsStage(box, tmp_path, times=LONG) as stage:
        stage.ports.take(sections("4711"))
        await stage.modem(lambda seen: seen.state > ModemState.LOCKED, LIMIT_S)
    assert sim.tried == ["0000", "4711"]


async def test_the_last_try_is_left_to_people(box: ManagedHost, plug: Plug, tmp_path: Path) -> None:
    sim = Sim("4711")
    sim.tries_left = 1
    plug(sim)
    async with PortsStage(box, tmp_path, times=SHORT) as stage:
        await stage.modem(lambda seen: seen.state is ModemState.LOCKED and seen.tries_left == 1, LIMIT_S)
        view = await stage.failed(sections("4711"), LIMIT_S)
        assert "which is left to people" in view.records[0].last_error
        assert sim.tried == []
