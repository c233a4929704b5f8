"""One bridge: what it makes of its links, of messages and of time."""

from __future__ import annotations

from collections.abc import Callable

from eaves.node.networks.rstp import protocol
from eaves.node.networks.rstp.model import (
    Bridge,
    Flush,
    Kind,
    Message,
    Role,
    Send,
    SetState,
    State,
    Times,
    Vector,
)

OWN = 0x8000_020000000005
BETTER = Vector(0x1000_020000000001, 0, 0x1000_020000000001, 0x8001)
WORSE = Vector(0xF000_020000000009, 0, 0xF000_020000000009, 0x8001)


class Driven:
    """A bridge that two ports and a clock drive; ``actions`` are those of the last thing that happened."""

    def __init__(self, ports: int = 2, guarded: tuple[int, ...] = ()) -> None:
        self.bridge = Bridge(OWN)
        self.actions: tuple[object, ...] = ()
        for number in range(1, ports + 1):
            self.do(protocol.add_port, number, has_guard=number in guarded)

    def do(self, happening: Callable[..., protocol.Outcome], *arguments: object, **options: object) -> None:
        self.bridge, self.actions = happening(self.bridge, *arguments, **options)

    def plug(self, *numbers: int) -> None:
        for number in numbers:
            self.do(protocol.set_link, number, is_up=True)

    def wait(self, seconds: int) -> None:
        for _ in range(seconds):
            self.do(protocol.tick)

    def hear(self, number: int, vector: Vector = BETTER, **flags: object) -> None:
        kind = flags.pop("kind", Kind.RST)
        self.do(protocol.receive, number, Message(kind, vector, **flags))  # type: ignore[arg-type]  # of the tests' own

    def role(self, number: int) -> Role:
        return self.bridge.ports[number].role

    def state(self, number: int) -> State:
        return self.bridge.ports[number].state

    def kind(self, number: int) -> Kind:
        return self.sent[number].kind

    @property
    def sent(self) -> dict[int, Message]:
        return {action.port: action.message for action in self.actions if isinstance(action, Send)}


def test_a_port_without_a_bridge_behind_it_is_an_edge_after_three_seconds() -> None:
    driven = Driven()
    driven.plug(1)
    assert (driven.state(1), driven.sent[1].proposal) == (State.DISCARDING, True)
    driven.wait(2)
    assert driven.state(1) is State.DISCARDING
    driven.wait(1)
    assert driven.state(1) is State.FORWARDING
    assert driven.bridge.ports[1].oper_edge
    assert not any(isinstance(action, Flush) for action in driven.actions), "an edge changes nobody's topology"


def test_an_edge_at_which_a_bridge_appears_is_none_any_more() -> None:
    driven = Driven()
    driven.plug(1)
    driven.wait(3)
    driven.hear(1, WORSE)
    assert not driven.bridge.ports[1].oper_edge


def test_the_way_to_a_better_root_is_the_root_port_and_opens_at_once() -> None:
    driven = Driven()
    driven.plug(1, 2)
    driven.hear(1, proposal=True)
    assert (driven.role(1), driven.state(1)) == (Role.ROOT, State.FORWARDING)
    assert driven.sent[1].agreement
    assert driven.role(2) is Role.DESIGNATED
    assert driven.sent[2].priority == Vector(BETTER.root, 20000, OWN, 0x8002)


def test_ports_are_shut_before_it_is_agreed_to_what_is_worse() -> None:
    driven = Driven(3)
    driven.plug(1, 2, 3)
    driven.wait(40)
    driven.hear(1, proposal=True)
    for number in (2, 3):
        driven.hear(number, WORSE, role=Role.ROOT, agreement=True)
    assert {driven.state(number) for number in (1, 2, 3)} == {State.FORWARDING}
    driven.wait(3)
    driven.hear(1, BETTER._replace(cost=500), proposal=True)
    assert [type(action) for action in driven.actions][:2] == [SetState, SetState]
    assert driven.actions[:2] == (SetState(2, State.DISCARDING), SetState(3, State.DISCARDING))
    assert driven.sent[1].agreement, "promised only when it is so"


