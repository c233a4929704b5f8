"""The firewall of apps on switches: our nftables table of family bridge as text. Pure.

A switch hands frames on without routing them, so rules are met at the ports: an app's port knows its app, whatever address the app
has. Which packets answer an open connection is remembered in sets of our own and not by the kernel's connection tracking, which
sees bridged packets only with modules that change how every bridge of the host behaves.

What a rule allows adds a connection, each packet of it renews it. Sets are bounded; without room nothing new is let through. What
passes at interfaces with flow logs is counted by ``switch_counts``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from eaves.node.desired.model import AclAction
from eaves.node.networks import acls, switch_counts
from eaves.node.networks.model import WantedVif
from eaves.node.networks.switch_keys import (
    CLOSING_TIMEOUT,
    FAMILIES,
    OTHER_TIMEOUT,
    STREAM_TIMEOUT,
    WITH_PORTS,
    Way,
    render_key,
    render_pair,
    render_set,
)

GROUP_ADDRESS = "01:80:c2:00:00:00"
_SIZE = 65536
_REPLIES = {"ip": "icmp type { echo-reply, timestamp-reply }", "ip6": "icmpv6 type echo-reply"}


def list_sets(link: str) -> tuple[str, ...]:
    """Names of the sets of one interface: with ports, without, and those that are being closed; for IPv4 and IPv6."""
    return tuple(f"{kind}{number}_{link}" for number, _, _ in FAMILIES for kind in ("flows", "peers", "closing"))


def render_switch_ruleset(
    vifs: Sequence[WantedVif],
    table: str,
    chains: Iterable[str] = (),
    sets: Iterable[str] = (),
    former: Sequence[WantedVif] | None = None,
    log_group: int = 0,
    *,
    trees: Sequence[str] = (),
    former_trees: Sequence[str] = (),
) -> str:
    """The transaction that makes the table as wanted; ``vifs`` are on switches. Parameters as of ``ruleset.render_ruleset``.

    ``trees``: all ports of switches with a spanning tree.
    """
    wanted = _render_chains(vifs, log_group) | _render_trees(trees)
    wanted_sets = {name: text for vif in vifs for name, text in _render_sets(vif, log_group).items()}
    known = _render_chains(former, log_group) | _render_trees(former_trees) if former is not None else {}
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


def _render_trees(links: Sequence[str]) -> dict[str, list[str]]:
    """A bridge of which the kernel's own spanning tree is off hands the messages of others on, and apps' too (br_handle_frame)."""
    if not links:
        return {}
    # By port: not every kernel can match the bridge.
    names = ", ".join(f'"{link}"' for link in links)
    return {
        "trees": [
            "type filter hook prerouting priority dstnat - 1; policy accept;",
            f"iifname {{ {names} }} ether daddr {GROUP_ADDRESS} drop",
        ]
    }


def _render_sets(vif: WantedVif, log_group: int) -> dict[str, str]:
    found = {}
    for number, _, address in FAMILIES:
        for kind, has_ports, timeout in (
            ("flows", True, OTHER_TIMEOUT),
            ("peers", False, OTHER_TIMEOUT),
            ("closing", True, CLOSING_TIMEOUT),
        ):
            name = f"{kind}{number}_{vif.link}"
            found[name] = render_set(name, address, has_ports=has_ports, timeout=timeout, size=_SIZE)
    return found | (switch_counts.render_sets(vif.link) if _want_group(vif, log_group) else {})


def _want_group(vif: WantedVif, log_group: int) -> int:
    """0 = the interface is not logged."""
    return log_group if vif.flow_log else 0


def _render_chains(vifs: Sequence[WantedVif], log_group: int) -> dict[str, list[str]]:
    if not vifs:
        return {}
    chains: dict[str, list[str]] = {}
    for vif in vifs:
        for way in Way:
            chains |= _render_way(vif, way, _want_group(vif, log_group))
    senders = {vif.link: f'iifname "{vif.link}" jump from_{vif.link}' for vif in vifs}
    receivers = {vif.link: f'oifname "{vif.link}" jump to_{vif.link}' for vif in vifs}
    # Whatever its rules allow of the site, an app reaches nothing of the node beside it, not even to tell it a false neighbour.
    beside = [vif.link for vif in vifs if vif.is_beside_host]
    from_host = receivers | {link: f'oifname "{link}" drop' for link in beside}
    to_host = senders | {link: f'iifname "{link}" drop' for link in beside}
    # In prerouting, before the bridge learns where the address is: else one frame would lead a neighbour's packets to the app.
    chains["arriving"] = [
        "type filter hook prerouting priority dstnat; policy accept;",
        *(f'iifname "{vif.link}" ether saddr != {vif.mac} drop' for vif in vifs),
        *(switch_counts.render_arriving(vif.link) for vif in vifs if _want_group(vif, log_group)),
    ]
    chains["forwarding"] = [
        "type filter hook forward priority filter; policy accept;",
        *senders.values(),
        *receivers.values(),
    ]
    chains["incoming"] = ["type filter hook input priority filter; policy accept;", *to_host.values()]
    chains["outgoing"] = ["type filter hook output priority filter; policy accept;", *from_host.values()]
    return chains


def _render_way(vif: WantedVif, way: Way, log_group: int) -> dict[str, list[str]]:
    """What a packet from or to one app meets: what is always allowed, open connections, the rules."""
    link = vif.link
    match = acls.match_outgoing if way is Way.OUT else acls.match_incoming
    rules = [(rule, match(rule)) for rule in vif.acls if rule.action is not AclAction.PORT_MAP]
    log = f"{link} {'out' if way is Way.OUT else 'in'}"
    verdicts = [
        line
        for rule, text in rules
        if text is not None
        for line in acls.render_logged(
            f"{text}drop" if rule.action is AclAction.DROP else f"{text}goto open_{way.value}_{link}",
            f"{log} {rule.id}",
            log_group,
        )
    ]
    last = max((index for index, (rule, _) in enumerate(rules) if rule.action is AclAction.LIMIT), default=-1)
    rates = [line for rule, text in rules[: last + 1] for line in acls.render_rate(rule, text)]
    chains = switch_counts.render_chains(link, way, log_group) if log_group else {}
    opened = f"goto begin_{way.value}_{link}" if log_group else "return"
    known = f"goto count_to_{link}" if log_group and way is Way.IN else "return"
    chains[f"open_{way.value}_{link}"] = [
        # Pings, and questions for names, come here with each packet.
        *(_render_opening(link, way, known, is_known=True) if log_group else []),
        *_render_opening(link, way, opened),
        "drop",
    ]
    if rates:
        chains[f"rate_{way.value}_{link}"] = rates
    chains[f"{way.value}_{link}"] = [
        *_render_always(link, way),
        *([f"jump rate_{way.value}_{link}"] if rates else []),
        *(switch_counts.render_names(link, log_group) if log_group and way is Way.IN else []),
        *_render_known(link, way, known),
        *verdicts,
        *acls.render_logged("drop", f"{log} 0", log_group),
    ]
    return chains


def _render_always(link: str, way: Way) -> list[str]:
    """Without these no rule could ever matter: finding neighbours and routers, addresses, names; and what belongs to others' packets."""
    # Not "ether type", which nft takes by itself for these: where a bridge keeps VLANs apart, a frame's type is that of its tag.
    icmp, icmpv6 = "meta protocol ip icmp type", "meta protocol ip6 icmpv6 type"
    fragments = ["ip frag-off & 0x1fff != 0 return", "meta protocol ip6 frag frag-off != 0 return"]
    if way is Way.OUT:
        return [
            "meta protocol arp return",
            # An app that played the router would lead the others' packets to itself.
            f"{icmpv6} {{ nd-router-advert, nd-redirect }} drop",
            f"{icmpv6} {{ nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert }} return",
            f"{icmpv6} {{ mld-listener-report, mld2-listener-report }} return",
            "udp sport 68 udp dport 67 return",
            "udp sport 546 udp dport 547 return",
            f"meta l4proto {{ tcp, udp }} th dport 53 goto open_{way.value}_{link}",
            *fragments,
        ]
    return [
        "meta protocol arp return",
        f"{icmpv6} {{ nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert, mld-listener-query }} return",
        f"{icmp} {{ destination-unreachable, time-exceeded, parameter-problem }} return",
        f"{icmpv6} {{ destination-unreachable, packet-too-big, time-exceeded, parameter-problem }} return",
        "udp sport 67 udp dport 68 return",
        "udp sport 547 udp dport 546 return",
        *fragments,
    ]


