"""The firewall of apps on switches: our nftables table of family bridge as text. Pure.

A switch hands frames on without routing them, so rules are met at the ports: an app's port knows its app, whatever address the app
has. Which packets answer an open connection is remembered in sets of our own and not by the kernel's connection tracking, which
sees bridged packets only with modules that change how every bridge of the host behaves.

A set element is a connection seen from the app: its address, the far one, protocol and ports. What a rule allows adds it, each packet of
the connection renews it. Sets are bounded; without room nothing new is let through.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum

from eaves.node.desired.model import AclAction
from eaves.node.networks import acls
from eaves.node.networks.model import WantedVif

STREAM_TIMEOUT = "3h"
"""Longer than the pause after which TCP asks whether the other side is still there."""
OTHER_TIMEOUT = "3m"
_CLOSING_TIMEOUT = "1m"
_SIZE = 65536
_WITH_PORTS = "{ tcp, udp, sctp, dccp }"
_REPLIES = {"ip": "icmp type { echo-reply, timestamp-reply }", "ip6": "icmpv6 type echo-reply"}
_FAMILIES = (("4", "ip", "ipv4_addr"), ("6", "ip6", "ipv6_addr"))


class _Way(StrEnum):
    OUT = "from"
    IN = "to"


def list_sets(link: str) -> tuple[str, ...]:
    """Names of the sets of one interface: with ports, without, and those that are being closed; for IPv4 and IPv6."""
    return tuple(f"{kind}{number}_{link}" for number, _, _ in _FAMILIES for kind in ("flows", "peers", "closing"))


def render_switch_ruleset(
    vifs: Sequence[WantedVif],
    table: str,
    chains: Iterable[str] = (),
    sets: Iterable[str] = (),
    former: Sequence[WantedVif] | None = None,
) -> str:
    """The transaction that makes the table as wanted; ``vifs`` are on switches. Parameters as of ``ruleset.render_ruleset``."""
    wanted = _render_chains(vifs)
    wanted_sets = {name: text for vif in vifs for name, text in _render_sets(vif.link).items()}
    known = _render_chains(former) if former is not None else {}
    same = {name for name in chains if name in wanted and known.get(name) == wanted[name]}
    lines = [f"add table bridge {table}"]
    lines += [f"flush chain bridge {table} {name}" for name in chains if name not in same]
    lines += [f"delete chain bridge {table} {name}" for name in chains if name not in wanted]
    lines += [f"delete set bridge {table} {name}" for name in sets if name not in wanted_sets]
    lines += [f"table bridge {table} {{", *wanted_sets.values()]
    for name, statements in wanted.items():
        if name not in same:
            lines += [f"  chain {name} {{", *(f"    {statement}" for statement in statements), "  }"]
    return "\n".join([*lines, "}"]) + "\n"


def _render_sets(link: str) -> dict[str, str]:
    found = {}
    for number, _, address in _FAMILIES:
        ends = f"{address} . {address} . inet_proto"
        for kind, key in (("flows", f"{ends} . inet_service . inet_service"), ("peers", ends)):
            found[f"{kind}{number}_{link}"] = _render_set(f"{kind}{number}_{link}", key, OTHER_TIMEOUT)
        name = f"closing{number}_{link}"
        found[name] = _render_set(name, f"{ends} . inet_service . inet_service", _CLOSING_TIMEOUT)
    return found


def _render_set(name: str, key: str, timeout: str) -> str:
    return f"  set {name} {{ type {key}; flags dynamic,timeout; timeout {timeout}; size {_SIZE}; }}"


def _render_chains(vifs: Sequence[WantedVif]) -> dict[str, list[str]]:
    if not vifs:
        return {}
    chains: dict[str, list[str]] = {}
    for vif in vifs:
        for way in _Way:
            chains |= _render_way(vif, way)
    senders = [f'iifname "{vif.link}" jump from_{vif.link}' for vif in vifs]
    receivers = [f'oifname "{vif.link}" jump to_{vif.link}' for vif in vifs]
    # In prerouting, before the bridge learns where the address is: else one frame would lead a neighbour's packets to the app.
    chains["arriving"] = [
        "type filter hook prerouting priority dstnat; policy accept;",
        *(f'iifname "{vif.link}" ether saddr != {vif.mac} drop' for vif in vifs),
    ]
    chains["forwarding"] = ["type filter hook forward priority filter; policy accept;", *senders, *receivers]
    chains["incoming"] = ["type filter hook input priority filter; policy accept;", *senders]
    chains["outgoing"] = ["type filter hook output priority filter; policy accept;", *receivers]
    return chains


def _render_way(vif: WantedVif, way: _Way) -> dict[str, list[str]]:
    """What a packet from or to one app meets: what is always allowed, open connections, the rules."""
    link = vif.link
    match = acls.match_outgoing if way is _Way.OUT else acls.match_incoming
    rules = [(rule, match(rule)) for rule in vif.acls if rule.action is not AclAction.PORT_MAP]
    verdicts = [
        f"{text}drop" if rule.action is AclAction.DROP else f"{text}goto open_{way.value}_{link}"
        for rule, text in rules
        if text is not None
    ]
    last = max((index for index, (rule, _) in enumerate(rules) if rule.action is AclAction.LIMIT), default=-1)
    rates = [line for rule, text in rules[: last + 1] for line in acls.render_rate(rule, text)]
    chains = {f"open_{way.value}_{link}": [*_render_opening(link, way), "drop"]}
    if rates:
        chains[f"rate_{way.value}_{link}"] = rates
    chains[f"{way.value}_{link}"] = [
        *_render_always(link, way),
        *([f"jump rate_{way.value}_{link}"] if rates else []),
        *_render_known(link, way),
        *verdicts,
        "drop",
    ]
    return chains


def _render_always(link: str, way: _Way) -> list[str]:
    """Without these no rule could ever matter: finding neighbours and routers, addresses, names; and what belongs to others' packets."""
    fragments = ["ip frag-off & 0x1fff != 0 return", "frag frag-off != 0 return"]
    if way is _Way.OUT:
        return [
            # Not "ether type": where a bridge keeps VLANs apart, a frame's type is that of its tag.
            "meta protocol arp return",
            # An app that played the router would lead the others' packets to itself.
            "icmpv6 type { nd-router-advert, nd-redirect } drop",
            "icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert, mld-listener-report, mld2-listener-report } return",
            "udp sport 68 udp dport 67 return",
            "udp sport 546 udp dport 547 return",
            f"meta l4proto {{ tcp, udp }} th dport 53 goto open_{way.value}_{link}",
            *fragments,
        ]
    return [
        "meta protocol arp return",
        "icmpv6 type { nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert, mld-listener-query } return",
        "icmp type { destination-unreachable, time-exceeded, parameter-problem } return",
        "icmpv6 type { destination-unreachable, packet-too-big, time-exceeded, parameter-problem } return",
        "udp sport 67 udp dport 68 return",
        "udp sport 547 udp dport 546 return",
        *fragments,
    ]


