"""Which rule decides about a connection: the same answer as the chains of ``ruleset`` give. Pure.

The kernel decides about packets; this tells after the fact, for connections that an edit of the rules may forbid and for flow
logs. Both sides render and read the same :class:`~eaves.node.desired.model.AclRule`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection, Iterable

from msgspec import Struct

from eaves.node.desired.model import AclAction, AclDirection, AclRule
from eaves.node.networks.acls import parse_ports

_NUMBERS = {"icmp": (1, 58), "tcp": (6,), "udp": (17,), "dccp": (33,), "sctp": (132,)}

AddressesOf = Callable[[str], Collection[str]]
"""Host name → the addresses that it has now."""


class Connection(Struct, frozen=True):
    """A connection as one app interface sees it. ``is_inbound``: the far side opened it.

    ``node_port``: the node's port by which an inbound one came, 0 = directly to the app. Ports are 0 for protocols without.
    """

    protocol: int
    local_port: int
    far_address: str
    far_port: int
    is_inbound: bool
    node_port: int = 0


class Decision(Struct, frozen=True):
    """``rule_id`` 0 = no rule matched, which drops."""

    rule_id: int
    rule_name: str
    is_allowed: bool


DEFAULT_DROP = Decision(0, "", False)


def decide(rules: Iterable[AclRule], connection: Connection, addresses_of: AddressesOf) -> Decision:
    """The first rule that matches."""
    for rule in rules:
        if _is_match(rule, connection, addresses_of):
            return Decision(rule.id, rule.name, rule.action is not AclAction.DROP)
    return DEFAULT_DROP


def _is_match(rule: AclRule, connection: Connection, addresses_of: AddressesOf) -> bool:
    if not _is_far_side(rule, connection.far_address, addresses_of):
        return False
    if rule.protocol and connection.protocol not in _list_numbers(rule.protocol):
        return False
    if rule.action is AclAction.PORT_MAP:
        ports = (connection.node_port, connection.local_port)
        return connection.is_inbound and ports == (int(rule.local_port), rule.app_port)
    forbidden = AclDirection.EGRESS if connection.is_inbound else AclDirection.INGRESS
    if rule.direction is forbidden or (rule.adapter and not connection.is_inbound):
        return False
    return _has_port(rule.local_port, connection.local_port) and _has_port(rule.remote_port, connection.far_port)


def _is_far_side(rule: AclRule, far_address: str, addresses_of: AddressesOf) -> bool:
    if rule.host and far_address not in addresses_of(rule.host.lower()):
        return False
    if not rule.subnet:
        return True
    subnet = ipaddress.ip_network(rule.subnet, strict=False)
    address = ipaddress.ip_address(far_address)
    return address.version == subnet.version and address in subnet


def _has_port(text: str, port: int) -> bool:
    if not text:
        return True
    first, last = parse_ports(text)
    return first <= port <= last


def _list_numbers(protocol: str) -> tuple[int, ...]:
    return _NUMBERS.get(protocol) or (int(protocol),)
