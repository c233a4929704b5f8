"""Which port a network leaves by."""

from __future__ import annotations

import pytest

from eaves.node.desired.network_model import DesiredPort, Probe
from eaves.node.networks.health import FAILURES, MOST_SUCCESSES, STEADY, SUCCESSES, Health, note_check
from eaves.node.networks.model import Port, ProbeTarget, SeenHost, SeenPort
from eaves.node.networks.ports import Choice, choose_port, find_ports, follows_host, merge_ports
from eaves.node.networks.probing import is_answer, render_echo

CABLE, SPARE, MODEM = (
    Port("cable", "eth0"),
    Port("spare", "eth1", 0, ("office",)),
    Port("modem", "wwan0", 10, ("mobile",)),
)
INNER = Port("inner", "eth2", is_uplink=False)
PORTS = (MODEM, CABLE, SPARE, INNER)
GOOD = {port.interface: SeenPort(1500, True, ("192.0.2.5/24",), "192.0.2.1") for port in PORTS}
SEEN = SeenHost(ports=GOOD)


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("uplink", ["eth0", "eth1", "wwan0"]),
        ("freeuplink", ["eth0", "eth1"]),
        ("all", ["eth0", "eth2", "eth1", "wwan0"]),
        ("modem", ["wwan0"]),
        ("mobile", ["wwan0"]),
        ("office", ["eth1"]),
        ("eth2", ["eth2"]),
        ("nowhere", []),
    ],
)
def test_ports_are_found_by_their_labels_cheapest_first(label: str, expected: list[str]) -> None:
    assert [port.interface for port in find_ports(label, PORTS, SEEN)] == expected


def test_only_a_node_without_labels_leaves_the_way_to_its_host() -> None:
    assert follows_host("uplink", ())
    assert not follows_host("uplink", PORTS)
    assert not follows_host("lte", ())


def test_labels_of_settings_and_config_are_both_good_and_the_settings_know_the_cost() -> None:
    asked = (DesiredPort("lan", "eth0", 7, ("floor",)), DesiredPort("new", "eth9", 3, is_uplink=False))
    assert merge_ports((CABLE,), asked) == (
        Port("cable", "eth0", 0, ("lan", "floor")),
        Port("new", "eth9", 3, (), is_uplink=False),
    )


def choose(
    current: str = "", faults: dict[ProbeTarget, str] | None = None, seen: SeenHost = SEEN, **probe: int
) -> Choice:
    wanted = Probe(True, probe.get("ping_max_cost", 255))
    return choose_port((CABLE, SPARE, MODEM), seen, wanted, faults or {}, current)


def test_the_cheapest_that_works_is_taken_and_an_equal_one_in_use_stays() -> None:
    assert choose().port == CABLE
    assert choose("eth1").port == SPARE
    assert choose("wwan0").port == CABLE
    assert choose().reason == "cost 0, 3 of 3 ports work"


def test_a_port_whose_probe_fails_is_passed_over_and_the_reason_says_so() -> None:
    target = ProbeTarget("eth0", "192.0.2.1", True)
    found = choose("eth0", {target: "gateway 192.0.2.1 of eth0 does not answer"})
    assert found.port == SPARE
    assert found.reason == "cost 0, 2 of 3 ports work; gateway 192.0.2.1 of eth0 does not answer"


@pytest.mark.parametrize(
    ("port", "reason"),
    [
        (None, "eth0 does not exist"),
        (SeenPort(is_up=False), "eth0 has no link"),
        (SeenPort(), "eth0 has no IPv4 address"),
        (SeenPort(addresses=("192.0.2.5/24",)), "eth0 has no gateway"),
    ],
)
def test_a_port_that_cannot_lead_out_is_passed_over(port: SeenPort | None, reason: str) -> None:
    ports = {name: found for name, found in GOOD.items() if name != "eth0"} | ({"eth0": port} if port else {})
    found = choose("eth0", seen=SeenHost(ports=ports))
    assert found.port == SPARE
    assert reason in found.reason


