"""Desired networks → layout: addresses that stay, names, port maps, and problems that stay with their object."""

from __future__ import annotations

import ipaddress
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
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
from eaves.node.instance import Instance
from eaves.node.networks.acls import NO_ADAPTER
from eaves.node.networks.layout import plan_layout
from eaves.node.networks.model import Layout, NetworkState, Port, SeenHost, SeenPort
from eaves.node.networks.routing import Ways

INSTANCE = Instance()


def network(name: str = "default", subnet: str = "10.1.0.0/24", **changes: object) -> DesiredNetwork:
    made = DesiredNetwork(f"net-{name}", "1", name, NetworkKind.LOCAL, "uplink", subnet)
    return msgspec.structs.replace(made, **changes)


def app(key: str, *interfaces: DesiredInterface, **changes: object) -> DesiredApp:
    made = DesiredApp(
        id=f"app-{key}",
        version="1",
        name=key,
        namespace="default",
        kind=AppKind.CONTAINER,
        activate=True,
        image_id="image",
        root_volume_id="root",
        root_generation=0,
        memory_bytes=0,
        cpu_millis=0,
        interfaces=interfaces,
    )
    return msgspec.structs.replace(made, **changes)


def on(found: DesiredNetwork, address: str = "", *acls: AclRule, name: str = "") -> DesiredInterface:
    return DesiredInterface(name or found.name, found.id, address, "", acls)


def port_map(port: int, app_port: int = 80) -> AclRule:
    return AclRule(
        port, "", AclDirection.BOTH, AclAction.PORT_MAP, protocol="tcp", local_port=str(port), app_port=app_port
    )


def plan(
    networks: tuple[DesiredNetwork, ...],
    apps: tuple[DesiredApp, ...],
    state: NetworkState | None = None,
    seen: SeenHost | None = None,
    former: Layout | None = None,
) -> tuple[Layout, NetworkState]:
    desired = DesiredNode("device", "1", "", apps=apps, networks=networks)
    return plan_layout(desired, state or NetworkState(), seen or SeenHost(), INSTANCE, Ways(), former)


def addresses(layout: Layout) -> dict[str, str]:
    return {f"{vif.app_id}/{vif.name}": vif.address for vif in layout.vifs}


def codes(layout: Layout) -> dict[str, str]:
    return {problem.object_id: problem.code for problem in layout.problems}


def test_network_becomes_a_bridge_with_the_first_address() -> None:
    layout, state = plan((network(), network("other", "10.2.0.0/16", gateway="10.2.9.9", mtu=9000)), ())
    assert [(b.link, b.address, b.mtu) for b in layout.bridges] == [
        ("evbr0", "10.1.0.1/24", 1500),
        ("evbr1", "10.2.9.9/16", 9000),
    ]
    assert state.bridges == {"net-default": 0, "net-other": 1}


def test_mtu_follows_the_uplink_and_has_a_lowest_value() -> None:
    seen = SeenHost(ports={"wan": SeenPort(1400)}, default_uplink="wan")
    layout, _ = plan((network(),), (), seen=seen)
    assert layout.bridges[0].mtu == 1400
    layout, _ = plan((network(mtu=600),), (), seen=seen)
    assert layout.bridges[0].mtu == 1280


def test_address_stays_with_the_app_while_it_is_away() -> None:
    net = network()
    one, two, three = (app(name, on(net)) for name in ("one", "two", "three"))
    layout, state = plan((net,), (one, two))
    before = addresses(layout)
    assert before == {"app-one/default": "10.1.0.2", "app-two/default": "10.1.0.3"}
    layout, state = plan((net,), (three, two), state)
    assert addresses(layout)["app-three/default"] == "10.1.0.4", "the absent app's address is not given away"
    layout, state = plan((net,), (one, two, three), state)
    assert addresses(layout) == before | {"app-three/default": "10.1.0.4"}


def test_address_of_an_absent_app_is_reused_when_the_range_is_full() -> None:
    net = network(dhcp_start="10.1.0.10", dhcp_end="10.1.0.11")
    _, state = plan((net,), (app("one", on(net)), app("two", on(net))))
    layout, state = plan((net,), (app("two", on(net)), app("three", on(net))), state)
    assert addresses(layout) == {"app-two/default": "10.1.0.11", "app-three/default": "10.1.0.10"}
    layout, _ = plan((net,), tuple(app(name, on(net)) for name in ("two", "three", "four")), state)
    assert codes(layout) == {"app-four": "NoFreeAddress"}
    assert set(addresses(layout)) == {"app-two/default", "app-three/default"}


