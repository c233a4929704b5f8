"""Texts for one network's dnsmasq, and the resolver files that its apps see. Pure.

``dnsmasq.conf`` changes only with the network itself (then dnsmasq is started anew); names and leases are in files of their own
that dnsmasq reads again on SIGHUP, so an app that comes or goes interrupts no one's name look-ups.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from eaves.node.networks import ruleset
from eaves.node.networks.model import Layout, WantedBridge, WantedNetns

_LEASE_S = 3600
"""Guests ask again after half of it, and learn then what changed."""

_GATEWAY_TAG = "gateway"
"""Guests that others are routed by know their own ways."""


def render_dnsmasq_conf(bridge: WantedBridge, folder: Path, table: str, hosts: Iterable[str]) -> str:
    """``hosts``: host names of access rules, whose addresses dnsmasq puts into the table's sets as apps look them up."""
    lines = [
        f"interface={bridge.link}",
        f"listen-address={bridge.gateway}",
        "except-interface=lo",
        "bind-interfaces",
        "no-hosts",
        "no-ping",
        "domain-needed",
        "bogus-priv",
        "local-ttl=5",
        "cache-size=1000",
        f"addn-hosts={folder / 'hosts'}",
        f"dhcp-hostsfile={folder / 'leases.conf'}",
        f"dhcp-leasefile={folder / 'leases'}",
        f"dhcp-range={bridge.gateway},static,{_LEASE_S}",
        # Names come from the config alone: a guest must not call itself as its neighbour does.
        "dhcp-ignore-names",
        f"dhcp-optsfile={folder / 'options.conf'}",
        f"pid-file={folder / 'pid'}",
    ]
    if bridge.domain:
        lines += [f"domain={bridge.domain}", "expand-hosts", f"local=/{bridge.domain}/"]
    if bridge.dns_servers or bridge.air_gapped:
        lines += ["no-resolv", *(f"server={server}" for server in _list_servers(bridge))]
    lines += [f"nftset=/{host}/4#inet#{table}#{ruleset.name_host_set(host)}" for host in sorted(hosts)]
    return "\n".join(lines) + "\n"


def _list_servers(bridge: WantedBridge) -> list[str]:
    """The network's own servers, asked by its uplink and, for those that live elsewhere, by whatever way the host has."""
    if bridge.air_gapped:
        return []
    by_uplink = [f"{server}@{bridge.uplink}" for server in bridge.dns_servers if bridge.uplink]
    return [*by_uplink, *bridge.dns_servers]


def render_options(bridge: WantedBridge) -> str:
    """What DHCP tells guests besides their address. Who takes the routes of option 121 takes no other (RFC 3442)."""
    lines = [f"option:router,{bridge.gateway}", f"option:mtu,{bridge.mtu}"]
    if bridge.ntp_servers:
        lines.append(f"option:ntp-server,{','.join(bridge.ntp_servers)}")
    if bridge.guest_routes:
        routes = [*bridge.guest_routes, ("0.0.0.0/0", bridge.gateway)]
        text = ",".join(f"{destination},{gateway}" for destination, gateway in routes)
        lines.append(f"tag:!{_GATEWAY_TAG},option:classless-static-route,{text}")
    return "".join(f"{line}\n" for line in lines)


def render_hosts(bridge: WantedBridge, layout: Layout) -> str:
    """Names that dnsmasq answers on this network: its apps and the static entries of the config."""
    lines = [
        f"{vif.address} {' '.join(netns.names)}"
        for netns in layout.netns
        for vif in netns.vifs
        if vif.network_id == bridge.network_id and netns.names
    ]
    lines += [f"{address} {name}" for name, addresses in bridge.static_hosts for address in addresses]
    return "".join(f"{line}\n" for line in lines)


def render_leases(bridge: WantedBridge, layout: Layout) -> str:
    """Which MAC gets which address and host name from DHCP."""
    return "".join(
        f"{vif.mac},{f'set:{_GATEWAY_TAG},' if vif.gateway_for else ''}{vif.address},{netns.hostname}\n"
        for netns in layout.netns
        for vif in netns.vifs
        if vif.network_id == bridge.network_id
    )


def render_resolv_conf(netns: WantedNetns, layout: Layout) -> str:
    """``/etc/resolv.conf`` of an app. The first network's dnsmasq is asked; see :func:`render_app_hosts` for the others."""
    bridges = {bridge.network_id: bridge for bridge in layout.bridges}
    mine = [bridges[vif.network_id] for vif in netns.vifs if not vif.is_switched]
    search = " ".join(dict.fromkeys(bridge.domain for bridge in mine if bridge.domain))
    lines = [f"nameserver {gateway}" for gateway in dict.fromkeys(bridge.gateway for bridge in mine[:1])]
    return "".join(f"{line}\n" for line in ([f"search {search}"] if search else []) + lines)


def render_app_hosts(netns: WantedNetns, layout: Layout) -> str:
    """``/etc/hosts`` of an app: itself, and its peers on networks after the first, whose dnsmasq its resolver does not ask."""
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"]
    local = [vif for vif in netns.vifs if not vif.is_switched]
    own = next((vif.address for vif in local), "127.0.1.1")
    lines.append(f"{own} {netns.hostname}")
    others = {vif.network_id for vif in local[1:]} - {vif.network_id for vif in local[:1]}
    peers = [peer for peer in layout.netns if peer.app_id != netns.app_id and peer.names]
    near = {vif.network_id for vif in local[:1]}
    for peer in peers:
        if any(vif.network_id in near for vif in peer.vifs):
            continue
        lines += [f"{vif.address} {' '.join(peer.names)}" for vif in peer.vifs if vif.network_id in others]
    return "".join(f"{line}\n" for line in lines)
