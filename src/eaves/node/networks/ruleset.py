"""The node's nftables table as text for ``nft -f -``. Pure.

One table of family inet holds everything: address translation, port maps, access rules, guards. It is changed in one
transaction that empties and fills again the chains whose text differs, so that an edit of one app's rules touches its chains
alone; sets stay, because dnsmasq fills them with the addresses of hosts that rules name. Connections that are open stay open:
the kernel's connection tracking is not touched here (see ``recheck`` for those that an edit forbids).

What a packet meets, in order:

``guard``      before routing: nothing from an app may claim another network's address or aim at the host's loopback
``to_port``    a node port becomes an app's address (also for the host itself and from app to app)
``forwarding`` between an app and anything else: the sender's rules, then the receiver's
``incoming``   from an app to the host: DNS and DHCP, else the app's rules
``outgoing``   from the host to an app: the app's rules
``to_outside`` apps leave with the node's address
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable, Mapping, Sequence

from eaves.node.desired.model import AclAction
from eaves.node.networks import acls, uplink_rules
from eaves.node.networks.model import Layout, PortMap, WantedBridge, WantedVif

METADATA_ADDRESS = "169.254.169.254"
"""Where apps look for the metadata server (``eaves.node.metadata``), as in every cloud."""
HOST_TIMEOUT_S = 3600
"""How long an address counts as a host's after DNS last said so; ``hostnames`` renews those that it still says."""


def name_host_set(host: str) -> str:
    """Name of the set that holds the addresses of ``host``."""
    return "names_" + hashlib.sha256(host.lower().encode()).hexdigest()[:16]


def want_hosts(layout: Layout) -> dict[str, set[str]]:
    """Network id → host names that rules of its apps speak of and that only DNS outside of the node knows."""
    fixed = want_fixed_hosts(layout)
    hosts: dict[str, set[str]] = {}
    for vif in layout.vifs:
        named = {rule.host.lower() for rule in vif.acls if rule.host}
        hosts.setdefault(vif.network_id, set()).update(named - fixed.get(vif.network_id, {}).keys())
    return hosts


def want_fixed_hosts(layout: Layout) -> dict[str, dict[str, tuple[str, ...]]]:
    """Network id → name → addresses, for the names that the network's dnsmasq answers by itself: apps and static entries."""
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    for bridge in layout.bridges:
        names = found.setdefault(bridge.network_id, {})
        for netns in layout.netns:
            addresses = tuple(vif.address for vif in netns.vifs if vif.network_id == bridge.network_id)
            own = [*netns.names, *(f"{name}.{bridge.domain}" for name in netns.names if bridge.domain)]
            names |= {name: (*names.get(name, ()), *addresses) for name in own if addresses}
        for name, addresses in bridge.static_hosts:
            names[name] = (*names.get(name, ()), *addresses)
    return found


def render_ruleset(
    layout: Layout,
    table: str,
    chains: Iterable[str] = (),
    sets: Iterable[str] = (),
    former: Layout | None = None,
    log_group: int = 0,
) -> str:
    """The transaction that makes the table as wanted. ``chains`` and ``sets`` are those that the table has now.

    ``log_group``: where drops on networks with flow logs are told.
    ``former``: the layout that the table is known to show; its chains that need no change are left alone.
    """
    wanted_sets = sorted({name_host_set(host) for hosts in want_hosts(layout).values() for host in hosts})
    wanted = _render_chains(layout, log_group)
    known = _render_chains(former, log_group) if former is not None else {}
    same = {name for name in chains if name in wanted and known.get(name) == wanted[name]}
    lines = [f"add table inet {table}"]
    lines += [f"flush chain inet {table} {name}" for name in chains if name not in same]
    lines += [f"delete chain inet {table} {name}" for name in chains if name not in wanted]
    lines += [f"delete set inet {table} {name}" for name in sets if name not in wanted_sets]
    lines += [f"table inet {table} {{"]
    for name in wanted_sets:
        timeout = f"timeout {HOST_TIMEOUT_S}s"
        lines += [
            f"  set {name} {{",
            "    type ipv4_addr",
            "    flags timeout",
            f"    {timeout}",
            "    size 4096",
            "  }",
        ]
    for name, statements in wanted.items():
        if name not in same:
            lines += [f"  chain {name} {{", *(f"    {statement}" for statement in statements), "  }"]
    return "\n".join([*lines, "}"]) + "\n"


