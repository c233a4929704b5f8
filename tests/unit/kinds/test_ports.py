"""What the ports of an EdgeNode may be."""

from __future__ import annotations

from typing import Any

import pytest

from eaves.kinds.edgenode import check_edgenode
from eaves.testing.objects import make_edgenode

STATIC = {"name": "eth0", "addresses": ["192.0.2.10/24"], "gateway": "192.0.2.1"}
SECRET = {"namespace": "shop", "name": "wifi"}
PAC = "function FindProxyForURL(url, host) { return 'DIRECT'; }"


def paths(**spec: Any) -> list[str]:
    return [fault.path for fault in check_edgenode(make_edgenode(**spec), None)]


def uplink(**fields: Any) -> dict[str, Any]:
    return {"uplinks": [{"name": "eth0", **fields}]}


GOOD: list[dict[str, Any]] = [
    {
        "uplinks": [
            {**STATIC, "mtu": 1400, "family": "IPv4Only", "dnsServers": ["192.0.2.53"], "domain": "shop.example"}
        ]
    },
    uplink(addresses=["2001:db8::7/64"], gateway="fe80::1", family="IPv6"),
    uplink(proxy={"servers": [{"protocol": "HTTPS", "host": "proxy.example"}], "exceptions": [".local", "10.0.0.0/8"]}),
    uplink(proxy={"pac": PAC}),
    uplink(proxy={"pacUrl": "http://wpad.shop.example/wpad.dat"}),
    uplink(proxy={"discover": True}),
    uplink(wifi=[{"ssid": "shop", "credentialsSecretRef": SECRET}, {"ssid": "guests", "security": "Open"}]),
    uplink(cellular={"apn": "internet.example", "credentialsSecretRef": SECRET, "simSlot": 1}),
    {
        "uplinks": [{"name": "office"}, {"name": "bond0"}],
        "bonds": [{"name": "bond0", "ports": ["eth0", "eth1"], "mode": "802.3ad"}],
        "vlans": [{"name": "office", "port": "bond0", "id": 10, "interface": "bond0.10"}],
    },
]


@pytest.mark.parametrize("spec", GOOD)
def test_good_ports(spec: dict[str, Any]) -> None:
    assert paths(**spec) == []