def test_given_addresses_win_and_clash_only_for_the_second() -> None:
    net = network()
    _, state = plan((net,), (app("one", on(net)),))
    layout, _ = plan(
        (net,), (app("one", on(net)), app("two", on(net, "10.1.0.2")), app("ug", on(net, "10.1.0.2"))), state
    )
    assert addresses(layout)["app-two/default"] == "10.1.0.2"
    assert addresses(layout)["app-one/default"] != "10.1.0.2"
    assert codes(layout) == {"app-ug": "AddressTaken"}


@pytest.mark.parametrize("address", ["10.1.0.1", "10.9.9.9", "10.1.0.255", "10.1.0.0", "fe80::1", "x"])
def test_impossible_given_address_blocks_its_app_alone(address: str) -> None:
    net = network()
    layout, _ = plan((net,), (app("good", on(net)), app("bad", on(net, address))))
    assert set(codes(layout)) == {"app-bad"}
    assert set(addresses(layout)) == {"app-good/default"}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"subnet": ""}, "SubnetMissing"),
        ({"subnet": "fd00::/64"}, "SubnetInvalid"),
        ({"subnet": "nonsense"}, "SubnetInvalid"),
        ({"subnet": "10.9.0.0/31"}, "SubnetTooSmall"),
        ({"gateway": "10.8.0.1"}, "SubnetInvalid"),
        ({"gateway": "x"}, "SubnetInvalid"),
        ({"dhcp_start": "10.1.0.9", "dhcp_end": "10.1.0.8"}, "SubnetInvalid"),
        ({"dhcp_end": "10.2.0.8"}, "SubnetInvalid"),
        ({"dns_servers": ("no address",)}, "SubnetInvalid"),
    ],
)
def test_impossible_network_takes_its_apps_along_and_nobody_else(changes: dict[str, Any], code: str) -> None:
    bad, good = network("bad", **changes), network("good", "10.50.0.0/24")
    layout, _ = plan((bad, good), (app("one", on(bad)), app("two", on(good))))
    assert codes(layout) == {"net-bad": code, "app-one": "NetworkNotReady"}
    assert set(addresses(layout)) == {"app-two/good"}


def test_subnet_of_the_host_or_of_another_network_is_refused() -> None:
    seen = SeenHost(subnets=("192.168.0.0/16",))
    networks = (network("a"), network("b", "10.1.0.128/25"), network("c", "192.168.7.0/24"))
    layout, _ = plan(networks, (), seen=seen)
    assert codes(layout) == {"net-b": "SubnetOverlap", "net-c": "SubnetOverlap"}


def test_names_are_short_for_one_and_full_for_all() -> None:
    net = network()
    layout, _ = plan(
        (net,),
        (app("Web", on(net)), app("web2", on(net), name="web", namespace="shop"), app("odd name", on(net))),
    )
    assert {found.app_id: found.names for found in layout.netns} == {
        "app-Web": ("web", "web.default"),
        "app-web2": ("web.shop",),
        "app-odd name": (),
    }
    assert layout.netns[0].hostname == "web"


def test_port_belongs_to_the_first_app_and_never_to_a_host_programs() -> None:
    net = network()
    apps = (
        app("one", on(net, "", port_map(8080))),
        app("two", on(net, "", port_map(8080), port_map(9090))),
        app("ssh", on(net, "", port_map(22))),
        app("off", on(net, "", port_map(7070)), activate=False),
    )
    seen = SeenHost(listening=frozenset({("tcp", 22)}))
    layout, _ = plan((net,), apps, seen=seen)
    assert {(found.app_id, found.node_port) for found in layout.port_maps} == {("app-one", 8080), ("app-two", 9090)}
    assert codes(layout) == {"app-two": "PortInUse", "app-ssh": "PortInUse"}
    assert len(layout.netns) == 4, "a port that is taken does not stop the app"


def test_port_map_that_works_is_kept_when_a_host_program_comes_later() -> None:
    net = network()
    apps = (app("one", on(net, "", port_map(8080))),)
    former, state = plan((net,), apps)
    later = SeenHost(listening=frozenset({("tcp", 8080)}))
    layout, _ = plan((net,), apps, state, later, former)
    assert layout.port_maps == former.port_maps


