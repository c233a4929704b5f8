"""Routing tables and rules of networks that name ports or routes."""

from __future__ import annotations

import msgspec

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
from eaves.node.desired.network_model import DesiredRoute, Probe
from eaves.node.instance import Instance
from eaves.node.networks import uplink_rules
from eaves.node.networks.failover import list_failed
from eaves.node.networks.layout import plan_layout
from eaves.node.networks.model import Layout, NetworkState, Port, ProbeTarget, Route, Rule, SeenHost, SeenPort
from eaves.node.networks.routing import Ways

INSTANCE = Instance()
BASE = INSTANCE.routing_table
PORTS = (Port("cable", "eth0"), Port("modem", "wwan0", 10))
SEEN = SeenHost(
    ports={
        "eth0": SeenPort(1500, True, ("192.0.2.5/24",), "192.0.2.1"),
        "wwan0": SeenPort(1400, True, ("198.51.100.5/24",), "198.51.100.1"),
    },
    default_uplink="eth0",
)


def network(name: str = "default", subnet: str = "10.1.0.0/24", **changes: object) -> DesiredNetwork:
    made = DesiredNetwork(f"net-{name}", "1", name, NetworkKind.LOCAL, "uplink", subnet)
    return msgspec.structs.replace(made, **changes)


def plan(
    *networks: DesiredNetwork,
    ports: tuple[Port, ...] = PORTS,
    faults: dict[ProbeTarget, str] | None = None,
    seen: SeenHost = SEEN,
    former: Layout | None = None,
    state: NetworkState | None = None,
) -> Layout:
    desired = DesiredNode("device", "1", "", networks=networks)
    return plan_layout(desired, state or NetworkState(), seen, INSTANCE, Ways(ports, faults or {}), former)[0]


def way(layout: Layout, destination: str = "0.0.0.0/0", number: int = 0) -> Route | None:
    table = BASE + 64 + number
    return next((route for route in layout.routes if (route.table, route.destination) == (table, destination)), None)


def test_a_host_without_labels_keeps_its_routing_to_itself() -> None:
    layout = plan(network(), ports=())
    assert (layout.routes, layout.rules, layout.marks, layout.targets) == ((), (), (), ())
    assert layout.bridges[0].uplink_reason == "the host's own routes"


def test_a_network_gets_a_table_and_each_uplink_one() -> None:
    layout = plan(network(), network("other", "10.2.0.0/24", port_label=""))
    assert set(layout.routes) == {
        Route(BASE + 64, "10.1.0.0/24", "evbr0"),
        Route(BASE + 64, "10.2.0.0/24", "evbr1"),
        Route(BASE + 64, "192.0.2.0/24", "eth0"),
        Route(BASE + 64, "198.51.100.0/24", "wwan0"),
        Route(BASE + 64, "0.0.0.0/0", "eth0", "192.0.2.1"),
        Route(BASE + 1, "0.0.0.0/0", "eth0", "192.0.2.1"),
        Route(BASE + 2, "0.0.0.0/0", "wwan0", "198.51.100.1"),
    }
    assert set(layout.rules) == {
        Rule(29000, BASE + 64, "evbr0", is_specific=True),
        Rule(29301, BASE + 1, mark=1 << 24),
        Rule(29302, BASE + 2, mark=2 << 24),
        Rule(29400, BASE + 64, "evbr0"),
        Rule(29700, 0, "evbr0"),
    }
    assert layout.bridges[0].mtu == 1400, "what any of its ways can carry"


def test_a_failed_uplink_is_left_and_its_connections_are_named() -> None:
    routes = (DesiredRoute("0.0.0.0/0", port_label="uplink", probe=Probe(ping_gateway=True)),)
    former = plan(network(routes=routes))
    target = next(target for target in former.targets if target.interface == "eth0")
    layout = plan(network(routes=routes), faults={target: "silence"}, former=former)
    assert way(layout) == Route(BASE + 64, "0.0.0.0/0", "wwan0", "198.51.100.1")
    assert list_failed(former, layout, ["eth0"]) == {"net-default": "eth0"}
    assert list_failed(former, former, ["eth0"]) == {}
    back = plan(network(routes=routes), former=layout)
    assert way(back) == way(former)
    assert list_failed(layout, back, []) == {}, "a change back cuts nothing"


