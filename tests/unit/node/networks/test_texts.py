"""The texts that nft, dnsmasq and apps get, and the texts of the host that are read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from inline_snapshot import snapshot

from eaves.node.desired.model import AclAction, AclDirection, AclRule
from eaves.node.networks import dns, observe
from eaves.node.networks.acls import NO_ADAPTER
from eaves.node.networks.model import Layout, PortMap, SeenLink, WantedBridge, WantedNetns, WantedVif
from eaves.node.networks.ruleset import name_host_set, render_ruleset

ALLOW, DROP, LIMIT = AclAction.ALLOW, AclAction.DROP, AclAction.LIMIT
BOTH, IN, OUT = AclDirection.BOTH, AclDirection.INGRESS, AclDirection.EGRESS


def vif(app_id: str, address: str, *acls: AclRule, number: int = 0) -> WantedVif:
    gateway = f"10.{number}.0.1"
    return WantedVif(
        app_id,
        "default",
        f"eth{number}",
        f"evv{app_id}{number}",
        f"n{number}",
        f"evbr{number}",
        address,
        24,
        gateway,
        f"02:00:00:00:0{number}:02",
        1500,
        acls,
    )


def bridge(number: int = 0, **changes: object) -> WantedBridge:
    values: dict[str, object] = {
        "network_id": f"n{number}",
        "link": f"evbr{number}",
        "address": f"10.{number}.0.1/24",
        "subnet": f"10.{number}.0.0/24",
        "mtu": 1500,
        "air_gapped": False,
    }
    return WantedBridge(**(values | changes))  # type: ignore[arg-type]


def chain(text: str, name: str) -> list[str]:
    body = text.split(f"  chain {name} {{\n", 1)[1].split("\n  }", 1)[0]
    return [line.strip() for line in body.splitlines()]


def test_rules_become_statements_in_their_order() -> None:
    rules = (
        AclRule(1, "", BOTH, DROP, subnet="10.9.0.0/16"),
        AclRule(2, "", OUT, ALLOW, protocol="tcp", remote_port="80-90", subnet="0.0.0.0/0"),
        AclRule(3, "", IN, ALLOW, protocol="udp", local_port="53"),
        AclRule(4, "", OUT, ALLOW, host="Example.org", protocol="47"),
        AclRule(5, "", BOTH, AclAction.PORT_MAP, protocol="tcp", local_port="8080", app_port=80, subnet="192.0.2.0/24"),
        AclRule(6, "", OUT, LIMIT, limit_rate=10, limit_unit="s", limit_burst=5),
    )
    layout = Layout((bridge(),), (WantedNetns("a", "a", ("a",), (vif("a", "10.0.0.2", *rules),)),))
    text = render_ruleset(layout, "eaves")
    assert chain(text, "from_evva0") == snapshot(
        [
            "ip daddr 10.9.0.0/16 drop",
            "tcp dport 80-90 return",
            f"ip daddr @{name_host_set('example.org')} meta l4proto 47 return",
            "return",
            "drop",
        ]
    )
    assert chain(text, "to_evva0") == snapshot(
        [
            "ip saddr 10.9.0.0/16 drop",
            "udp dport 53 accept",
            "ip saddr 192.0.2.0/24 tcp dport 80 ct status dnat ct original proto-dst 8080 accept",
            "drop",
        ]
    )
    assert chain(text, "limits") == [
        "ip saddr 10.0.0.2 jump rate_from_evva0",
        "ip daddr 10.0.0.2 jump rate_to_evva0",
    ]
    # What an earlier rule decides does not count for the rate.
    assert chain(text, "rate_from_evva0") == [
        "ip daddr 10.9.0.0/16 return",
        "tcp dport 80-90 return",
        f"ip daddr @{name_host_set('example.org')} meta l4proto 47 return",
        "limit rate over 10/second burst 5 packets drop",
        "return",
    ]


def test_a_rule_for_one_port_of_the_node_is_about_what_comes_in_there() -> None:
    rules = (
        AclRule(1, "", BOTH, ALLOW, protocol="tcp", local_port="22", adapter="eth1,eth2"),
        AclRule(2, "", IN, ALLOW, protocol="udp", local_port="53", adapter=NO_ADAPTER),
        AclRule(3, "", BOTH, AclAction.PORT_MAP, protocol="tcp", local_port="8080", app_port=80, adapter="eth1"),
    )
    text = render_ruleset(
        Layout((bridge(),), (WantedNetns("a", "a", ("a",), (vif("a", "10.0.0.2", *rules),)),)), "eaves"
    )
    assert chain(text, "from_evva0") == ["drop"]
    assert chain(text, "to_evva0") == [
        'iifname { "eth1", "eth2" } tcp dport 22 accept',
        'iifname { "-" } udp dport 53 accept',
        "tcp dport 80 ct status dnat ct original proto-dst 8080 accept",
        "drop",
    ]


def test_an_edit_touches_the_chains_of_its_app_alone() -> None:
    before = two_apps(AclRule(1, "", OUT, ALLOW, remote_port="80", protocol="tcp"))
    after = two_apps(AclRule(1, "", OUT, ALLOW, remote_port="81", protocol="tcp"))
    chains = re.findall(r"chain (\S+) \{", render_ruleset(before, "eaves"))
    text = render_ruleset(after, "eaves", chains, (), before)
    assert text.splitlines() == [
        "add table inet eaves",
        "flush chain inet eaves from_evva0",
        "table inet eaves {",
        "  chain from_evva0 {",
        "    tcp dport 81 return",
        "    drop",
        "  }",
        "}",
    ]


def two_apps(rule: AclRule) -> Layout:
    return Layout(
        (bridge(),),
        (
            WantedNetns("a", "a", ("a",), (vif("a", "10.0.0.2", rule),)),
            WantedNetns("b", "b", ("b",), (vif("b", "10.0.0.3", AclRule(2, "", BOTH, LIMIT, limit_rate=9)),)),
        ),
    )


def test_names_that_the_node_knows_itself_are_matched_by_their_addresses() -> None:
    rules = (AclRule(1, "", OUT, ALLOW, host="b"), AclRule(2, "", OUT, ALLOW, host="Printer.example"))
    layout = Layout(
        (bridge(static_hosts=(("printer.example", ("192.0.2.7", "192.0.2.8")),)),),
        (
            WantedNetns("a", "a", ("a",), (vif("a", "10.0.0.2", *rules),)),
            WantedNetns("b", "b", ("b",), (vif("b", "10.0.0.3"),)),
        ),
    )
    text = render_ruleset(layout, "eaves")
    assert chain(text, "from_evva0") == [
        "ip daddr { 10.0.0.3 } return",
        "ip daddr { 192.0.2.7, 192.0.2.8 } return",
        "drop",
    ]
    assert "set names_" not in text


def test_networks_are_apart_and_air_gapped_ones_from_all() -> None:
    text = render_ruleset(
        Layout((bridge(0), bridge(1, air_gapped=True), bridge(2, uplink="wan", uplinks=("wan",)))), "eaves"
    )
    ways = [
        line for line in chain(text, "forwarding") if "dnat" in line or "oifname !=" in line or "iifname !=" in line
    ]
    assert ways == snapshot(
        [
            'iifname != { "evbr0", "evbr1", "evbr2" } oifname != { "evbr0", "evbr1", "evbr2" } accept',
            'iifname "evbr0" oifname { "evbr1", "evbr2" } ct status ! dnat drop',
            'iifname "evbr1" oifname != "evbr1" drop',
            'oifname "evbr1" iifname != "evbr1" drop',
            'iifname "evbr2" oifname != { "wan", "evbr0", "evbr1", "evbr2" } drop',
            'iifname "evbr2" oifname { "evbr0", "evbr1" } ct status ! dnat drop',
        ]
    )
    assert not any("10.1.0.0/24 masquerade" in line and "!=" in line for line in chain(text, "to_outside"))


def test_port_maps_lead_to_the_app_also_from_the_node_itself() -> None:
    maps = (PortMap("a", "tcp", 8080, "10.0.0.2", 80), PortMap("a", "udp", 53, "10.0.0.2", 53, "", "wan"))
    text = render_ruleset(Layout((bridge(),), port_maps=maps), "eaves")
    assert chain(text, "to_port")[1:] == [
        "fib daddr type local tcp dport 8080 dnat ip to 10.0.0.2:80",
        'iifname "wan" fib daddr type local udp dport 53 dnat ip to 10.0.0.2:53',
    ]
    assert chain(text, "to_port_local")[1:] == ["fib daddr type local tcp dport 8080 dnat ip to 10.0.0.2:80"]


def test_replacement_empties_known_chains_and_keeps_needed_sets() -> None:
    rule = AclRule(1, "", OUT, ALLOW, host="example.org")
    layout = Layout((bridge(),), (WantedNetns("a", "a", (), (vif("a", "10.0.0.2", rule),)),))
    name = name_host_set("example.org")
    text = render_ruleset(layout, "eaves", ("guard", "from_old"), (name, "host_old"))
    head = text.split("table inet eaves {")[0].splitlines()
    assert head == [
        "add table inet eaves",
        "flush chain inet eaves guard",
        "flush chain inet eaves from_old",
        "delete chain inet eaves from_old",
        "delete set inet eaves host_old",
    ]
    assert f"  set {name} {{" in text


def test_dnsmasq_serves_one_bridge_with_its_names() -> None:
    wanted = bridge(domain="site.example", ntp_servers=("192.0.2.1",), dns_servers=("192.0.2.53",))
    conf = dns.render_dnsmasq_conf(wanted, Path("/run/x"), "eaves", {"example.org"}).splitlines()
    assert {
        "interface=evbr0",
        "listen-address=10.0.0.1",
        "bind-interfaces",
        "server=192.0.2.53",
        "no-resolv",
        "local=/site.example/",
        f"nftset=/example.org/4#inet#eaves#{name_host_set('example.org')}",
    } <= set(conf)
    gapped = dns.render_dnsmasq_conf(bridge(air_gapped=True, dns_servers=("192.0.2.53",)), Path("/run/x"), "eaves", ())
    assert "no-resolv" in gapped
    assert "server=" not in gapped


def test_resolver_files_of_an_app_on_two_networks() -> None:
    layout = Layout(
        (bridge(0, domain="a.example"), bridge(1)),
        (
            WantedNetns("x", "x", ("x", "x.default"), (vif("x", "10.0.0.2"), vif("x", "10.1.0.2", number=1))),
            WantedNetns("y", "y", ("y",), (vif("y", "10.1.0.3", number=1),)),
            WantedNetns("z", "z", ("z",), (vif("z", "10.0.0.3"), vif("z", "10.1.0.4", number=1))),
        ),
    )
    me = layout.netns[0]
    assert dns.render_resolv_conf(me, layout) == "search a.example\nnameserver 10.0.0.1\n"
    assert dns.render_app_hosts(me, layout).splitlines()[2:] == ["10.0.0.2 x", "10.1.0.3 y"]
    assert dns.render_hosts(layout.bridges[0], layout) == "10.0.0.2 x x.default\n10.0.0.3 z\n"
    assert dns.render_leases(layout.bridges[1], layout).splitlines()[0] == "02:00:00:00:01:02,10.1.0.2,x"


def test_links_of_others_are_not_seen() -> None:
    shown: list[dict[str, Any]] = [
        {"ifindex": 1, "ifname": "eth0", "flags": ["UP"], "addr_info": []},
        {
            "ifindex": 5,
            "ifname": "evbr0",
            "flags": ["BROADCAST", "UP"],
            "mtu": 1500,
            "ifalias": "n0",
            "linkinfo": {"info_kind": "bridge", "info_data": {"nf_call_iptables": 1}},
            "addr_info": [
                {"family": "inet", "local": "10.0.0.1", "prefixlen": 24},
                {"family": "inet6", "local": "fe80::1", "prefixlen": 64},
            ],
        },
        {
            "ifname": "evv1",
            "master": "evbr0",
            "flags": [],
            "linkinfo": {"info_kind": "veth", "info_slave_kind": "bridge", "info_slave_data": {"isolated": True}},
        },
    ]
    assert observe.parse_links(shown, ("evbr", "evv")) == {
        "evbr0": SeenLink("evbr0", "bridge", True, 1500, "n0", "", ("10.0.0.1/24",), True),
        "evv1": SeenLink("evv1", "veth", False, 0, "", "evbr0", (), False, True, False),
    }


def test_ports_and_the_default_route_are_read_from_proc() -> None:
    tcp = (
        "  sl  local_address rem_address   st\n"
        "   0: 0100007F:1F90 00000000:0000 0A 0\n"
        "   1: 0100007F:1F91 0100007F:9999 01 0\n"
    )
    assert observe.parse_sockets(tcp, "tcp") == {("tcp", 8080)}
    udp = "  sl\n 0: 00000000:0035 00000000:0000 07 0\n 1: 00000000:C000 00000000:0000 07 0\n"
    assert observe.parse_sockets(udp, "udp") == {("udp", 53)}
    route = (
        "Iface Destination Gateway Flags RefCnt Use Metric Mask\n"
        "wifi0 00000000 0100A8C0 0003 0 0 600 00000000\n"
        "eth0 00000000 0100A8C0 0003 0 0 100 00000000\n"
        "eth1 0000A8C0 00000000 0001 0 0 0 00FFFFFF\n"
    )
    assert observe.parse_default_uplink(route) == "eth0"
    assert observe.parse_default_uplink("Iface\n") == ""


def test_table_is_told_apart_by_its_text() -> None:
    text = "table inet eaves {\n\tset host_1 {\n\t}\n\n\tchain guard {\n\t}\n}\n"
    fingerprint, chains, sets = observe.parse_table(text)
    assert (chains, sets) == (("guard",), ("host_1",))
    assert fingerprint != observe.parse_table(text + " ")[0]
    assert observe.parse_table("") == ("", (), ())