def test_a_second_way_to_the_root_is_an_alternate_and_takes_over_at_once() -> None:
    driven = Driven()
    driven.plug(1, 2)
    driven.hear(1)
    driven.hear(2, BETTER._replace(cost=20000, bridge=0x8000_020000000003))
    assert (driven.role(2), driven.state(2)) == (Role.ALTERNATE, State.DISCARDING)
    driven.do(protocol.set_link, 1, is_up=False)
    assert (driven.role(2), driven.state(2)) == (Role.ROOT, State.FORWARDING)
    assert Flush(1) in driven.actions


def test_a_cable_between_two_of_its_own_ports_has_a_backup() -> None:
    driven = Driven()
    driven.plug(1, 2)
    driven.do(protocol.receive, 2, Message(Kind.RST, Vector(OWN, 0, OWN, 0x8001)))
    assert (driven.role(1), driven.role(2)) == (Role.DESIGNATED, Role.BACKUP)
    driven.wait(5)
    assert driven.state(2) is State.DISCARDING


def test_a_port_that_hears_itself_stays_shut_until_it_does_no_longer() -> None:
    driven = Driven()
    driven.plug(1)
    driven.wait(3)
    assert driven.state(1) is State.FORWARDING
    for _ in range(10):
        driven.hear(1, Vector(OWN, 0, OWN, 0x8001))
        assert driven.state(1) is State.DISCARDING
        driven.wait(2)
    driven.wait(10)
    assert driven.state(1) is State.FORWARDING


def test_information_that_nobody_repeats_ages_in_three_hellos() -> None:
    driven = Driven()
    driven.plug(1, 2)
    driven.hear(1)
    driven.wait(5)
    assert driven.role(1) is Role.ROOT
    driven.wait(1)
    assert (driven.role(1), driven.bridge.root_port) == (Role.DESIGNATED, 0)


def test_information_that_has_come_too_far_is_not_kept() -> None:
    driven = Driven()
    driven.plug(1)
    driven.hear(1, times=Times(20, 20))
    assert driven.role(1) is Role.DESIGNATED


def test_a_neighbour_of_1998_is_spoken_to_in_kind_until_it_speaks_better() -> None:
    driven = Driven()
    driven.plug(1)
    driven.wait(4)
    driven.hear(1, WORSE, kind=Kind.CONFIG)
    driven.wait(2)
    assert driven.kind(1) is Kind.CONFIG
    assert driven.state(1) is State.FORWARDING, "it was an edge until now"
    driven.wait(4)
    driven.hear(1, WORSE)
    driven.wait(2)
    assert driven.kind(1) is Kind.RST


def test_migration_is_tried_anew_when_asked() -> None:
    driven = Driven()
    driven.plug(1)
    driven.wait(4)
    driven.hear(1, WORSE, kind=Kind.CONFIG)
    assert not driven.bridge.ports[1].send_rstp
    driven.do(protocol.check_migration, 1)
    assert driven.bridge.ports[1].send_rstp


def test_a_neighbour_of_1998_makes_a_port_wait_its_two_delays() -> None:
    driven = Driven()
    driven.plug(1)
    driven.hear(1, WORSE, kind=Kind.CONFIG)
    driven.wait(4)
    driven.hear(1, WORSE, kind=Kind.CONFIG)
    driven.wait(30)
    assert driven.state(1) is not State.DISCARDING
    driven.wait(20)
    assert driven.state(1) is State.FORWARDING


def test_towards_a_root_of_1998_a_change_is_notified_until_it_is_acknowledged() -> None:
    driven = Driven()
    driven.plug(1, 2)
    driven.wait(4)
    driven.hear(1, kind=Kind.CONFIG)
    assert driven.role(1) is Role.ROOT
    driven.hear(2, WORSE, role=Role.DESIGNATED)
    kinds = []
    for _ in range(6):
        driven.wait(1)
        driven.hear(1, kind=Kind.CONFIG)
        kinds += [message.kind for port, message in driven.sent.items() if port == 1]
    driven.hear(1, kind=Kind.CONFIG, topology_change_ack=True)
    assert driven.bridge.ports[1].tc_while == 0
    assert set(kinds) <= {Kind.TCN}