def test_when_no_probe_is_answered_the_port_in_use_stays() -> None:
    faults = dict.fromkeys(choose().targets, "silence")
    found = choose("wwan0", faults)
    assert (found.port, found.gateway) == (MODEM, "192.0.2.1")
    assert found.reason.startswith("no port answers: silence")


def test_without_any_usable_port_there_is_no_way_out() -> None:
    assert choose(seen=SeenHost()).port is None
    assert choose_port((), SEEN, Probe(), {}, "") == Choice(None, "", "no port bears the label")


def test_dear_gateways_are_not_pinged_and_a_lone_port_is_not_probed() -> None:
    assert [target.is_pinged for target in choose(ping_max_cost=5).targets] == [True, True, False]
    assert choose_port((CABLE,), SEEN, Probe(True), {}, "").targets == ()


def note(health: Health, *faults: str) -> Health:
    for fault in faults:
        health = note_check(health, fault)
    return health


def test_it_takes_failures_in_a_row_to_fail_and_successes_in_a_row_to_be_good_again() -> None:
    health = note(Health(), *["x"] * (FAILURES - 1), "", *["x"] * (FAILURES - 1))
    assert health.fault == ""
    health = note(health, "y")
    assert health.fault == "y"
    health = note(health, *[""] * (health.needed - 1), "z", *[""] * (health.needed - 1))
    assert health.fault == "z"
    assert note(health, "").fault == ""


def test_a_lost_link_fails_at_once() -> None:
    assert note_check(Health(), "no link", is_certain=True).fault == "no link"


def test_each_failure_makes_the_return_slower_until_it_is_steady() -> None:
    health, needed = Health(), []
    for _ in range(6):
        health = note_check(health, "no link", is_certain=True)
        needed.append(health.needed)
        health = note(health, *[""] * health.needed)
        assert health.fault == ""
    assert needed == [SUCCESSES * 2, SUCCESSES * 4, SUCCESSES * 8, MOST_SUCCESSES, MOST_SUCCESSES, MOST_SUCCESSES]
    assert note(health, *[""] * STEADY).needed == SUCCESSES


def test_an_echo_is_answered_by_its_own_reply_alone() -> None:
    token = b"\x12\x34\x56\x78"
    request = render_echo(token)
    assert request[:2] == b"\x08\x00"
    assert sum(int.from_bytes(request[i : i + 2]) for i in range(0, 8, 2)) in (0xFFFF, 0x1FFFE)
    header = bytes([0x45]) + bytes(19)
    assert is_answer(header + b"\0\0\0\0" + token, token)
    assert not is_answer(header + request, token)
    assert not is_answer(header + b"\0\0\0\0\0\0\0\0", token)
    assert not is_answer(b"", token)


BRIDGE = SeenPort(1500, True, ("192.0.2.5/24",), "192.0.2.1", kind="bridge")


@pytest.mark.parametrize(
    ("cable", "expected"),
    [
        (SeenPort(master="eaves-eth0"), "eaves-eth0"),
        (SeenPort(), "eaves-eth0"),
        (None, "eaves-eth0"),
        (SeenPort(addresses=("192.0.2.5/24",)), "eth0"),
        (SeenPort(has_ipv6=True), "eth0"),
        (SeenPort(master="br7"), "eth0"),
    ],
)
def test_a_port_is_where_its_address_is(cable: SeenPort | None, expected: str) -> None:
    seen = SeenHost(ports={"eaves-eth0": BRIDGE} | ({"eth0": cable} if cable is not None else {}))
    assert [port.interface for port in find_ports("cable", PORTS, seen)] == [expected]


def test_without_a_bridge_of_its_name_a_port_is_itself() -> None:
    assert find_ports("cable", PORTS, SeenHost(ports=GOOD | {"eaves-eth0": SeenPort()}))[0].interface == "eth0"
