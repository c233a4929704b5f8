"""Firewall rules and port maps of an app's interface as access control entries.

The first entry that matches decides and what none matches is dropped, so the order is: the rules as written, then the
port maps, then the way in for peers on the same network, and without rules of its own all traffic outwards.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from eaves.controller.compile.errors import HeldBackError
from eaves.kinds.app_spec import AclAction, AclDirection, AclRule, AppNetwork, AppPort, RateUnit
from eaves.wire.pb.config.fw_pb2 import ACE, BOTH, EGRESS, INGRESS, ACEAction, ACEDirection, ACEMatch

_ANYWHERE, _ANYWHERE_6 = "0.0.0.0/0", "::/0"
_DIRECTIONS: dict[AclDirection, ACEDirection.ValueType] = {
    AclDirection.BOTH: BOTH,
    AclDirection.INGRESS: INGRESS,
    AclDirection.EGRESS: EGRESS,
}
_UNITS = {RateUnit.SECOND: "s", RateUnit.MINUTE: "m", RateUnit.HOUR: "h"}
_MAX_ID = (1 << 24) - 1


class AceIds:
    """Numbers for entries, unique in one config and the same for the same rule as long as no two rules fall on one number.

    Flow logs name rules by these numbers, so they should not move when another app changes.
    """

    def __init__(self) -> None:
        self._taken: set[int] = set()

    def take(self, *parts: str) -> int:
        number = int.from_bytes(hashlib.sha256("\n".join(parts).encode()).digest()[:4]) % _MAX_ID + 1
        while number in self._taken:
            number = number % _MAX_ID + 1
        self._taken.add(number)
        return number


def want_acls(app_uid: str, interface: AppNetwork, subnet: str, ids: AceIds) -> list[ACE]:
    """Entries of one interface. ``subnet`` is the network's (empty for a switch, which carries both families of addresses).

    Raises :class:`HeldBackError` for what a switch cannot do.
    """
    if not subnet:
        _check_switch(interface)
    anywhere = (_ANYWHERE,) if subnet else (_ANYWHERE, _ANYWHERE_6)
    entries = [entry for rule in interface.acl or () for entry in _rule(rule, anywhere)]
    for port in sorted(interface.ports, key=lambda port: (port.port, port.protocol)):
        entries.extend(_port(port, subnet))
    if interface.acl is None:
        entries += [ACE(name="egress", matches=[ACEMatch(type="ip", value=place)], dir=EGRESS) for place in anywhere]
    for entry in entries:
        entry.id = ids.take(app_uid, interface.name, entry.name)
    return entries


def _check_switch(interface: AppNetwork) -> None:
    named = next((rule for rule in interface.acl or () if rule.host), None)
    if named is not None:
        raise HeldBackError(
            "RuleImpossible",
            f"rule {named.name} on network {interface.name} names host {named.host}: only a network of type Local sees which "
            "addresses names have; give an ip",
        )
    mapped = next((port for port in interface.ports if port.node_port is not None), None)
    if mapped is not None:
        raise HeldBackError(
            "PortImpossible",
            f"port {mapped.port} on network {interface.name} has a nodePort: on a network of type Switch the app has an "
            "address outside by itself; leave nodePort out",
        )


def _rule(rule: AclRule, anywhere: Sequence[str]) -> Iterator[ACE]:
    """One entry, or one for each family when the rule names no other side on a switch."""
    for place in [rule.ip] if rule.ip or rule.host else anywhere:
        yield _entry(rule, place)


def _entry(rule: AclRule, place: str) -> ACE:
    entry = ACE(name=rule.name, dir=_DIRECTIONS[rule.direction], matches=list(_matches(rule, place)))
    if rule.action is AclAction.DROP:
        entry.actions.append(ACEAction(drop=True))
    elif rule.action is AclAction.LIMIT and rule.limit is not None:
        burst = rule.limit.burst or rule.limit.packets
        entry.actions.append(
            ACEAction(limit=True, limitrate=rule.limit.packets, limitunit=_UNITS[rule.limit.unit], limitburst=burst)
        )
    return entry


def _matches(rule: AclRule, place: str) -> Iterator[ACEMatch]:
    """The terms of a rule. One that names no other side says so, since an entry needs a term about addresses to mean any."""
    if place:
        yield ACEMatch(type="ip", value=place)
    if rule.host:
        yield ACEMatch(type="host", value=rule.host)
    if rule.protocol:
        yield ACEMatch(type="protocol", value=rule.protocol.lower())
    if rule.local_port:
        yield ACEMatch(type="lport", value=rule.local_port)
    if rule.remote_port:
        yield ACEMatch(type="fport", value=rule.remote_port)


def _port(port: AppPort, subnet: str) -> Iterator[ACE]:
    protocol = ACEMatch(type="protocol", value=port.protocol.lower())
    label = f"{port.port}/{port.protocol.lower()}"
    if port.node_port is not None:
        yield ACE(
            name=f"port {label}",
            matches=[protocol, ACEMatch(type="lport", value=str(port.node_port))],
            actions=[ACEAction(portmap=True, appPort=port.port)],
            dir=BOTH,
        )
    for place in (subnet,) if subnet else (_ANYWHERE, _ANYWHERE_6):
        yield ACE(
            name=f"peers {label}",
            matches=[ACEMatch(type="ip", value=place), protocol, ACEMatch(type="lport", value=str(port.port))],
            dir=INGRESS,
        )