def test_a_notice_of_change_is_acknowledged_and_spread() -> None:
    driven = Driven(3)
    driven.plug(1, 2)
    driven.wait(4)
    for number in (1, 2):
        driven.hear(number, WORSE, kind=Kind.CONFIG)
    driven.wait(60)
    driven.do(protocol.receive, 1, Message(Kind.TCN))
    assert Flush(2) in driven.actions
    assert Flush(1) not in driven.actions
    driven.wait(2)
    assert all(message.topology_change for message in driven.sent.values())


def test_both_ends_open_is_noticed_and_ended() -> None:
    driven = Driven()
    driven.plug(1)
    driven.hear(1, WORSE, role=Role.ROOT, agreement=True)
    driven.wait(40)
    assert driven.state(1) is State.FORWARDING
    driven.hear(1, WORSE, learning=True, forwarding=True)
    assert driven.state(1) is State.DISCARDING, (
        "a neighbour that does not hear us believes that it speaks for the cable"
    )


def test_an_agreement_to_what_was_said_before_does_not_count() -> None:
    driven = Driven()
    driven.plug(1, 2)
    driven.hear(1)
    driven.hear(2, WORSE, role=Role.ROOT, agreement=True)
    assert driven.state(2) is State.FORWARDING, "the first thing that is said after a cable is plugged in has no former"
    driven.hear(1, BETTER._replace(cost=500), proposal=True)
    assert (driven.state(2), driven.bridge.needs_beat) == (State.DISCARDING, True)
    driven.hear(2, WORSE, role=Role.ROOT, agreement=True)
    assert driven.state(2) is State.DISCARDING
    driven.do(protocol.beat)
    assert 2 not in driven.sent
    driven.do(protocol.beat)
    assert driven.sent[2].proposal, "so that the neighbour agrees anew"
    assert not driven.bridge.needs_beat
    driven.hear(2, WORSE, role=Role.ROOT, agreement=True)
    assert driven.state(2) is State.FORWARDING


def test_a_guarded_port_opens_at_once_and_is_shut_by_the_first_message() -> None:
    driven = Driven(2, guarded=(1,))
    driven.plug(1)
    assert driven.state(1) is State.FORWARDING
    driven.hear(1, WORSE)
    assert (driven.state(1), driven.role(1), driven.bridge.ports[1].is_shut) == (State.DISCARDING, Role.DISABLED, True)
    driven.wait(60)
    driven.plug(1)
    assert driven.state(1) is State.DISCARDING
    driven.do(protocol.set_link, 1, is_up=False)
    driven.plug(1)
    assert driven.state(1) is State.FORWARDING


def test_a_bridge_never_sends_more_than_its_share() -> None:
    driven = Driven()
    driven.plug(1, 2)
    sent = 0
    for cost in range(100):
        driven.hear(1, BETTER._replace(cost=1000 - cost))
        sent += 2 in driven.sent
    assert sent <= 6


def test_events_leave_the_bridge_before_them_as_it_was() -> None:
    driven = Driven()
    driven.plug(1, 2)
    before = driven.bridge
    known = {number: dict(vars(port)) for number, port in before.ports.items()}
    protocol.receive(before, 1, Message(Kind.RST, BETTER, proposal=True))
    protocol.tick(before)
    protocol.remove_port(before, 2)
    assert {number: dict(vars(port)) for number, port in before.ports.items()} == known


def test_what_comes_late_for_a_port_that_is_gone_is_passed_over() -> None:
    driven = Driven()
    driven.do(protocol.receive, 7, Message(Kind.TCN))
    driven.do(protocol.remove_port, 2)
    driven.do(protocol.receive, 2, Message(Kind.TCN))
    assert driven.actions == ()
