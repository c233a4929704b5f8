"""Firewall rules and port maps of an app's interface as access control entries.

The first entry that matches decides and what none matches is dropped, so the order is: the rules as written, then the
port maps, then the way in for peers on the same network, and without rules of its own all traffic outwards.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from eaves.kinds.app_spec import AclAction, AclDirection, AclRule, AppNetwork, AppPort, RateUnit
from eaves.wire.pb.config.fw_pb2 import ACE, BOTH, EGRESS, INGRESS, ACEAction, ACEDirection, ACEMatch

_ANYWHERE = "0.0.0.0/0"
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
    """Entries of one interface. ``subnet`` is the network's (empty for a switch)."""
    entries = [_rule(rule) for rule in interface.acl or ()]
    for port in sorted(interface.ports, key=lambda port: (port.port, port.protocol)):
        entries.extend(_port(port, subnet))
    if interface.acl is None:
        entries.append(ACE(name="egress", matches=[ACEMatch(type="ip", value=_ANYWHERE)], dir=EGRESS))
    for entry in entries:
        entry.id = ids.take(app_uid, interface.name, entry.name)
    return entries


def _rule(rule: AclRule) -> ACE:
    entry = ACE(name=rule.name, dir=_DIRECTIONS[rule.direction], matches=list(_matches(rule)))
    if rule.action is AclAction.DROP:
        entry.actions.append(ACEAction(drop=True))
    elif rule.action is AclAction.LIMIT and rule.limit is not None:
        burst = rule.limit.burst or rule.limit.packets
        entry.actions.append(
            ACEAction(limit=True, limitrate=rule.limit.packets, limitunit=_UNITS[rule.limit.unit], limitburst=burst)
        )
    return entry


def _matches(rule: AclRule) -> Iterator[ACEMatch]:
    """The terms of a rule. One that names no other side says so, since an entry needs a term about addresses to mean any."""
    if rule.ip:
        yield ACEMatch(type="ip", value=rule.ip)
    if rule.host:
        yield ACEMatch(type="host", value=rule.host)
    if not rule.ip and not rule.host:
        yield ACEMatch(type="ip", value=_ANYWHERE)
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
    if subnet:
        yield ACE(
            name=f"peers {label}",
            matches=[ACEMatch(type="ip", value=subnet), protocol, ACEMatch(type="lport", value=str(port.port))],
            dir=INGRESS,
        )
