"""What a guest's agent says, which may be anything."""

from __future__ import annotations

import pytest

from eaves.node.observed_vm import GuestInterface
from eaves.node.vms.agent import parse_interfaces


def test_interfaces_without_loopback() -> None:
    answer = [
        {"name": "lo", "ip-addresses": [{"ip-address": "127.0.0.1", "prefix": 8, "ip-address-type": "ipv4"}]},
        {
            "name": "eth0",
            "hardware-address": "02:00:00:00:00:01",
            "ip-addresses": [{"ip-address": "10.0.0.2", "prefix": 24}, {"ip-address": "fe80::1", "prefix": 64}],
        },
        {"name": "eth1"},
    ]
    assert parse_interfaces(answer) == (
        GuestInterface("eth0", "02:00:00:00:00:01", ("10.0.0.2", "fe80::1")),
        GuestInterface("eth1"),
    )


@pytest.mark.parametrize("answer", [None, 7, "x", {}, [7], [{"name": 7}], [{"ip-addresses": "x"}]])
def test_nonsense_is_no_interface(answer: object) -> None:
    assert parse_interfaces(answer) == ()


def test_a_guest_cannot_flood_the_status() -> None:
    answer = [{"name": "e" * 100_000, "ip-addresses": [{"ip-address": "1" * 9999}] * 999}] * 999
    found = parse_interfaces(answer)
    assert len(found) <= 32
    assert all(len(interface.name) <= 200 and len(interface.addresses) <= 32 for interface in found)
