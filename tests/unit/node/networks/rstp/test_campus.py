"""Many bridges: whatever breaks, no frame can go round at any step, and everything is joined again soon."""

from __future__ import annotations

import random

import pytest

from eaves.node.networks.rstp import bpdu, protocol
from eaves.node.networks.rstp.model import State
from eaves.testing.campus import Campus, Segment

HELLO_S = 2
LEGACY_LIMIT_S = 70
"""Information of 1998 ages in 20 s, and a port waits twice 15 s."""


def make_ring(count: int, seed: int = 1, legacy: tuple[int, ...] = ()) -> tuple[Campus, list[Segment]]:
    campus = Campus(seed)
    for number in range(count):
        campus.add_bridge(f"b{number}", is_legacy=number in legacy)
    return campus, [campus.connect(f"b{number}", f"b{(number + 1) % count}") for number in range(count)]


@pytest.mark.parametrize("count", [2, 3, 6, 16])
def test_a_ring_is_cut_at_one_port(count: int) -> None:
    campus, _ = make_ring(count)
    assert campus.run_until_whole(10) <= 3 * HELLO_S
    campus.run(10)
    roles = [role for number in range(count) for role in campus.roles(f"b{number}")]
    assert (roles.count("Root"), roles.count("Alternate") + roles.count("Backup")) == (count - 1, 1)
    assert {campus.root_of(name) for name in campus.bridges} == {campus.bridges["b0"].id}


@pytest.mark.parametrize("count", [3, 6, 12])
def test_a_broken_ring_is_whole_within_a_second_and_again_when_mended(count: int) -> None:
    for seed in range(10):
        campus, cables = make_ring(count, seed)
        campus.run_until_whole(10)
        campus.run(10)
        for cable in cables[:3]:
            campus.cut(cable)
            assert campus.run_until_whole(20) <= HELLO_S
            campus.mend(cable)
            assert campus.run_until_whole(20) <= HELLO_S
            campus.run(3)


def test_the_root_dies() -> None:
    for seed in range(10):
        campus, _ = make_ring(6, seed)
        campus.run(10)
        campus.kill("b0")
        assert campus.run_until_whole(20) <= 3 * HELLO_S
        assert {campus.root_of(name) for name in campus.bridges} == {campus.bridges["b1"].id}


def test_a_bridge_whose_cables_stay_up_is_missed_after_three_hellos() -> None:
    campus, _ = make_ring(5)
    campus.run(10)
    frozen = campus.freeze("b2")
    assert all(port.state is State.FORWARDING for port in frozen.ports.values())
    with pytest.raises(AssertionError, match="loop"):
        # Why a node whose process died must shut its ports: neighbours take silence for the end of the network.
        campus.run(20)


@pytest.mark.parametrize("seed", range(60))
def test_random_networks_under_random_faults_never_loop(seed: int) -> None:
    campus, cables, dice = make_random(seed)
    campus.run_until_whole(30)
    for _ in range(8):
        disturb(campus, cables, dice)
        if dice.random() < 0.6:
            assert campus.run_until_whole(30) <= 20
    campus.run(30)
    sent = campus.sent
    campus.run(20)
    assert campus.is_whole()
    ports = sum(len(bridge.ports) for bridge in campus.bridges.values())
    assert campus.sent - sent <= 11 * ports, "at rest every port speaks once a hello"


@pytest.mark.parametrize("seed", range(12))
def test_hubs_and_bridges_of_1998_among_them_are_slow_and_never_loop(seed: int) -> None:
    campus, cables, dice = make_random(seed, legacy=seed % 3, hubs=seed % 2)
    campus.run_until_whole(LEGACY_LIMIT_S)
    for _ in range(4):
        disturb(campus, cables, dice)
        campus.run_until_whole(LEGACY_LIMIT_S)


@pytest.mark.parametrize("seed", range(8))
def test_lost_messages_delay_the_tree_and_do_not_stop_it(seed: int) -> None:
    campus, _ = make_ring(6, seed)
    campus.loss = 0.03
    campus.run_until_whole(60)
    campus.loss = 0.0
    campus.run_until_whole(60)