def test_numbers_of_uplinks_stay_since_open_connections_bear_them() -> None:
    state = NetworkState(ports={"wwan0": 1, "gone0": 2})
    layout = plan(network(), state=state)
    assert dict(layout.marks) == {"eth0": 3 << 24, "wwan0": 1 << 24}


def test_a_route_by_a_gateway_is_on_the_bridge_or_beside_a_port() -> None:
    layout = plan(
        network(
            routes=(
                DesiredRoute("10.50.0.0/16", gateway="10.1.0.9"),
                DesiredRoute("10.60.0.0/16", gateway="192.0.2.77"),
                DesiredRoute("10.70.0.0/16", gateway="203.0.113.9"),
                DesiredRoute("10.80.0.0/16", port_label="modem"),
            )
        )
    )
    assert way(layout, "10.50.0.0/16") == Route(BASE + 64, "10.50.0.0/16", "evbr0", "10.1.0.9")
    assert way(layout, "10.60.0.0/16") == Route(BASE + 64, "10.60.0.0/16", "eth0", "192.0.2.77")
    assert way(layout, "10.70.0.0/16") is None
    assert way(layout, "10.80.0.0/16") == Route(BASE + 64, "10.80.0.0/16", "wwan0", "198.51.100.1")
    assert [(found.object_id, found.code, found.is_blocking) for found in layout.problems] == [
        ("net-default", "GatewayUnreachable", False)
    ]


def test_guests_are_told_static_routes_and_on_demand_the_subnets_of_ports() -> None:
    routes = (DesiredRoute("10.50.0.0/16", gateway="10.1.0.9"),)
    assert plan(network(routes=routes)).bridges[0].guest_routes == (("10.50.0.0/16", "10.1.0.1"),)
    told = plan(network(propagate_routes=True)).bridges[0].guest_routes
    assert told == (("192.0.2.0/24", "10.1.0.1"), ("198.51.100.0/24", "10.1.0.1"))
    by_host = plan(network(propagate_routes=True), ports=()).bridges[0].guest_routes
    assert by_host == (("192.0.2.0/24", "10.1.0.1"),)


def test_a_static_route_on_a_host_without_labels_needs_no_dead_end() -> None:
    layout = plan(network(routes=(DesiredRoute("10.50.0.0/16", gateway="10.1.0.9"),)), ports=())
    assert [rule.priority for rule in layout.rules] == [29000]


def test_a_missing_label_lets_nothing_out() -> None:
    layout = plan(network(port_label="satellite"))
    assert layout.bridges[0].air_gapped
    assert [found.code for found in layout.problems] == ["PortMissing"]
    assert "cable, modem" in layout.problems[0].message


def test_connections_are_marked_by_the_uplink_they_use() -> None:
    layout = plan(network())
    assert uplink_rules.render_marking(layout)[0] == (
        'iifname { "evbr0" } oifname "eth0" ct state new ct mark set ct mark and 0xffffff xor 0x1000000'
    )
    assert uplink_rules.render_marks(plan(network(), ports=())) == {}


def test_a_port_map_of_a_label_opens_on_its_ports_alone() -> None:
    net = network()

    def open_on(label: str, ports: tuple[Port, ...] = PORTS) -> tuple[list[str], list[str]]:
        rule = AclRule(
            1, "", AclDirection.BOTH, AclAction.PORT_MAP, protocol="tcp", local_port="80", adapter=label, app_port=80
        )
        interface = DesiredInterface("default", net.id, "", "", (rule,))
        app = DesiredApp("a", "1", "a", "", AppKind.CONTAINER, True, "", "", 0, 0, 0, interfaces=(interface,))
        desired = DesiredNode("device", "1", "", networks=(net,), apps=(app,))
        layout = plan_layout(desired, NetworkState(), SEEN, INSTANCE, Ways(ports))[0]
        return [found.uplink for found in layout.port_maps], [problem.code for problem in layout.problems]

    assert open_on("") == ([""], [])
    assert open_on("modem") == (["wwan0"], [])
    assert open_on("uplink") == (["eth0", "wwan0"], [])
    assert open_on("uplink", ()) == (["eth0"], [])
    assert open_on("satellite") == ([], ["PortMissing"])
