"""Switches: which ports they take, what those carry, what is learnt by listening, and the access rules there."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eaves.node.desired.model import (
    AclAction,
    AclDirection,
    AclRule,
    AppKind,
    DesiredApp,
    DesiredInterface,
    DesiredNetwork,
    DesiredNode,
    NetworkKind,
)
from eaves.node.desired.network_model import AccessPort
from eaves.node.instance import Instance
from eaves.node.networks import snooping
from eaves.node.networks.layout import plan_layout
from eaves.node.networks.model import (
    Layout,
    NetworkState,
    Port,
    SeenHost,
    SeenLink,
    SeenPort,
    SwitchPort,
    WantedSwitch,
)
from eaves.node.networks.observe import parse_ports, parse_vlans
from eaves.node.networks.plan import MakeSwitch, ReleasePort, SetVlans, TakePort, plan_links
from eaves.node.networks.routing import Ways
from eaves.node.networks.snooping import Sighting, note_sighting, parse_frame
from eaves.node.networks.switching import want_raised

FREE = SeenPort(is_raised=False, is_up=False)
PORTS = (Port("floor-a", "eth1", 0, ("floor",)), Port("floor-b", "eth2", 0, ("floor",)))
SEEN = SeenHost(ports={"eth0": SeenPort(addresses=("192.0.2.5/24",)), "eth1": FREE, "eth2": FREE})
MAC = "02:00:00:00:00:01"


def switch(name: str = "floor", **changes: Any) -> DesiredNetwork:
    made = DesiredNetwork(f"net-{name}", "1", name, NetworkKind.SWITCH, "floor")
    return msgspec.structs.replace(made, **changes)


def app(key: str, network: DesiredNetwork, *acls: AclRule, vlan: int = 0) -> DesiredApp:
    interface = DesiredInterface(network.name, network.id, "", "", acls, vlan)
    return DesiredApp(
        f"app-{key}", "1", key, "default", AppKind.CONTAINER, True, "", "", 0, 0, 0, interfaces=(interface,)
    )


def plan(*networks: DesiredNetwork, apps: tuple[DesiredApp, ...] = (), seen: SeenHost = SEEN) -> Layout:
    desired = DesiredNode("device", "1", "", networks=networks, apps=apps)
    return plan_layout(desired, NetworkState(), seen, Instance(), Ways(PORTS))[0]


def codes(layout: Layout) -> list[str]:
    return [problem.code for problem in layout.problems]


SHARED = SeenHost(
    ports={
        "eth1": SeenPort(master="eaves-eth1"),
        "eaves-eth1": SeenPort(1400, addresses=("192.0.2.5/24",), kind="bridge"),
        "eth2": FREE,
    }
)


def test_apps_join_the_bridge_of_a_port_that_the_node_shares() -> None:
    network = switch(port_label="floor-a")
    layout = plan(network, apps=(app("web", network),), seen=SHARED)
    assert layout.switches == (
        WantedSwitch("net-floor", "eaves-eth1", 1400, (SwitchPort("eaves-eth1", "floor-a"),), is_shared=True),
    )
    (vif,) = layout.switch_vifs
    assert (vif.bridge, vif.mtu, vif.is_beside_host) == ("eaves-eth1", 1400, True)
    assert not layout.problems
    steps = plan_links(layout, SHARED)
    assert not [step for step in steps if isinstance(step, MakeSwitch | TakePort | ReleasePort | SetVlans)]
    assert not want_raised(layout.switches, SHARED, ())


def test_a_shared_port_is_for_one_switch_that_wishes_nothing_of_it() -> None:
    for wish in (
        {"mtu": 1400},
        {"forward_lldp": True},
        {"bpdu_guard_label": "floor-a"},
        {"access_ports": (AccessPort("x", 3),)},
    ):
        (problem,) = plan(switch(port_label="floor-a", **wish), seen=SHARED).problems
        assert (problem.code, problem.is_blocking) == ("PortNotFree", False)
        assert "this machine uses eaves-eth1 itself, and such a port has no" in problem.message
    network = switch(port_label="floor-a")
    layout = plan(network, apps=(app("web", network, vlan=7),), seen=SHARED)
    assert "has no VLANs" in layout.problems[0].message
    assert not layout.switches[0].is_shared
    both = plan(switch(), seen=SHARED)
    assert [port.interface for port in both.switches[0].ports] == ["eth2"]
    assert "has no other" in both.problems[0].message
    twice = plan(switch("a", port_label="floor-a"), switch("b", port_label="floor-a"), seen=SHARED)
    assert [made.is_shared for made in twice.switches] == [True, False]
    assert "belongs to network a" in twice.problems[0].message


def test_a_switch_joins_the_ports_that_bear_its_label() -> None:
    layout = plan(switch(mtu=9000, bpdu_guard_label="floor-b", forward_lldp=True))
    (made,) = layout.switches
    assert made == WantedSwitch(
        "net-floor",
        "evbr0",
        9000,
        (SwitchPort("eth1", "floor-a"), SwitchPort("eth2", "floor-b", has_guard=True)),
        forwards_lldp=True,
    )
    assert made.has_tree
    assert layout.vlans == {}


def test_a_switch_has_a_spanning_tree_when_it_may_be_a_loop_or_a_port_is_guarded() -> None:
    def has_tree(*ports: SwitchPort, is_shared: bool = False) -> bool:
        return WantedSwitch("net", "evbr0", 1500, ports, is_shared=is_shared).has_tree

    one, guarded = SwitchPort("eth1", "a"), SwitchPort("eth2", "b", has_guard=True)
    assert [has_tree(), has_tree(one), has_tree(guarded), has_tree(one, guarded)] == [False, False, True, True]
    assert not has_tree(guarded, is_shared=True), "the machine's own way out is left alone"


@pytest.mark.parametrize(
    ("port", "why"),
    [
        (None, "eth1 does not exist"),
        (SeenPort(addresses=("192.0.2.9/24",)), "this machine has addresses on eth1"),
        (SeenPort(has_ipv6=True), "this machine has addresses on eth1"),
        (SeenPort(master="bond0"), "eth1 belongs to bond0 of this machine"),
        (SeenPort(kind="bridge"), "eth1 is a bridge of this machine"),
    ],
)
def test_a_port_that_the_machine_uses_is_left_alone(port: SeenPort | None, why: str) -> None:
    ports = {name: found for name, found in SEEN.ports.items() if name != "eth1"} | ({"eth1": port} if port else {})
    layout = plan(switch(), apps=(app("a", switch()),), seen=SeenHost(ports=ports))
    assert [member.interface for member in layout.switches[0].ports] == ["eth2"]
    assert codes(layout) == ["PortNotFree"]
    assert why in layout.problems[0].message
    assert [vif.app_id for vif in layout.switch_vifs] == ["app-a"], "its apps are connected all the same"


def test_a_port_is_in_one_switch_only() -> None:
    layout = plan(switch("one"), switch("two", port_label="floor-b"))
    assert [[port.interface for port in made.ports] for made in layout.switches] == [["eth1", "eth2"], []]
    assert "eth2 belongs to network one" in layout.problems[0].message


def test_a_label_that_nobody_bears_is_told_and_an_empty_one_is_an_island() -> None:
    assert codes(plan(switch(port_label="nowhere"))) == ["PortMissing"]
    island = plan(switch(port_label=""))
    assert (codes(island), island.switches[0].ports) == ([], ())


def test_a_fixed_address_on_a_switch_is_told_not_to_be_used() -> None:
    network = switch()
    made = app("a", network)
    fixed = msgspec.structs.replace(made.interfaces[0], address="10.0.0.9")
    layout = plan(network, apps=(msgspec.structs.replace(made, interfaces=(fixed,)),))
    assert codes(layout) == ["AddressNotUsed"]
    assert [vif.app_id for vif in layout.switch_vifs] == ["app-a"]


def test_vlans_of_apps_and_ports() -> None:
    network = switch(access_ports=(AccessPort("floor-b", 20),))
    layout = plan(network, apps=(app("a", network, vlan=20), app("trunk", network)))
    trunk = frozenset({(1, 1, True), (2, 4093, False)})
    links = {vif.app_id: vif.link for vif in layout.switch_vifs}
    assert layout.switches[0].has_vlans
    assert layout.vlans == {
        "eth1": trunk,
        "eth2": frozenset({(20, 20, True)}),
        links["app-a"]: frozenset({(20, 20, True)}),
        links["app-trunk"]: trunk,
    }


@pytest.mark.parametrize(
    "rule",
    [
        AclRule(1, "", AclDirection.BOTH, AclAction.ALLOW, host="example.org"),
        AclRule(1, "", AclDirection.BOTH, AclAction.PORT_MAP, protocol="tcp", local_port="80", app_port=80),
    ],
)
def test_rules_that_need_a_local_network_block_their_app(rule: AclRule) -> None:
    layout = plan(switch(), apps=(app("a", switch(), rule), app("b", switch())))
    assert [(problem.object_id, problem.code) for problem in layout.problems] == [("app-a", "RuleInvalid")]
    assert [vif.app_id for vif in layout.switch_vifs] == ["app-b"]


def test_steps_lead_to_rest_and_ports_go_back() -> None:
    layout = plan(switch())
    (made,) = layout.switches
    first = plan_links(layout, SEEN)
    assert [type(step) for step in first] == [MakeSwitch, TakePort, TakePort]
    bridge = SeenLink("evbr0", "bridge", True, 1500, "net-floor", "", ())
    taken = {name: SeenPort(master="evbr0") for name in ("eth1", "eth2")}
    there = SeenHost(links={"evbr0": bridge}, ports=taken)
    assert plan_links(layout, there) == []
    kernels_own = msgspec.structs.replace(there, links={"evbr0": msgspec.structs.replace(bridge, has_stp=True)})
    assert [type(step) for step in plan_links(layout, kernels_own)] == [TakePort, TakePort, MakeSwitch], "shut first"
    gone = plan_links(Layout(), msgspec.structs.replace(there, raised=frozenset({"eth1"})))
    assert gone[:2] == [ReleasePort("eth1", True), ReleasePort("eth2", False)]
    fewer = Layout(switches=(msgspec.structs.replace(made, ports=made.ports[:1]),))
    assert ReleasePort("eth2", False) in plan_links(fewer, there)


def test_a_port_that_is_shut_is_opened_when_no_tree_does_it_any_more() -> None:
    (made,) = plan(switch()).switches
    bridge = SeenLink("evbr0", "bridge", True, 1500, "net-floor", "", ())
    there = SeenHost(links={"evbr0": bridge}, ports={"eth1": SeenPort(master="evbr0", is_locked=True)})
    alone = Layout(switches=(msgspec.structs.replace(made, ports=made.ports[:1]),))
    assert plan_links(alone, there) == [
        TakePort("net-floor", "evbr0", made.ports[0], has_tree=False, is_new=False, is_locked=True)
    ]
    both = msgspec.structs.replace(there, ports=dict.fromkeys(("eth1", "eth2"), there.ports["eth1"]))
    assert plan_links(Layout(switches=(made,)), both) == [], "that is for the tree to say"


def test_vlans_are_changed_where_they_differ() -> None:
    text: list[dict[str, Any]] = [
        {"ifname": "eth1", "vlans": [{"vlan": 1, "flags": ["PVID", "Egress Untagged"]}, {"vlan": 2, "vlanEnd": 4093}]},
        {"ifname": "eth2", "vlans": [{"vlan": 1, "flags": ["PVID", "Egress Untagged"]}]},
    ]
    seen = SeenHost(vlans=parse_vlans(text))
    layout = Layout(
        vlans={
            "eth1": frozenset({(1, 1, True), (2, 4093, False)}),
            "eth2": frozenset({(7, 7, True)}),
            "new": frozenset(),
        }
    )
    assert plan_links(layout, seen) == [SetVlans("eth2", ((7, 7, True),), ((1, 1, True),))]


def arp(sender: bytes, mac: bytes = bytes.fromhex("020000000001")) -> bytes:
    return (
        b"\xff" * 6 + mac + b"\x08\x06\x00\x01\x08\x00\x06\x04\x00\x01" + mac + sender + bytes(6) + sender + bytes(18)
    )


def ack(address: bytes, kind: int = 5, mac: str = MAC) -> bytes:
    message = bytearray(240)
    message[0], message[16:20], message[28:34] = 2, address, bytes.fromhex(mac.replace(":", ""))
    message[236:240] = b"\x63\x82\x53\x63"
    packet = bytes([0x45]) + bytes(8) + bytes([17]) + bytes(10) + bytes(8) + bytes(message)
    return bytes(12) + b"\x08\x00" + packet + bytes((0, 12, 1, 0, 53, 1, kind, 255))


def neighbour(kind: int, source: bytes, target: bytes) -> bytes:
    head = b"\x33\x33\0\0\0\1" + bytes.fromhex("020000000001") + b"\x86\xdd"
    return head + bytes(6) + bytes([58, 255]) + source + bytes(16) + bytes((kind, 0, 0, 0)) + bytes(4) + target


V6 = bytes.fromhex("20010db8000000000000000000000005")


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (arp(bytes((10, 0, 0, 5))), Sighting("10.0.0.5")),
        (arp(bytes(4)), None),
        (arp(bytes((169, 254, 0, 5))), None),
        (arp(bytes((10, 0, 0, 5)), b"\x02\0\0\0\0\x09"), None),
        (ack(bytes((10, 0, 0, 7))), Sighting("10.0.0.7", is_lease=True)),
        (ack(bytes((10, 0, 0, 7)), kind=2), None),
        (ack(bytes((10, 0, 0, 7)), mac="02:00:00:00:00:99"), None),
        (neighbour(135, bytes(16), V6), Sighting("2001:db8::5")),
        (neighbour(135, V6, bytes(15) + b"\x01"), Sighting("2001:db8::5")),
        (neighbour(136, bytes(15) + b"\x02", V6), Sighting("2001:db8::5")),
        (neighbour(135, bytes(16), bytes.fromhex("fe80") + bytes(13) + b"\x05"), None),
        (neighbour(133, V6, V6), None),
        (b"", None),
    ],
)
def test_addresses_are_read_from_what_passes(frame: bytes, expected: Sighting | None) -> None:
    assert parse_frame(frame, MAC) == expected


@given(st.binary(max_size=700))
def test_no_frame_breaks_the_listener(frame: bytes) -> None:
    parse_frame(frame, MAC)
    parse_frame(bytes(12) + b"\x08\x00" + frame, MAC)


def test_few_addresses_are_kept_and_a_lease_replaces_former_ones() -> None:
    known: tuple[str, ...] = ("2001:db8::5",)
    for number in range(20):
        known = note_sighting(known, Sighting(f"10.0.0.{number}"))
    assert len(known) == snooping.MOST_ADDRESSES
    assert known[0] == "10.0.0.19"
    assert note_sighting(known, Sighting(known[3])) is known
    assert note_sighting(("10.0.0.1", "2001:db8::5"), Sighting("10.0.0.9", is_lease=True)) == (
        "10.0.0.9",
        "2001:db8::5",
    )


def test_the_bridge_of_a_shared_port_is_up_as_long_as_its_cable() -> None:
    def look(flags: list[str], master: str = "eaves-eth1") -> bool:
        links: list[dict[str, Any]] = [
            {"ifname": "eth1", "flags": flags, "master": master},
            {"ifname": "eaves-eth1", "flags": ["UP", "LOWER_UP"], "linkinfo": {"info_kind": "bridge"}},
        ]
        return parse_ports(links, [])["eaves-eth1"].is_up

    assert look(["UP", "LOWER_UP"])
    assert not look(["UP"])
    assert not look(["UP", "LOWER_UP"], "")
