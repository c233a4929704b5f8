"""What NetworkManager has, against what it should have."""

from __future__ import annotations

from msgspec.structs import replace

from eaves.node.desired.port_model import BridgeSetup, Medium, PortSetup, PortsSetup, WifiNetwork
from eaves.node.ports.model import Changes, LinkState, Profile, SeenLink, SeenManager
from eaves.node.ports.modem_model import Lock, ModemState, SeenModem
from eaves.node.ports.plan import find_faults, plan_changes
from eaves.node.ports.render import render_profiles

(WAN,) = render_profiles(PortsSetup((PortSetup("wan", "eth0"),)), "eaves", b"k")
(LTE,) = render_profiles(PortsSetup((PortSetup("lte", "wwan0", Medium.CELLULAR),)), "eaves", b"k")
WIFI = render_profiles(
    PortsSetup((PortSetup("wifi", "wlan0", Medium.WIFI, wifi=(WifiNetwork("a"), WifiNetwork("b", priority=3))),)),
    "eaves",
    b"k",
)


def see(*links: SeenLink, profiles: tuple[Profile, ...] = ()) -> SeenManager:
    return SeenManager("1.52", {p.uuid: p.name for p in profiles}, {link.interface: link for link in links})


def link(profile: Profile, state: LinkState = LinkState.UP, reason: str = "") -> SeenLink:
    return SeenLink(profile.interface, state, profile.uuid, reason)


def test_a_new_profile_is_added_and_brought_up() -> None:
    changes = plan_changes([WAN], see(SeenLink("eth0", LinkState.UP, "somebody-elses")))
    assert (changes.add, changes.activate, changes.delete) == ((WAN,), (WAN,), ())


def test_what_is_there_is_left_alone() -> None:
    assert plan_changes([WAN], see(link(WAN), profiles=(WAN,))) == Changes()
    assert plan_changes([WAN], see(link(WAN, LinkState.COMING), profiles=(WAN,))) == Changes()


def test_what_went_down_is_brought_up_again() -> None:
    changes = plan_changes([WAN], see(SeenLink("eth0", LinkState.DOWN), profiles=(WAN,)))
    assert (changes.add, changes.activate) == ((), (WAN,))


def test_what_was_made_for_a_trial_is_confirmed() -> None:
    seen = replace(see(link(WAN), profiles=(WAN,)), unconfirmed=frozenset({WAN.uuid}))
    assert plan_changes([WAN], seen).confirm == (WAN,)


def test_what_nobody_wants_goes() -> None:
    assert plan_changes([], see(link(WAN), profiles=(WAN,))).delete == (WAN.uuid,)


def test_one_wireless_network_is_enough() -> None:
    assert not plan_changes(WIFI, see(link(WIFI[0]), profiles=WIFI)).activate
    assert not find_faults(WIFI, see(link(WIFI[0]), profiles=WIFI))


def test_the_wireless_network_of_the_highest_priority_is_joined_first() -> None:
    assert plan_changes(WIFI, see(SeenLink("wlan0", LinkState.DOWN))).activate == (WIFI[1],)


def test_a_modem_is_found_by_being_one() -> None:
    modem = SeenLink("cdc-wdm0", LinkState.UP, LTE.uuid, modem="/modem/0")
    assert not find_faults([LTE], see(modem, profiles=(LTE,)))
    assert find_faults([LTE], see()) == {"lte": "a modem does not exist"}
    missing = replace(see(), modem_problem="ModemManager does not run")
    assert find_faults([LTE], missing) == {"lte": "the modem is not up: ModemManager does not run"}


def test_no_call_is_made_before_the_modem_is_ready() -> None:
    line = SeenLink("cdc-wdm0", LinkState.DOWN, modem="/modem/0")

    def activated(state: ModemState) -> bool:
        seen = replace(see(line, profiles=(LTE,)), modems=(SeenModem("/modem/0", state=state),))
        return LTE in plan_changes([LTE], seen).activate

    assert not plan_changes([LTE], see(profiles=(LTE,))).activate
    assert not activated(ModemState.LOCKED)
    assert not activated(ModemState.FAILED)
    assert activated(ModemState.REGISTERED)


def test_what_the_modem_says_comes_before_what_networkmanager_makes_of_it() -> None:
    line = SeenLink("cdc-wdm0", LinkState.DOWN, modem="/modem/0", reason="the modem failed")
    modem = SeenModem("/modem/0", imei="1", state=ModemState.LOCKED, lock=Lock.SIM_PIN, tries_left=2)
    seen = replace(see(line, profiles=(LTE,)), modems=(modem,))
    assert find_faults([LTE], seen) == {"lte": "cdc-wdm0 is not up: the SIM card asks for its PIN (2 tries left)"}
    refused = replace(seen, modem_faults={"1": "the PIN is wrong"})
    assert find_faults([LTE], refused) == {"lte": "cdc-wdm0 is not up: the PIN is wrong"}
    fine = replace(seen, modems=(replace(modem, state=ModemState.REGISTERED, lock=Lock.NONE),))
    assert find_faults([LTE], fine) == {"lte": "cdc-wdm0 is not up: the modem failed"}


def test_faults_say_why() -> None:
    reason = "no address was given, DHCP does not answer"
    assert find_faults([WAN], see()) == {"wan": "eth0 does not exist"}
    assert find_faults([WAN], see(link(WAN, LinkState.DOWN, reason))) == {"wan": f"eth0 is not up: {reason}"}
    assert find_faults([WAN], see(link(WAN, LinkState.COMING))) == {"wan": "eth0 is not up yet"}
    other = SeenLink("eth0", LinkState.UP, "somebody-elses")
    assert find_faults([WAN], see(other)) == {"wan": "eth0 is not up"}
    assert not find_faults([WAN], see(link(WAN)))


def test_the_cable_of_a_bridge_that_gets_another_profile_is_brought_up_after_it() -> None:
    setup = PortsSetup((PortSetup("wan", "eaves-eth0"),), bridges=(BridgeSetup("eaves-eth0", "eth0"),))
    bridge, cable = render_profiles(setup, "eaves", b"k")
    before = see(SeenLink("eaves-eth0", LinkState.UP, "former"), link(cable), profiles=(cable,))
    assert plan_changes([bridge, cable], before).activate == (bridge, cable)
    assert plan_changes([bridge, cable], see(link(bridge), link(cable), profiles=(bridge, cable))) == Changes()


def test_a_cable_that_waits_for_an_earlier_activation_of_its_bridge_is_brought_up_again() -> None:
    setup = PortsSetup((PortSetup("wan", "eaves-eth0"),), bridges=(BridgeSetup("eaves-eth0", "eth0"),))
    bridge, cable = render_profiles(setup, "eaves", b"k")
    waiting = link(cable, LinkState.COMING)
    assert plan_changes([bridge, cable], see(link(bridge), waiting, profiles=(bridge, cable))).activate == (cable,)
    coming = see(link(bridge, LinkState.COMING), waiting, profiles=(bridge, cable))
    assert plan_changes([bridge, cable], coming) == Changes()
