"""Which PINs are sent, and which modem a port is."""

from __future__ import annotations

from msgspec.structs import replace

from eaves.node.desired.port_model import Medium, PortSetup, PortsSetup
from eaves.node.ports.model import LinkState, SeenLink, SeenManager
from eaves.node.ports.modem_model import FailedReason, Lock, ModemState, Registration, SeenModem, SeenSim, explain_modem
from eaves.node.ports.modems import PinTry, explain_refusal, find_modem, list_modems, place_modems

LTE = PortSetup("lte", "wwan0", Medium.CELLULAR)
WAN = PortSetup("wan", "eth0")
MODEM = SeenModem("/modem/0", ("cdc-wdm0", "wwan0"), imei="1")


def see(*modems: SeenModem, interface: str = "") -> SeenManager:
    link = SeenLink("cdc-wdm0", LinkState.UP, modem="/modem/0", ip_interface=interface)
    return SeenManager("1.52", {}, {"cdc-wdm0": link}, modems=modems)


def test_a_pin_is_sent_once() -> None:
    assert not explain_refusal(None, "a", 3)
    assert not explain_refusal(PinTry("b", 3, 1, is_refused=True), "a", 2), "another PIN"
    assert explain_refusal(PinTry("a", 3, 1, is_refused=True), "a", 2)


def test_a_pin_of_which_nobody_knows_whether_it_was_heard_is_sent_again_while_the_card_counts_no_try() -> None:
    assert not explain_refusal(PinTry("a", 3, 1), "a", 3)
    assert explain_refusal(PinTry("a", 3, 1), "a", 2), "the card heard it"
    assert not explain_refusal(PinTry("a", None, 1), "a", None)
    assert explain_refusal(PinTry("a", None, 2), "a", None), "a card that does not count is not trusted for long"


def test_the_last_try_is_left_to_people() -> None:
    assert "left to people" in explain_refusal(None, "a", 1)
    assert "left to people" in explain_refusal(PinTry("b", 2, 1), "a", 0)


def test_a_modem_is_found_by_its_interface_or_by_being_the_only_one() -> None:
    other = SeenModem("/modem/1", ("ttyUSB0",))
    assert find_modem(LTE, see(MODEM, other)) == MODEM
    assert find_modem(LTE, see(other)) == other
    assert find_modem(replace(LTE, interface="wwan7"), see(MODEM, other)) is None
    assert find_modem(WAN, see(MODEM)) is None
    assert list_modems(PortsSetup((WAN, LTE)), see(MODEM)) == {"lte": MODEM}


def test_a_port_is_where_its_call_is() -> None:
    setup = PortsSetup((WAN, LTE))
    assert [port.interface for port in place_modems(setup, see(MODEM, interface="ppp0")).ports] == ["eth0", "ppp0"]
    assert place_modems(setup, see(MODEM)) == setup


def test_why_no_call_is_made() -> None:
    assert not explain_modem(replace(MODEM, state=ModemState.REGISTERED, registration=Registration.HOME))
    missing = replace(MODEM, state=ModemState.FAILED, failed=FailedReason.SIM_MISSING)
    assert explain_modem(missing) == "the modem has no SIM card"
    puk = replace(MODEM, state=ModemState.LOCKED, lock=Lock.SIM_PUK)
    assert "asks for its PUK" in explain_modem(puk)
    away = replace(MODEM, state=ModemState.REGISTERED, registration=Registration.ROAMING, operator="Other")
    assert not explain_modem(away)
    assert explain_modem(away, forbids_roaming=True) == "it is in the network of Other, and roaming is forbidden"


def test_a_card_that_cannot_be_read_is_known_by_its_modem() -> None:
    assert MODEM.card_id == "1"
    assert replace(MODEM, sims=(SeenSim("/sim/0", iccid="8988"),)).card_id == "8988"
