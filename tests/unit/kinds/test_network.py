"""Networks: what may be asked for and what may change."""

from __future__ import annotations

from typing import Any

import pytest

from eaves.kinds.network import RESOURCE
from eaves.testing.objects import make_network, make_object


def paths(new: dict[str, Any], old: dict[str, Any] | None = None) -> list[str]:
    return [fault.path for fault in RESOURCE.validate(new, old)]


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"gateway": "10.160.1.1"},
        {"dhcpRange": {"start": "10.160.1.10", "end": "10.160.1.20"}, "gateway": "10.160.1.254"},
        {"dns": {"servers": ["192.0.2.53"], "entries": [{"name": "db", "addresses": ["192.0.2.7", "2001:db8::7"]}]}},
        {"ntp": ["pool.ntp.org", "192.0.2.1"], "domain": "shop.example", "mtu": 1400},
        {"uplink": {"label": "lte", "probe": {"gatewayPing": True, "host": "probe.example", "port": 443}}},
        {
            "routes": [
                {"destination": "10.50.0.0/16", "gateway": "10.160.1.9"},
                {"destination": "172.16.0.0/12", "uplink": "lte", "probe": {"gatewayPing": True}},
            ],
            "propagateConnectedRoutes": True,
        },
        {
            "type": "Switch",
            "subnet": "",
            "uplink": {"label": "floor"},
            "accessPorts": [{"port": "eth2", "vlan": 100}],
            "bpduGuardPort": "eth2",
            "forwardLldp": True,
        },
    ],
)
def test_good_networks(spec: dict[str, Any]) -> None:
    assert paths(make_network(**spec)) == []


def test_a_network_without_a_spec_is_good() -> None:
    assert paths(make_object("Network", "default")) == []


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"subnet": "10.160.1.1/24"}, ["spec.subnet"]),
        ({"subnet": "10.160.1.0/30"}, ["spec.subnet"]),
        ({"subnet": "127.0.0.0/16"}, ["spec.subnet"]),
        ({"subnet": "2001:db8::/64"}, ["spec.subnet"]),
        ({"gateway": "10.160.2.1"}, ["spec.gateway"]),
        ({"gateway": "10.160.1.255"}, ["spec.gateway"]),
        ({"gateway": "10.160.1.100"}, ["spec.gateway"]),
        ({"dhcpRange": {"start": "10.160.1.20", "end": "10.160.1.10"}}, ["spec.dhcpRange.end"]),
        ({"dhcpRange": {"start": "10.160.1.1", "end": "10.160.1.10"}}, ["spec.dhcpRange"]),
        ({"dhcpRange": {"start": "10.160.0.9", "end": "x"}}, ["spec.dhcpRange.start", "spec.dhcpRange.end"]),
        ({"subnet": "", "gateway": "10.0.0.1"}, ["spec.subnet"]),
        ({"mtu": 900}, ["spec.mtu"]),
        ({"dns": {"servers": ["ns.example"]}}, ["spec.dns.servers[0]"]),
        (
            {"dns": {"entries": [{"name": "Ä", "addresses": ["1"]}]}},
            ["spec.dns.entries[0].name", "spec.dns.entries[0].addresses[0]"],
        ),
        ({"type": "Switch"}, ["spec.subnet"]),
        ({"type": "Switch", "subnet": "", "propagateConnectedRoutes": True}, ["spec.propagateConnectedRoutes"]),
        ({"type": "Switch", "subnet": "", "routes": [{"destination": "10.0.0.0/8", "uplink": "a"}]}, ["spec.routes"]),
        (
            {"accessPorts": [{"port": "eth2", "vlan": 1}], "bpduGuardPort": "eth2", "forwardLldp": True},
            ["spec.accessPorts", "spec.bpduGuardPort", "spec.forwardLldp"],
        ),
        ({"uplink": {"label": "lte", "probe": {}}}, ["spec.uplink.probe"]),
        ({"uplink": {"label": "lte", "probe": {"gatewayPing": True, "port": 80}}}, ["spec.uplink.probe.host"]),
        (
            {"routes": [{"destination": "10.0.0.1/8", "gateway": "x"}, {"destination": "10.0.0.0/8"}]},
            ["spec.routes[0].destination", "spec.routes[0].gateway", "spec.routes[1]"],
        ),
        (
            {"routes": [{"destination": "0.0.0.0/0", "gateway": "10.160.1.9", "probe": {"gatewayPing": True}}]},
            ["spec.routes[0].probe"],
        ),
    ],
)
def test_faults_of_networks(spec: dict[str, Any], expected: list[str]) -> None:
    assert paths(make_network(**spec)) == expected


def test_the_type_cannot_change() -> None:
    assert paths(make_network(type="Switch", subnet=""), make_network()) == ["spec.type"]