BAD: list[tuple[dict[str, Any], list[str]]] = [
    ({"uplinks": [{**STATIC, "gateway": "192.0.3.1"}]}, ["spec.uplinks[0].gateway"]),
    ({"uplinks": [{**STATIC, "gateway": "192.0.2.10"}]}, ["spec.uplinks[0].gateway"]),
    ({"uplinks": [{**STATIC, "gateway": "2001:db8::1"}]}, ["spec.uplinks[0].gateway"]),
    ({"uplinks": [{**STATIC, "family": "IPv6Only"}]}, ["spec.uplinks[0].addresses[0]"]),
    (uplink(addresses=["2001:db8::7"], gateway="fe80::1"), ["spec.uplinks[0].addresses[0]"]),
    (uplink(addresses=["2001:db8:::7/64"], gateway="fe80::1"), ["spec.uplinks[0].addresses[0]"]),
    (uplink(mtu=1000), ["spec.uplinks[0].mtu"]),
    (uplink(labels=["shop", "freeuplink"]), ["spec.uplinks[0].labels[1]"]),
    (uplink(labels=["eth0"]), ["spec.uplinks[0].labels[0]"]),
    (uplink(domain="not a domain"), ["spec.uplinks[0].domain"]),
    (uplink(ntpServers=["time.example", "not a host"]), ["spec.uplinks[0].ntpServers[1]"]),
    (uplink(interface="with space"), ["spec.uplinks[0].interface"]),
    (uplink(proxy={"servers": [{"protocol": "HTTP", "host": "a b"}]}), ["spec.uplinks[0].proxy.servers[0].host"]),
    (
        uplink(proxy={"servers": [{"protocol": "HTTP", "host": "a"}, {"protocol": "HTTP", "host": "b"}]}),
        ["spec.uplinks[0].proxy.servers[1].protocol"],
    ),
    (uplink(proxy={"exceptions": ["a b"]}), ["spec.uplinks[0].proxy.exceptions[0]"]),
    (uplink(proxy={"pac": "nothing"}), ["spec.uplinks[0].proxy.pac"]),
    (uplink(proxy={"pacUrl": "ftp://x/y"}), ["spec.uplinks[0].proxy.pacUrl"]),
    (uplink(proxy={"pac": PAC, "discover": True}), ["spec.uplinks[0].proxy.discover"]),
    (uplink(proxy={"caCertificates": "nothing"}), ["spec.uplinks[0].proxy.caCertificates"]),
    (uplink(wifi=[{"ssid": "shop"}]), ["spec.uplinks[0].wifi[0].credentialsSecretRef"]),
    (
        uplink(wifi=[{"ssid": "shop", "security": "Open", "credentialsSecretRef": SECRET}]),
        ["spec.uplinks[0].wifi[0].credentialsSecretRef"],
    ),
    (
        uplink(wifi=[{"ssid": "shop", "credentialsSecretRef": SECRET, "serverName": "x.example"}]),
        ["spec.uplinks[0].wifi[0].caCertificates"],
    ),
    (
        uplink(wifi=[{"ssid": "shop", "security": "WPA-EAP", "credentialsSecretRef": SECRET, "serverName": "x"}]),
        ["spec.uplinks[0].wifi[0].caCertificates"],
    ),
    (
        uplink(wifi=[{"ssid": "s", "security": "WPA-EAP", "credentialsSecretRef": SECRET, "caCertificates": "x"}]),
        ["spec.uplinks[0].wifi[0].caCertificates"],
    ),
    (uplink(wifi=[{"ssid": "ü" * 20, "security": "Open"}]), ["spec.uplinks[0].wifi[0].ssid"]),
    (uplink(wifi=[{"ssid": "shop", "security": "Open"}], cellular={}), ["spec.uplinks[0].cellular"]),
    ({"bonds": [{"name": "b", "ports": ["eth0"], "mode": "802.3ad"}]}, ["spec.bonds[0].ports"]),
    (
        {"bonds": [{"name": "a", "ports": ["x", "y"]}, {"name": "b", "ports": ["y", "z"]}]},
        ["spec.bonds[1].ports[0]"],
    ),
    ({"bonds": [{"name": "a", "ports": ["x"]}, {"name": "b", "ports": ["a"]}]}, ["spec.bonds[1].ports[0]"]),
    ({"bonds": [{"name": "a", "ports": ["x"], "interface": "x/y"}]}, ["spec.bonds[0].interface"]),
    ({**uplink(), "bonds": [{"name": "b", "ports": ["eth0"]}]}, ["spec.uplinks[0].name"]),
    (
        {"vlans": [{"name": "v", "port": "eth0", "id": 5}, {"name": "w", "port": "v", "id": 6}]},
        ["spec.vlans[1].port"],
    ),
    (
        {"vlans": [{"name": "v", "port": "eth0", "id": 5}, {"name": "w", "port": "eth0", "id": 5}]},
        ["spec.vlans[1].id"],
    ),
    (
        {"bonds": [{"name": "b", "ports": ["eth0"]}], "vlans": [{"name": "v", "port": "eth0", "id": 5}]},
        ["spec.vlans[0].port"],
    ),
    ({**uplink(interface="v"), "vlans": [{"name": "v", "port": "eth1", "id": 5}]}, ["spec.vlans[0].interface"]),
]


@pytest.mark.parametrize(("spec", "expected"), BAD)
def test_each_fault_of_a_port_is_told_with_the_path_of_its_field(spec: dict[str, Any], expected: list[str]) -> None:
    assert paths(**spec) == expected


def test_a_wrong_time_server_is_refused_in_one_short_line() -> None:
    (fault,) = check_edgenode(make_edgenode(**uplink(ntpServers=["not a host"])), None)
    assert fault.detail == "must be a host name or an IP address, (e.g. time.example or 192.0.2.1)"
