"""Statements of the firewall table by which connections stay with their uplink, and those for apps that are gateways. Pure.

A connection gets its uplink's mark with its first packet, be it from an app or to a port of the node; its later packets from the app
are routed by that mark. So a change of uplinks moves new connections only, and answers leave by the way the question came.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from eaves.node.networks.model import Layout, WantedBridge, WantedVif
from eaves.node.networks.routing import DEFAULT, MARK_MASK

_KEPT_BITS = 0xFFFFFFFF ^ MARK_MASK


def render_marks(layout: Layout) -> dict[str, list[str]]:
    """The chain that gives packets the mark of their connection; none where no network names ports."""
    bridges = [bridge.link for bridge in layout.bridges if bridge.uplinks]
    if not layout.marks or not bridges:
        return {}
    return {
        "to_uplink": [
            "type filter hook prerouting priority mangle; policy accept;",
            f"iifname {_render_set(bridges)} ct mark and {MARK_MASK:#x} != 0 meta mark set ct mark and {MARK_MASK:#x}",
        ]
    }


def render_marking(layout: Layout) -> list[str]:
    """Statements of the forwarding chain that mark new connections."""
    bridges = [bridge.link for bridge in layout.bridges if bridge.uplinks]
    if not bridges:
        return []
    ours, statements = _render_set(bridges), []
    for interface, mark in layout.marks:
        setting = f"ct state new ct mark set ct mark and {_KEPT_BITS:#x} xor {mark:#x}"
        statements.append(f'iifname {ours} oifname "{interface}" {setting}')
        statements.append(f'iifname "{interface}" oifname {ours} {setting}')
    return statements


def render_sources(bridge: WantedBridge, vifs: Iterable[WantedVif]) -> str:
    """What packets from the bridge may name as their source, as a set; empty = anything."""
    subnets = [bridge.subnet, "0.0.0.0/32"]
    subnets += [subnet for vif in vifs if vif.network_id == bridge.network_id for subnet in vif.gateway_for]
    return "" if DEFAULT in subnets else _render_subnets(subnets)


def render_own_sources(vif: WantedVif) -> str:
    """The same for one interface."""
    if DEFAULT in vif.gateway_for:
        return ""
    return _render_subnets([vif.address, "0.0.0.0/32", *vif.gateway_for])


def render_gateway_senders(vifs: Iterable[WantedVif]) -> list[str]:
    """A gateway's packets bear addresses of others, so it is told by its hardware address."""
    return [f"ether saddr {vif.mac} goto from_{vif.link}" for vif in vifs if vif.gateway_for]


def render_gateway_receivers(vifs: Iterable[WantedVif]) -> list[str]:
    return [f"rt ip nexthop {vif.address} goto to_{vif.link}" for vif in vifs if vif.gateway_for]


def _render_subnets(subnets: Iterable[str]) -> str:
    merged = ipaddress.collapse_addresses(ipaddress.IPv4Network(subnet) for subnet in subnets)
    return f"{{ {', '.join(str(subnet).removesuffix('/32') for subnet in sorted(merged))} }}"


def _render_set(names: Iterable[str]) -> str:
    return "{ " + ", ".join(f'"{name}"' for name in names) + " }"
