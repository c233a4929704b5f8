"""Access control entries of an interface as rules.

The first rule that matches decides and what none matches is dropped. An entry that cannot be read is therefore left out, which
lets less through, unless it drops: then what can be read of it still drops, which also lets less through.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

from msgspec.structs import replace

from eaves.node.desired.draft import Draft, clean_name
from eaves.node.desired.errors import ObjectError
from eaves.node.desired.model import AclAction, AclDirection, AclRule, ObjectKind
from eaves.wire.pb.config.fw_pb2 import ACE, BOTH, EGRESS, INGRESS, ACEAction

_DIRECTIONS = {BOTH: AclDirection.BOTH, INGRESS: AclDirection.INGRESS, EGRESS: AclDirection.EGRESS}
_NAMED_PROTOCOLS = {"tcp", "udp", "icmp", "sctp"}
_WITH_PORTS = {"tcp", "udp", "sctp", "6", "17", "132"}
_LIMIT_UNITS = {"s": "s", "second": "s", "m": "m", "minute": "m", "h": "h", "hour": "h"}
_HOST = re.compile(r"(?=.{1,253}$)[a-zA-Z0-9_]([a-zA-Z0-9_-]{0,62})(\.[a-zA-Z0-9_]([a-zA-Z0-9_-]{0,62}))*\.?")
_FIELDS = {
    "ip": "subnet",
    "host": "host",
    "protocol": "protocol",
    "lport": "local_port",
    "fport": "remote_port",
    "adapter": "adapter",
}


def parse_acls(entries: Iterable[ACE], app_id: str, app_name: str, draft: Draft) -> tuple[AclRule, ...]:
    """The rules in order; problems are noted at the app."""
    rules: list[AclRule] = []
    for entry in entries:
        label = clean_name(entry.name) or f"number {entry.id}"
        try:
            rules.append(_parse_entry(entry, strict=not _is_drop(entry)))
        except ObjectError as error:
            message = f"firewall rule {label} is not used: {error.message}"
            draft.add(ObjectKind.APP, app_id, app_name, "BadFirewallRule", message)
    return tuple(rules)


def _is_drop(entry: ACE) -> bool:
    return any(action.drop for action in entry.actions)


def _parse_entry(entry: ACE, *, strict: bool) -> AclRule:
    """Raises ObjectError for an entry that cannot be used; not ``strict`` skips terms that cannot be read."""
    values = _parse_matches(entry, strict=strict)
    direction = _DIRECTIONS.get(entry.dir, AclDirection.BOTH)
    base = replace(AclRule(entry.id, clean_name(entry.name), direction, AclAction.ALLOW), **values)
    if not strict:
        return replace(base, action=AclAction.DROP)
    if (base.local_port or base.remote_port) and base.protocol not in _WITH_PORTS:
        raise ObjectError("ports need protocol tcp or udp")
    if entry.dir not in _DIRECTIONS:
        raise ObjectError(f"direction {entry.dir} is not known")
    return _with_action(base, entry.actions[0]) if entry.actions else base


def _parse_matches(entry: ACE, *, strict: bool) -> dict[str, str]:
    """Fields of the rule by name."""
    if not entry.matches:
        raise ObjectError("it matches nothing")
    values: dict[str, str] = {}
    for match in entry.matches:
        try:
            field, value = _parse_match(match.type, match.value.strip())
        except ObjectError:
            if strict:
                raise
            continue
        if field in values and strict:
            raise ObjectError(f"it names {match.type} twice")
        values[field] = value
    return values


def _with_action(rule: AclRule, action: ACEAction) -> AclRule:
    if action.portmap:
        if not rule.local_port.isdigit():
            raise ObjectError("a port map needs one lport")
        if not 0 < action.appPort < 65536:
            raise ObjectError(f"a port map to port {action.appPort} is impossible")
        return replace(rule, action=AclAction.PORT_MAP, app_port=action.appPort)
    if action.limit:
        unit = _LIMIT_UNITS.get(action.limitunit.strip().lower().lstrip("/"), "")
        if not unit or not action.limitrate:
            raise ObjectError("its rate limit has no rate or no unit (s, m or h)")
        burst = action.limitburst or action.limitrate
        return replace(rule, action=AclAction.LIMIT, limit_rate=action.limitrate, limit_unit=unit, limit_burst=burst)
    return rule


def _parse_match(type_: str, value: str) -> tuple[str, str]:
    field = _FIELDS.get(type_)
    if field is None:
        raise ObjectError(f"match type {type_[:32]!r} is not known")
    match type_:
        case "ip":
            return field, _parse_network(value)
        case "host":
            if not _HOST.fullmatch(value):
                raise ObjectError("its host is no DNS name")
            return field, value.lower().rstrip(".")
        case "protocol":
            return field, _parse_protocol(value)
        case "lport" | "fport":
            return field, _parse_ports(value)
        case _:
            return field, clean_name(value)


def _parse_network(value: str) -> str:
    try:
        return str(ipaddress.ip_network(value, strict=False))
    except ValueError as error:
        raise ObjectError(f"{value[:64]!r} is neither address nor subnet") from error


def _parse_protocol(value: str) -> str:
    lower = value.lower()
    if lower in _NAMED_PROTOCOLS or (re.fullmatch(r"[0-9]{1,3}", lower) and int(lower) < 256):
        return lower
    raise ObjectError(f"protocol {value[:32]!r} is not known")


def _parse_ports(value: str) -> str:
    found = re.fullmatch(r"([0-9]{1,5})(?:[-:]([0-9]{1,5}))?", value, re.ASCII)
    if found is None:
        raise ObjectError(f"{value[:32]!r} is no port")
    first = int(found[1])
    last = int(found[2]) if found[2] else first
    if not 0 < first <= last < 65536:
        raise ObjectError(f"{value[:32]!r} is no port")
    return str(first) if first == last else f"{first}-{last}"