def _render_known(link: str, way: _Way) -> list[str]:
    """Packets of open connections pass and renew them; one that is being closed is not kept longer."""
    statements = []
    for number, family, _ in _FAMILIES:
        flow, pair = _key(family, way), _pair(family, way)
        flows, peers, closing = (f"@{kind}{number}_{link}" for kind in ("flows", "peers", "closing"))
        statements += [
            f"{flow} {flows} tcp flags & (fin | rst) != 0 update {closing} {{ {flow} }}",
            f"{flow} {closing} update {flows} {{ {flow} timeout {_CLOSING_TIMEOUT} }} return",
            f"{flow} {flows} meta l4proto tcp update {flows} {{ {flow} timeout {STREAM_TIMEOUT} }} return",
            f"{flow} {flows} update {flows} {{ {flow} timeout {OTHER_TIMEOUT} }} return",
            # A ping may be answered; being answered is no leave to ping back.
            f"{pair} {peers} {_REPLIES[family]} update {peers} {{ {pair} timeout {OTHER_TIMEOUT} }} return",
            f"{pair} {peers} meta l4proto != {{ icmp, ipv6-icmp }} update {peers} {{ {pair} timeout {OTHER_TIMEOUT} }} return",
        ]
    return statements


def _render_opening(link: str, way: _Way) -> list[str]:
    """Remember the connection of a packet that a rule allows."""
    statements = []
    for number, family, _ in _FAMILIES:
        flow, pair = _key(family, way), _pair(family, way)
        flows, peers = f"@flows{number}_{link}", f"@peers{number}_{link}"
        statements += [
            f"meta l4proto tcp update {flows} {{ {flow} timeout {STREAM_TIMEOUT} }} return",
            f"meta l4proto {_WITH_PORTS} update {flows} {{ {flow} timeout {OTHER_TIMEOUT} }} return",
            f"meta l4proto != {_WITH_PORTS} update {peers} {{ {pair} timeout {OTHER_TIMEOUT} }} return",
        ]
    return statements


def _pair(family: str, way: _Way) -> str:
    near, far = ("saddr", "daddr") if way is _Way.OUT else ("daddr", "saddr")
    return f"{family} {near} . {family} {far} . meta l4proto"


def _key(family: str, way: _Way) -> str:
    near, far = ("sport", "dport") if way is _Way.OUT else ("dport", "sport")
    return f"{_pair(family, way)} . th {near} . th {far}"
