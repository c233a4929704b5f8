"""Access rules of an app as entries of the device API."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eaves.controller.compile.acls import AceIds, want_acls
from eaves.controller.compile.errors import HeldBackError
from eaves.kinds.app_spec import AppNetwork
from eaves.wire.pb.config.fw_pb2 import ACE, EGRESS, INGRESS


def acls(subnet: str = "10.160.1.0/24", **fields: Any) -> list[ACE]:
    return want_acls("app", msgspec.convert({"name": "default", **fields}, AppNetwork), subnet, AceIds())


def render(entry: ACE) -> str:
    """An entry in one line, for people who read a failing test."""
    matches = " ".join(f"{match.type}={match.value}" for match in entry.matches)
    action = "allow"
    for act in entry.actions:
        action = (
            "drop"
            if act.drop
            else f"to:{act.appPort}"
            if act.portmap
            else f"limit:{act.limitrate}/{act.limitunit}+{act.limitburst}"
        )
    direction = {EGRESS: "out", INGRESS: "in"}.get(entry.dir, "both")
    return f"{direction} {matches} -> {action}"


def test_without_rules_all_goes_out_and_nothing_comes_in() -> None:
    assert [render(entry) for entry in acls()] == ["out ip=0.0.0.0/0 -> allow"]


def test_a_port_is_mapped_and_open_to_peers() -> None:
    entries = acls(ports=[{"port": 80, "nodePort": 8080}, {"port": 53, "protocol": "UDP"}])
    assert [render(entry) for entry in entries] == [
        "in ip=10.160.1.0/24 protocol=udp lport=53 -> allow",
        "both protocol=tcp lport=8080 -> to:80",
        "in ip=10.160.1.0/24 protocol=tcp lport=80 -> allow",
        "out ip=0.0.0.0/0 -> allow",
    ]


def test_rules_keep_their_order_and_replace_the_way_out() -> None:
    entries = acls(
        acl=[
            {"name": "no-lan", "action": "Drop", "ip": "192.168.0.0/16"},
            {"name": "web", "direction": "Egress", "host": "example.com", "protocol": "TCP", "remotePort": "443"},
            {
                "name": "slow",
                "action": "Limit",
                "direction": "Ingress",
                "protocol": "tcp",
                "localPort": "22",
                "limit": {"packets": 5, "unit": "Minute"},
            },
        ],
        ports=[{"port": 22, "nodePort": 2222}],
    )
    assert [render(entry) for entry in entries] == [
        "both ip=192.168.0.0/16 -> drop",
        "out host=example.com protocol=tcp fport=443 -> allow",
        "in ip=0.0.0.0/0 protocol=tcp lport=22 -> limit:5/m+5",
        "both protocol=tcp lport=2222 -> to:22",
        "in ip=10.160.1.0/24 protocol=tcp lport=22 -> allow",
    ]


def test_an_empty_list_of_rules_lets_nothing_out() -> None:
    assert acls(acl=[]) == []


def test_on_a_switch_ports_and_rules_are_for_both_families() -> None:
    rule = {"name": "ping", "direction": "Egress", "protocol": "icmp"}
    assert [render(entry) for entry in acls(subnet="", ports=[{"port": 80}])] == [
        "in ip=0.0.0.0/0 protocol=tcp lport=80 -> allow",
        "in ip=::/0 protocol=tcp lport=80 -> allow",
        "out ip=0.0.0.0/0 -> allow",
        "out ip=::/0 -> allow",
    ]
    entries = acls(subnet="", acl=[rule, {"name": "lan", "ip": "fd00::/8"}])
    assert [render(entry) for entry in entries] == [
        "out ip=0.0.0.0/0 protocol=icmp -> allow",
        "out ip=::/0 protocol=icmp -> allow",
        "both ip=fd00::/8 -> allow",
    ]
    assert len({entry.id for entry in entries}) == 3


@pytest.mark.parametrize(
    "fields", [{"acl": [{"name": "web", "host": "example.com"}]}, {"ports": [{"port": 80, "nodePort": 8080}]}]
)
def test_what_a_switch_cannot_do_is_said(fields: dict[str, Any]) -> None:
    assert acls(**fields)
    with pytest.raises(HeldBackError, match=r"type (Local|Switch)"):
        acls(subnet="", **fields)


@given(st.lists(st.tuples(st.text(max_size=3), st.text(max_size=3)), max_size=60))
def test_numbers_of_entries_are_unique_and_in_bounds(names: list[tuple[str, str]]) -> None:
    ids = AceIds()
    numbers = [ids.take(*name) for name in names]
    assert len(set(numbers)) == len(numbers)
    assert all(1 <= number < 1 << 24 for number in numbers)


def test_an_entry_keeps_its_number_when_others_come() -> None:
    alone = acls(ports=[{"port": 80}])
    more = acls(ports=[{"port": 80}, {"port": 81}])
    assert {entry.name: entry.id for entry in alone}.items() <= {entry.name: entry.id for entry in more}.items()