def _render_chains(layout: Layout, log_group: int) -> dict[str, list[str]]:
    if not layout.bridges:
        return {}
    # Chains that others jump to come first: nft resolves names in order.
    chains: dict[str, list[str]] = {}
    fixed = want_fixed_hosts(layout)
    logged = {bridge.network_id for bridge in layout.bridges if bridge.flow_log}
    for vif in layout.vifs:
        chains |= _render_vif(vif, fixed.get(vif.network_id, {}), log_group if vif.network_id in logged else 0)
    slow = {name for name in chains if name.startswith("rate_")}
    chains["limits"] = [
        f"ip {side} {vif.address} jump {name}"
        for vif in layout.vifs
        for side, name in (("saddr", f"rate_from_{vif.link}"), ("daddr", f"rate_to_{vif.link}"))
        if name in slow
    ]
    ours = _render_list(bridge.link for bridge in layout.bridges)
    chains["senders"] = _render_dispatch(layout.vifs, "saddr", "from")
    chains["receivers"] = _render_dispatch(layout.vifs, "daddr", "to")
    chains |= _render_filters(layout, ours, log_group)
    chains |= _render_translations(layout, ours)
    chains |= uplink_rules.render_marks(layout)
    for vif in layout.vifs:
        chains[f"spoof_{vif.link}"] = [
            f'type filter hook ingress device "{vif.link}" priority filter; policy accept;',
            f"ether saddr != {vif.mac} drop",
            *(f"ip saddr != {sources} drop" for sources in [uplink_rules.render_own_sources(vif)] if sources),
            # The sender's address in an ARP packet; 0 is a probe.
            f"ether type arp @nh,112,32 != 0 @nh,112,32 != {int(ipaddress.IPv4Address(vif.address)):#x} drop",
            "ether type ip6 drop",
        ]
    return chains


def _render_vif(vif: WantedVif, fixed: Mapping[str, tuple[str, ...]], log_group: int) -> dict[str, list[str]]:
    """The chains of one interface's rules; those of rates only where a rule limits one. ``log_group`` 0 = drops are not told."""
    rules = [(rule, _render_hosts(rule.host.lower(), fixed)) for rule in vif.acls]
    chains = {}
    for name, direction, render in (
        (f"from_{vif.link}", "out", acls.render_outgoing),
        (f"to_{vif.link}", "in", acls.render_incoming),
    ):
        chains[name] = [
            line
            for rule, hosts in rules
            for statement in render(rule, hosts)
            for line in acls.render_logged(statement, f"{vif.link} {direction} {rule.id}", log_group)
        ]
        chains[name] += acls.render_logged("drop", f"{vif.link} {direction} 0", log_group)
    last = max((index for index, (rule, _) in enumerate(rules) if rule.action is AclAction.LIMIT), default=-1)
    limited = rules[: last + 1]
    rates = {
        f"rate_from_{vif.link}": [s for rule, hosts in limited for s in acls.render_outgoing_rate(rule, hosts)],
        f"rate_to_{vif.link}": [s for rule, hosts in limited for s in acls.render_incoming_rate(rule, hosts)],
    }
    return chains | {name: statements for name, statements in rates.items() if statements}


def _render_hosts(host: str, fixed: Mapping[str, tuple[str, ...]]) -> str:
    """What an address is matched with: the addresses themselves where the node knows them, else the set that DNS fills."""
    if addresses := fixed.get(host):
        return f"{{ {', '.join(sorted(set(addresses)))} }}"
    return f"@{name_host_set(host)}" if host else ""


