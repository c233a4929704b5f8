"""Which rule decides, which open connections an edit forbids, and the messages that both are read from."""

from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eaves.node.desired.model import AclAction, AclDirection, AclRule
from eaves.node.networks import conntrack, hostnames, lookup, netlink, recheck
from eaves.node.networks.conntrack import Entry, Tuple
from eaves.node.networks.decide import Connection, decide
from eaves.node.networks.model import Layout, WantedBridge, WantedNetns, WantedVif

ALLOW, DROP, MAP = AclAction.ALLOW, AclAction.DROP, AclAction.PORT_MAP
BOTH, IN, OUT = AclDirection.BOTH, AclDirection.INGRESS, AclDirection.EGRESS
HOSTS = {"example.org": frozenset({"192.0.2.7"})}

WEB = Connection(6, 40000, "192.0.2.7", 443, is_inbound=False)
VISIT = Connection(6, 80, "198.51.100.9", 50000, is_inbound=True, node_port=8080)


@pytest.mark.parametrize(
    ("rule", "connection", "matches"),
    [
        (AclRule(1, "", BOTH, ALLOW), WEB, True),
        (AclRule(1, "", IN, ALLOW), WEB, False),
        (AclRule(1, "", OUT, ALLOW), VISIT, False),
        (AclRule(1, "", OUT, ALLOW, subnet="192.0.2.0/24"), WEB, True),
        (AclRule(1, "", OUT, ALLOW, subnet="::/0"), WEB, False),
        (AclRule(1, "", OUT, ALLOW, host="Example.org"), WEB, True),
        (AclRule(1, "", OUT, ALLOW, host="example.com"), WEB, False),
        (AclRule(1, "", OUT, ALLOW, protocol="tcp", remote_port="440-450"), WEB, True),
        (AclRule(1, "", OUT, ALLOW, protocol="6", remote_port="80"), WEB, False),
        (AclRule(1, "", OUT, ALLOW, protocol="udp", remote_port="443"), WEB, False),
        (AclRule(1, "", BOTH, MAP, protocol="tcp", local_port="8080", app_port=80), VISIT, True),
        (AclRule(1, "", BOTH, MAP, protocol="tcp", local_port="8081", app_port=80), VISIT, False),
        (AclRule(1, "", IN, ALLOW, protocol="tcp", local_port="80"), VISIT, True),
        (AclRule(1, "", BOTH, ALLOW, protocol="icmp"), Connection(58, 0, "fd00::1", 0, is_inbound=False), True),
    ],
)
def test_a_rule_matches_what_its_statement_would(rule: AclRule, connection: Connection, matches: bool) -> None:
    found = decide((rule,), connection, lambda host: HOSTS.get(host, frozenset()))
    assert (found.rule_id == 1) is matches
    assert found.is_allowed is matches


def test_the_first_rule_decides_and_none_drops() -> None:
    rules = (AclRule(7, "no", OUT, DROP, protocol="tcp"), AclRule(8, "yes", OUT, ALLOW))
    assert decide(rules, WEB, lambda _: ()).rule_id == 7
    assert not decide(rules, WEB, lambda _: ()).is_allowed
    assert decide((), WEB, lambda _: ()).rule_id == 0


def entry(sent: Tuple, answered: Tuple | None = None, *, is_helped: bool = False) -> Entry:
    back = answered or Tuple(sent.destination, sent.source, sent.protocol, sent.destination_port, sent.source_port)
    return Entry(sent, back, b"", is_helped)


def layout_of(*acls: AclRule) -> Layout:
    vif = WantedVif("a", "default", "eth0", "evva", "n", "evbr0", "10.0.0.2", 24, "10.0.0.1", "02::", 1500, acls)
    bridge = WantedBridge("n", "evbr0", "10.0.0.1/24", "10.0.0.0/24", 1500, False)
    return Layout((bridge,), (WantedNetns("a", "a", ("a",), (vif,)),))


def test_an_edit_ends_what_it_forbids_and_nothing_else() -> None:
    masqueraded = entry(Tuple("10.0.0.2", "192.0.2.7", 6, 40000, 443), Tuple("192.0.2.7", "203.0.113.1", 6, 443, 40000))
    mapped = entry(
        Tuple("198.51.100.9", "203.0.113.1", 6, 50000, 8080), Tuple("10.0.0.2", "198.51.100.9", 6, 80, 50000)
    )
    dns = entry(Tuple("10.0.0.2", "10.0.0.1", 17, 40001, 53))
    metadata = entry(Tuple("10.0.0.2", "169.254.169.254", 6, 40002, 80), Tuple("10.0.0.1", "10.0.0.2", 6, 999, 40002))
    helped = entry(Tuple("192.0.2.7", "10.0.0.2", 6, 20, 40003), is_helped=True)
    entries = [masqueraded, mapped, dns, metadata, helped]

    def forbidden(*rules: AclRule) -> list[Entry]:
        layout = layout_of(*rules)
        return recheck.list_forbidden(layout.vifs, layout, {"example.org": HOSTS["example.org"]}, entries)

    assert forbidden() == [masqueraded, mapped]
    assert forbidden(AclRule(1, "", OUT, ALLOW, host="example.org")) == [mapped]
    port = AclRule(1, "", BOTH, MAP, protocol="tcp", local_port="8080", app_port=80)
    assert forbidden(port) == [masqueraded]
    assert forbidden(AclRule(2, "", OUT, DROP, subnet="192.0.2.7/32"), AclRule(3, "", BOTH, ALLOW)) == [masqueraded]


def test_only_edited_and_new_interfaces_are_looked_at() -> None:
    before, after = layout_of(AclRule(1, "", OUT, ALLOW)), layout_of(AclRule(1, "", OUT, DROP))
    assert recheck.list_changed(before, before) == ()
    assert recheck.list_changed(before, after) == after.vifs
    assert recheck.list_changed(None, before) == before.vifs


@given(st.binary(max_size=200))
def test_nonsense_from_the_kernel_or_the_net_is_no_entry_and_no_address(data: bytes) -> None:
    assert conntrack.parse_entry(data, frozenset({"10.0.0.2"})) is None
    assert list(netlink.split_messages(data)) is not None
    assert not lookup.parse_answer(7, data)


def test_addresses_are_read_from_an_answer_with_an_alias() -> None:
    query = lookup.render_query(7, "www.example.org.")
    alias = b"\xc0\x0c" + struct.pack("!HHIH", 5, 1, 60, 6) + b"\x03cdn\xc0\x10"
    address = b"\xc0\x30" + struct.pack("!HHIH", 1, 1, 60, 4) + socket.inet_aton("192.0.2.7")
    answer = struct.pack("!HHHHHH", 7, 0x8180, 1, 2, 0, 0) + query[12:] + alias + address
    assert lookup.parse_answer(7, answer) == frozenset({"192.0.2.7"})
    assert lookup.parse_answer(8, answer) is None, "the answer to another query"
    assert lookup.parse_answer(7, answer[:-3]) == frozenset()


def test_renewal_gives_each_address_its_full_time() -> None:
    assert hostnames.render_renewal("eaves", {"example.org": frozenset()}) == ""
    lines = hostnames.render_renewal("eaves", {"example.org": frozenset({"192.0.2.7"})}).splitlines()
    assert [line.split()[0] for line in lines] == ["add", "delete", "add"]
    listed = b'{"nftables": [{"set": {"elem": ["192.0.2.8", {"elem": {"val": "192.0.2.7", "expires": 9}}]}}]}'
    assert hostnames.parse_elements(listed) == {"192.0.2.7", "192.0.2.8"}