def _render_known(link: str, way: Way, then: str) -> list[str]:
    """Packets of open connections renew them and go on with ``then``; one that is being closed is not kept longer."""
    statements = []
    for number, family, _ in FAMILIES:
        flow, pair = render_key(family, way), render_pair(family, way)
        flows, peers, closing = (f"@{kind}{number}_{link}" for kind in ("flows", "peers", "closing"))
        statements += [
            f"{flow} {flows} tcp flags & (fin | rst) != 0 update {closing} {{ {flow} }}",
            f"{flow} {closing} update {flows} {{ {flow} timeout {CLOSING_TIMEOUT} }} {then}",
            f"{flow} {flows} meta l4proto tcp update {flows} {{ {flow} timeout {STREAM_TIMEOUT} }} {then}",
            f"{flow} {flows} update {flows} {{ {flow} timeout {OTHER_TIMEOUT} }} {then}",
            # A ping may be answered; being answered is no leave to ping back.
            f"{pair} {peers} {_REPLIES[family]} update {peers} {{ {pair} timeout {OTHER_TIMEOUT} }} {then}",
            f"{pair} {peers} meta l4proto != {{ icmp, ipv6-icmp }} update {peers} {{ {pair} timeout {OTHER_TIMEOUT} }} {then}",
        ]
    return statements


def _render_opening(link: str, way: Way, then: str, *, is_known: bool = False) -> list[str]:
    """Remember the connection of a packet that a rule allows, which goes on with ``then``; or only if it is remembered already."""
    statements = []
    for number, family, _ in FAMILIES:
        flow, pair = render_key(family, way), render_pair(family, way)
        flows, peers = f"@flows{number}_{link}", f"@peers{number}_{link}"
        known_flow, known_pair = (f"{flow} {flows} ", f"{pair} {peers} ") if is_known else ("", "")
        statements += [
            f"{known_flow}meta l4proto tcp update {flows} {{ {flow} timeout {STREAM_TIMEOUT} }} {then}",
            f"{known_flow}meta l4proto {WITH_PORTS} update {flows} {{ {flow} timeout {OTHER_TIMEOUT} }} {then}",
            f"{known_pair}meta l4proto != {WITH_PORTS} update {peers} {{ {pair} timeout {OTHER_TIMEOUT} }} {then}",
        ]
    return statements