def _render_filters(layout: Layout, ours: str, log_group: int) -> dict[str, list[str]]:
    return {
        "guard": [
            "type filter hook prerouting priority raw; policy accept;",
            f"iifname {ours} ip daddr 127.0.0.0/8 drop",
            f"iifname {ours} meta nfproto ipv6 drop",
            *(
                f'iifname "{bridge.link}" ip saddr != {sources} drop'
                for bridge in layout.bridges
                if (sources := uplink_rules.render_sources(bridge, layout.vifs))
            ),
        ],
        "forwarding": [
            "type filter hook forward priority filter; policy accept;",
            f"iifname != {ours} oifname != {ours} accept",
            # Link-local addresses are nobody's beyond the node: that of a cloud's metadata, with its secrets, above all.
            f"iifname {ours} ip daddr 169.254.0.0/16 drop",
            *uplink_rules.render_marking(layout),
            "jump limits",
            "ct state established,related accept",
            "ct state invalid drop",
            *_render_ways_out(layout.bridges, ours),
            f"iifname {ours} jump senders",
            f"oifname {ours} jump receivers",
        ],
        "incoming": [
            "type filter hook input priority filter; policy accept;",
            f"iifname != {ours} accept",
            "ct state established,related accept",
            "udp sport 68 udp dport 67 accept",
            *(
                f'iifname "{bridge.link}" ct original ip daddr {METADATA_ADDRESS} tcp dport {bridge.metadata_port} accept'
                for bridge in layout.bridges
                if bridge.metadata_port
            ),
            *(
                f'iifname "{bridge.link}" ip daddr {bridge.gateway} meta l4proto {{ tcp, udp }} th dport 53 accept'
                for bridge in layout.bridges
            ),
            "jump senders",
        ],
        "outgoing": [
            "type filter hook output priority filter; policy accept;",
            f"oifname != {ours} accept",
            *(
                f'oifname "{bridge.link}" ip saddr {bridge.gateway} udp sport 53 limit rate 50/second burst 100 packets '
                f'log prefix "dns" group {log_group}'
                for bridge in layout.bridges
                if bridge.flow_log and log_group
            ),
            "icmp type redirect drop",
            "ct state established,related accept",
            "udp sport 67 udp dport 68 accept",
            "jump receivers",
        ],
    }


def _render_ways_out(bridges: Sequence[WantedBridge], ours: str) -> list[str]:
    """Networks are apart from each other but for node ports; an air-gapped one is apart from everything."""
    statements = []
    for bridge in bridges:
        link = f'"{bridge.link}"'
        if bridge.air_gapped:
            statements += [f"iifname {link} oifname != {link} drop", f"oifname {link} iifname != {link} drop"]
            continue
        if bridge.uplinks:
            statements.append(f"iifname {link} oifname != {_render_list(bridge.uplinks, ours)} drop")
        if others := [other.link for other in bridges if other.link != bridge.link]:
            statements.append(f"iifname {link} oifname {_render_list(others)} ct status ! dnat drop")
    return statements


def _render_dispatch(vifs: Sequence[WantedVif], side: str, prefix: str) -> list[str]:
    """Go on in the chain of the app at this address; its ``return`` leads back to who jumped here. No app = nothing allowed.

    A verdict map would be shorter, but one made by a newer nft makes that of Debian 12 crash, also when it lists other tables.
    """
    gateways = (
        uplink_rules.render_gateway_senders(vifs) if side == "saddr" else uplink_rules.render_gateway_receivers(vifs)
    )
    return [*gateways, *(f"ip {side} {vif.address} goto {prefix}_{vif.link}" for vif in vifs), "drop"]


def _render_translations(layout: Layout, ours: str) -> dict[str, list[str]]:
    ports = [_render_port_map(port_map) for port_map in layout.port_maps]
    local = [_render_port_map(port_map) for port_map in layout.port_maps if not port_map.uplink]
    masquerade = ["type nat hook postrouting priority srcnat; policy accept;"]
    for bridge in layout.bridges:
        masquerade.append(f'oifname "{bridge.link}" ip saddr 127.0.0.0/8 masquerade')
        # An app must answer another one that came by a node port through the node, where the translation is undone.
        masquerade.append(f'oifname "{bridge.link}" ip saddr {bridge.subnet} ct status dnat masquerade')
        if not bridge.air_gapped:
            masquerade.append(f"oifname != {ours} ip saddr {bridge.subnet} masquerade")
    return {
        "to_port": [
            "type nat hook prerouting priority dstnat; policy accept;",
            *(
                f'iifname "{bridge.link}" ip daddr {METADATA_ADDRESS} tcp dport 80 dnat ip to '
                f"{bridge.gateway}:{bridge.metadata_port}"
                for bridge in layout.bridges
                if bridge.metadata_port
            ),
            *ports,
        ],
        "to_port_local": ["type nat hook output priority -100; policy accept;", *local],
        "to_outside": masquerade,
    }


def _render_port_map(port_map: PortMap) -> str:
    uplink = f'iifname "{port_map.uplink}" ' if port_map.uplink else ""
    source = f"ip saddr {port_map.source} " if port_map.source else ""
    target = f"{port_map.address}:{port_map.app_port}"
    match = f"fib daddr type local {port_map.protocol} dport {port_map.node_port}"
    return f"{uplink}{source}{match} dnat ip to {target}"


def _render_list(names: Iterable[str], more: str = "") -> str:
    items = ", ".join(f'"{name}"' for name in names)
    return f"{{ {items}, {more[2:-2]} }}" if more else f"{{ {items} }}"
