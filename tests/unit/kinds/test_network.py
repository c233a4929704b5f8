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
    ],
)
def test_faults_of_networks(spec: dict[str, Any], expected: list[str]) -> None:
    assert paths(make_network(**spec)) == expected


def test_the_type_cannot_change() -> None:
    assert paths(make_network(type="Switch", subnet=""), make_network()) == ["spec.type"]
