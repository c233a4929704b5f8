"""Access rules of app interfaces: checks, and the nftables matches they become. Pure.

A rule that cannot be understood blocks its app: leaving out a rule could open what it was meant to close.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable

from eaves.node.desired.model import AclAction, AclDirection, AclRule, DesiredApp
from eaves.node.networks.errors import NetworkImpossibleError
from eaves.node.networks.model import PortMap, WantedVif

_NAMED_PROTOCOLS = ("tcp", "udp", "icmp", "sctp", "dccp")
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,62}\.?)+")
NO_ADAPTER = "-"
"""Stands in rules for a label that no port bears: no interface has this name."""
_UNITS = {"": "second", "s": "second", "m": "minute", "h": "hour", "d": "day"}


def check_rule(rule: AclRule, *, is_switched: bool = False) -> None:
    """Raises NetworkImpossibleError with what is wrong. ``is_switched``: the interface is on a switch."""
    if is_switched and rule.host:
        raise NetworkImpossibleError(
            f"rule {rule.id}: host names need a network of type Local, whose DNS answers are seen"
        )
    if is_switched and rule.action is AclAction.PORT_MAP:
        raise NetworkImpossibleError(f"rule {rule.id}: a port map needs a network of type Local")
    if rule.subnet:
        _parse_subnet(rule.subnet)
    if rule.host and (len(rule.host) > 253 or not _HOST.fullmatch(rule.host)):
        raise NetworkImpossibleError(f"rule {rule.id}: {rule.host!r} is not a host name")
    if rule.protocol:
        _parse_protocol(rule)
    for text in filter(None, (rule.local_port, rule.remote_port)):
        parse_ports(text)
    has_ports = rule.local_port or rule.remote_port
    if has_ports and rule.protocol not in ("tcp", "udp", "sctp", "dccp"):
        raise NetworkImpossibleError(f"rule {rule.id}: ports need protocol tcp or udp")
    if rule.action is AclAction.PORT_MAP:
        _check_port_map(rule)
    if rule.action is AclAction.LIMIT and (rule.limit_rate <= 0 or _limit_unit(rule) is None):
        raise NetworkImpossibleError(f"rule {rule.id}: a limit needs a rate above 0 and a unit of s, m, h or d")


def want_port_maps(app: DesiredApp, vif: WantedVif, interfaces_of: Callable[[str], tuple[str, ...]]) -> list[PortMap]:
    """The port maps that the interface's rules ask for. ``interfaces_of``: label of ports → host interfaces."""
    return [
        PortMap(
            app_id=app.id,
            protocol=rule.protocol,
            node_port=int(rule.local_port),
            address=vif.address,
            app_port=rule.app_port,
            source=_render_source(rule),
            uplink=uplink,
        )
        for rule in vif.acls
        if rule.action is AclAction.PORT_MAP
        for uplink in (interfaces_of(rule.adapter) if rule.adapter else ("",))
    ]


def render_outgoing(rule: AclRule, hosts: str) -> list[str]:
    """Statements for packets from the app; ``hosts`` is what the addresses of ``rule.host`` are matched with."""
    match = _match_outgoing(rule, hosts)
    return [] if match is None else [f"{match}{'drop' if rule.action is AclAction.DROP else 'return'}"]


def render_incoming(rule: AclRule, hosts: str) -> list[str]:
    """Statements for packets to the app."""
    match = _match_incoming(rule, hosts)
    return [] if match is None else [f"{match}{'drop' if rule.action is AclAction.DROP else 'accept'}"]


def render_outgoing_rate(rule: AclRule, hosts: str) -> list[str]:
    """Statements that drop packets from the app above the rule's rate; they see every packet of a connection."""
    return render_rate(rule, _match_outgoing(rule, hosts))


def render_incoming_rate(rule: AclRule, hosts: str) -> list[str]:
    """The same for packets to the app."""
    return render_rate(rule, _match_incoming(rule, hosts))


def render_rate(rule: AclRule, match: str | None) -> list[str]:
    """Statements of one rule for packets that ``match`` fits; None = it says nothing about them.

    A packet that an earlier rule decides must not count for a later one's rate: hence ``return`` for all of them."""
    if match is None:
        return []
    if rule.action is not AclAction.LIMIT:
        return [f"{match}return"]
    burst = f" burst {rule.limit_burst} packets" if rule.limit_burst > 0 else ""
    return [f"{match}limit rate over {rule.limit_rate}/{_limit_unit(rule)}{burst} drop", f"{match}return"]


def render_logged(statement: str, prefix: str, log_group: int) -> list[str]:
    """A statement that drops tells of it before, at a bounded pace; group 0 = none does. ``flows`` reads the prefix."""
    match = statement.removesuffix("drop")
    if not log_group or match == statement:
        return [statement]
    return [f'{match}limit rate 20/second burst 40 packets log prefix "{prefix}" group {log_group}', statement]


def match_outgoing(rule: AclRule) -> str | None:
    """What packets from an app on a switch are matched with, of IPv4 or IPv6; None when the rule says nothing about them."""
    if rule.direction is AclDirection.INGRESS or rule.adapter:
        return None
    return _render_match(rule, far="daddr", local_port="sport", remote_port="dport", hosts="", is_switched=True)