def test_a_ring_with_a_bridge_of_1998_has_one_cut() -> None:
    for legacy in range(4):
        campus, cables = make_ring(4, legacy=(legacy,))
        campus.run_until_whole(LEGACY_LIMIT_S)
        campus.cut(cables[1])
        campus.run_until_whole(LEGACY_LIMIT_S)
        campus.mend(cables[1])
        campus.run_until_whole(LEGACY_LIMIT_S)
        campus.run(10)


def test_two_cables_to_the_same_dumb_switch() -> None:
    campus = Campus()
    campus.add_bridge("box")
    hub = campus.connect("box", "box")
    campus.run(10)
    assert campus.roles("box") == ["Designated", "Backup"]
    assert campus.state("box", 1) is State.FORWARDING
    campus.cut(hub)
    campus.mend(hub)
    campus.run(10)


def test_a_switch_behind_that_loops_keeps_the_port_shut() -> None:
    campus = Campus()
    campus.add_bridge("box")
    loop = campus.connect("box", echoes=True)
    campus.run(60)
    assert campus.state("box", 1) is State.DISCARDING
    loop.echoes = False
    campus.run(20)
    assert campus.state("box", 1) is State.FORWARDING


def test_a_change_makes_the_others_forget_what_they_learnt() -> None:
    campus, cables = make_ring(5)
    campus.run(20)
    campus.flushes.clear()
    campus.cut(cables[0])
    campus.deliver()
    campus.run(1)
    assert {name for name, _ in campus.flushes} == set(campus.bridges)


def test_a_station_that_comes_and_goes_makes_nobody_forget() -> None:
    campus, _ = make_ring(4)
    station = campus.connect("b2")
    campus.run(20)
    campus.flushes.clear()
    campus.cut(station)
    campus.mend(station)
    campus.run(10)
    assert {end for end in campus.flushes if end[0] != "b2"} == set()


def test_messages_of_the_highest_age_are_not_passed_on_for_ever() -> None:
    campus = Campus()
    for number in range(26):
        campus.add_bridge(f"b{number}")
    for number in range(25):
        campus.connect(f"b{number}", f"b{number + 1}")
    campus.run(60)
    assert campus.root_of("b10") == campus.bridges["b0"].id
    assert campus.root_of("b25") != campus.bridges["b0"].id, "beyond the reach of the standard"


def test_a_hostile_station_cannot_make_the_bridge_talk() -> None:
    campus = Campus()
    campus.add_bridge("box")
    campus.connect("box")
    campus.connect("box")
    dice = random.Random(3)
    before = campus.sent
    for _ in range(500):
        try:
            message = bpdu.parse_bpdu(b"\0\0\x02\x02" + dice.randbytes(32))
        except bpdu.BpduError:
            continue
        campus._take("box", protocol.receive(campus.bridges["box"], 1, message))
    assert campus.sent - before <= 2 * 6


def make_random(seed: int, *, legacy: int = 0, hubs: int = 0) -> tuple[Campus, list[Segment], random.Random]:
    dice = random.Random(seed)
    campus = Campus(seed, travel_s=(0.001, 0.003))
    names = [f"b{number}" for number in range(dice.randrange(4, 12))]
    old = set(dice.sample(names, legacy))
    for name in names:
        campus.add_bridge(name, dice.choice([0x8000, 0x8000, 0x4000, 0xF000]), is_legacy=name in old)
    cables = [campus.connect(names[number], names[dice.randrange(number)]) for number in range(1, len(names))]
    cables += [campus.connect(dice.choice(names), dice.choice(names)) for _ in range(dice.randrange(1, 6))]
    cables += [campus.connect(*dice.sample(names, 3)) for _ in range(hubs)]
    return campus, cables, dice


def disturb(campus: Campus, cables: list[Segment], dice: random.Random) -> None:
    what, cable = dice.random(), dice.choice(cables)
    if what < 0.5:
        (campus.mend if cable.is_cut else campus.cut)(cable)
    elif what < 0.7:
        campus.cut(cable)
        campus.deliver(most=dice.randrange(5))
        campus.mend(cable)
    elif what < 0.8 and len(campus.bridges) > 3:
        campus.kill(dice.choice(list(campus.bridges)))
    campus.run(dice.randrange(3))