@pytest.mark.parametrize(
    "rule",
    [
        AclRule(1, "", AclDirection.BOTH, AclAction.ALLOW, subnet="x"),
        AclRule(
            1, "", AclDirection.BOTH, AclAction.PORT_MAP, protocol="tcp", local_port="1", app_port=1, subnet="fd00::/8"
        ),
        AclRule(1, "", AclDirection.BOTH, AclAction.ALLOW, host='a" drop; accept'),
        AclRule(1, "", AclDirection.BOTH, AclAction.ALLOW, protocol="tcp;drop"),
        AclRule(1, "", AclDirection.BOTH, AclAction.ALLOW, protocol="256"),
        AclRule(1, "", AclDirection.BOTH, AclAction.ALLOW, remote_port="80"),
        AclRule(1, "", AclDirection.BOTH, AclAction.ALLOW, protocol="tcp", remote_port="90-80"),
        AclRule(1, "", AclDirection.BOTH, AclAction.ALLOW, protocol="tcp", remote_port="0"),
        AclRule(1, "", AclDirection.BOTH, AclAction.LIMIT),
        AclRule(1, "", AclDirection.BOTH, AclAction.LIMIT, limit_rate=1, limit_unit="fortnight"),
        AclRule(1, "", AclDirection.BOTH, AclAction.PORT_MAP, protocol="icmp", local_port="1", app_port=1),
        AclRule(1, "", AclDirection.BOTH, AclAction.PORT_MAP, protocol="tcp", local_port="1-2", app_port=1),
        AclRule(1, "", AclDirection.BOTH, AclAction.PORT_MAP, protocol="tcp", local_port="1", app_port=0),
    ],
)
def test_rule_that_is_not_understood_blocks_its_app(rule: AclRule) -> None:
    net = network()
    layout, _ = plan((net,), (app("bad", on(net, "", rule)), app("good", on(net))))
    assert codes(layout) == {"app-bad": "RuleInvalid"}
    assert set(addresses(layout)) == {"app-good/default"}


def test_default_route_goes_by_a_network_that_leads_outside() -> None:
    gap, net = network("gap", "10.3.0.0/24", port_label=""), network()
    layout, _ = plan((gap, net), (app("both", on(gap), on(net)), app("in", on(gap)), app("alone")))
    assert {found.app_id: found.gateway for found in layout.netns} == {
        "app-both": "10.1.0.1",
        "app-in": "10.3.0.1",
        "app-alone": "",
    }
    assert [vif.inside for vif in layout.netns[0].vifs] == ["eth0", "eth1"]


def test_forgotten_network_gives_its_number_and_addresses_back() -> None:
    one, two = network("one"), network("two", "10.2.0.0/24")
    _, state = plan((one, two), (app("a", on(one)),))
    _, state = plan((two,), (), state)
    assert state.bridges == {"net-two": 1}
    assert "net-one" not in state.addresses
    layout, _ = plan((two, network("three", "10.3.0.0/24")), (), state)
    assert [bridge.link for bridge in layout.bridges] == ["evbr1", "evbr0"]


@settings(max_examples=400)
@given(
    rounds=st.lists(
        st.dictionaries(
            st.sampled_from([f"a{number}" for number in range(8)]),
            st.sampled_from(["", "10.1.0.2", "10.1.0.3", "10.1.0.6"]),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_nobody_ever_shares_an_address(rounds: list[dict[str, str]]) -> None:
    net, state = network(subnet="10.1.0.0/29"), NetworkState()
    for wanted in rounds:
        layout, state = plan((net,), tuple(app(name, on(net, address)) for name, address in wanted.items()), state)
        given_out = [vif.address for vif in layout.vifs]
        assert len(set(given_out)) == len(given_out)
        assert "10.1.0.1" not in given_out
        inside = ipaddress.ip_network("10.1.0.0/29")
        assert all(ipaddress.ip_address(address) in inside for address in given_out)
        served = {vif.app_id for vif in layout.vifs} | set(codes(layout))
        assert served == {f"app-{name}" for name in wanted}, "each app is connected or told why not"
        again, _ = plan((net,), tuple(app(name, on(net, address)) for name, address in wanted.items()), state)
        assert again == layout, "asking twice changes nothing"


def test_long_links_fit_the_kernel_for_every_instance() -> None:
    for instance in (Instance(), Instance("t" + "0" * 12)):
        net = network()
        desired = DesiredNode("device", "1", "", apps=(app("x", on(net)),), networks=(net,))
        layout, _ = plan_layout(desired, NetworkState(bridges={"net-default": 9999}), SeenHost(), instance, Ways())
        assert all(len(link) <= 15 for link in (layout.bridges[0].link, layout.vifs[0].link))


@pytest.mark.parametrize(
    ("label", "interfaces"), [("wan", "eth1"), ("uplink", "eth1,eth2"), ("eth3", "eth3"), ("nowhere", NO_ADAPTER)]
)
def test_a_rule_for_a_port_of_the_node_opens_no_other(label: str, interfaces: str) -> None:
    net = network()
    rule = AclRule(1, "", AclDirection.INGRESS, AclAction.ALLOW, adapter=label)
    desired = DesiredNode("device", "1", "", apps=(app("web", on(net, "", rule)),), networks=(net,))
    ways = Ways((Port("wan", "eth1"), Port("lte", "eth2", 10)))
    seen = SeenHost(ports={"eth1": SeenPort(), "eth2": SeenPort(), "eth3": SeenPort()})
    layout, _ = plan_layout(desired, NetworkState(), seen, INSTANCE, ways)
    assert layout.vifs[0].acls[0].adapter == interfaces