def match_incoming(rule: AclRule) -> str | None:
    """The same for packets to it."""
    if rule.direction is AclDirection.EGRESS:
        return None
    match = _render_match(rule, far="saddr", local_port="dport", remote_port="sport", hosts="", is_switched=True)
    return None if match is None else f"{_render_adapter(rule)}{match}"


def _match_outgoing(rule: AclRule, hosts: str) -> str | None:
    """None when the rule says nothing about packets from the app."""
    if rule.direction is AclDirection.INGRESS or rule.action is AclAction.PORT_MAP or rule.adapter:
        return None
    return _render_match(rule, far="daddr", local_port="sport", remote_port="dport", hosts=hosts)


def _match_incoming(rule: AclRule, hosts: str) -> str | None:
    if rule.direction is AclDirection.EGRESS and rule.action is not AclAction.PORT_MAP:
        return None
    if rule.action is AclAction.PORT_MAP:
        source = f"ip saddr {text} " if (text := _render_source(rule)) else ""
        return f"{source}{rule.protocol} dport {rule.app_port} ct status dnat ct original proto-dst {rule.local_port} "
    match = _render_match(rule, far="saddr", local_port="dport", remote_port="sport", hosts=hosts)
    return None if match is None else f"{_render_adapter(rule)}{match}"


def parse_ports(text: str) -> tuple[int, int]:
    """``80`` → (80, 80), ``80-90`` → (80, 90). Raises NetworkImpossibleError."""
    match = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", text)
    if match:
        first = int(match.group(1))
        last = int(match.group(2) or first)
        if 1 <= first <= last <= 65535:
            return first, last
    raise NetworkImpossibleError(f"{text!r} is not a port or a range of ports")


def _render_adapter(rule: AclRule) -> str:
    """The ports of the node by which packets to the app must have come in; packets from it are not asked for theirs."""
    names = ", ".join(f'"{name}"' for name in rule.adapter.split(",") if name)
    return f"iifname {{ {names} }} " if names else ""


def _render_match(
    rule: AclRule, *, far: str, local_port: str, remote_port: str, hosts: str, is_switched: bool = False
) -> str | None:
    parts = []
    subnet = _parse_subnet(rule.subnet) if rule.subnet else None
    family = "ip6" if isinstance(subnet, ipaddress.IPv6Network) else "ip"
    if family == "ip6" and not is_switched:
        return None  # Local networks speak IPv4 alone.
    if subnet is not None and subnet.prefixlen:
        parts.append(f"{family} {far} {subnet}")
    elif subnet is not None and is_switched:
        parts.append(f"meta protocol {family}")
    if rule.host:
        parts.append(f"ip {far} {hosts}")
    ports = [
        f"{rule.protocol} {side} {_render_ports(text)}"
        for side, text in ((local_port, rule.local_port), (remote_port, rule.remote_port))
        if text
    ]
    if ports:
        parts += ports
    elif rule.protocol == "icmp" and is_switched:
        parts.append("meta l4proto { icmp, ipv6-icmp }")
    elif rule.protocol:
        parts.append(f"meta l4proto {_parse_protocol(rule)}")
    return "".join(f"{part} " for part in parts)


def _render_ports(text: str) -> str:
    first, last = parse_ports(text)
    return str(first) if first == last else f"{first}-{last}"


def _check_port_map(rule: AclRule) -> None:
    if rule.protocol not in ("tcp", "udp"):
        raise NetworkImpossibleError(f"rule {rule.id}: a port map needs protocol tcp or udp")
    first, last = parse_ports(rule.local_port)
    if first != last:
        raise NetworkImpossibleError(f"rule {rule.id}: a port map takes one node port, not a range")
    if rule.subnet and _parse_subnet(rule.subnet).version == 6:
        raise NetworkImpossibleError(f"rule {rule.id}: a port map is open to IPv4 subnets only")
    if not 1 <= rule.app_port <= 65535:
        raise NetworkImpossibleError(f"rule {rule.id}: {rule.app_port} is not a port of the app")


def _render_source(rule: AclRule) -> str:
    """The subnet that a port map is open to; empty = any."""
    subnet = _parse_subnet(rule.subnet or "0.0.0.0/0")
    return str(subnet) if subnet.prefixlen else ""


def _parse_subnet(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise NetworkImpossibleError(f"{text!r} is not a subnet") from error


def _parse_protocol(rule: AclRule) -> str:
    if rule.protocol in _NAMED_PROTOCOLS:
        return rule.protocol
    if rule.protocol.isascii() and rule.protocol.isdecimal() and int(rule.protocol) <= 255:
        return str(int(rule.protocol))
    raise NetworkImpossibleError(f"rule {rule.id}: protocol {rule.protocol!r} is unknown")


def _limit_unit(rule: AclRule) -> str | None:
    unit = rule.limit_unit.lower()
    if unit in _UNITS.values():
        return unit
    return _UNITS.get(unit)
