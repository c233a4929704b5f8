"""Ports → connection profiles of NetworkManager. Pure.

Keys and values are those of the NetworkManager reference (nm-settings-dbus). A port's cost becomes the metric of its routes, so the
kernel itself prefers the cheaper one.
"""

from __future__ import annotations

import hashlib
import hmac
import uuid
from collections.abc import Iterator, Mapping
from ipaddress import ip_address, ip_interface
from types import MappingProxyType

import msgspec

from eaves.node.desired.port_model import (
    Addressing,
    BondMode,
    BondSetup,
    BridgeSetup,
    Families,
    IpSetup,
    Medium,
    PortSetup,
    PortsSetup,
    VlanSetup,
    WifiNetwork,
    WifiScheme,
)
from eaves.node.ports.model import Profile, Value

PREFIX = "eaves-"
"""All names of profiles begin so."""
OWNER_KEY = "eaves.instance"
"""In the ``user`` section: which instance of Eaves made the profile."""
_METRIC_BASE, _METRIC_STEP = 100, 10
_BRIDGE_POSITIONS = 5
"""A bridge's routes come after those of its cable: where both have the address for a moment, on the way back from a trial whose
daemon died, the cable counts."""
_DHCP_TIMEOUT_S = 45
_FOREVER = 0
"""Of ``autoconnect-retries``: no limit."""

_Section = dict[str, Value]


class _Draft:
    """The profiles of one config, in the order to add them: what others stand on first."""

    def __init__(self, setup: PortsSetup, instance: str, key: bytes) -> None:
        self._setup = setup
        self._instance = instance
        self._key = key
        self.profiles: list[Profile] = []

    def add(
        self,
        name: str,
        kind: str,
        interface: str,
        sections: Mapping[str, Mapping[str, Value]],
        *,
        priority: int = 0,
        above: Mapping[str, Value] | None = None,
        is_software: bool = False,
        label: str = "",
    ) -> None:
        connection: _Section = {
            "id": f"{PREFIX}{name}",
            "type": kind,
            "autoconnect": True,
            "autoconnect-priority": priority,
            "autoconnect-retries": _FOREVER,
            **(above or {}),
        }
        if interface:
            connection["interface-name"] = interface
        settings = {"connection": connection, **sections, "user": {"data": {OWNER_KEY: self._instance}}}
        content = msgspec.json.encode(settings, order="deterministic")
        # Keyed: UUIDs are public on the machine, and a password must not be guessable from one.
        digest = hmac.new(self._key, content, hashlib.sha256).digest()
        own = str(uuid.UUID(bytes=digest[:16], version=4))
        connection["uuid"] = own
        self.profiles.append(Profile(own, f"{PREFIX}{name}", interface, settings, is_software=is_software, label=label))


def render_profiles(
    setup: PortsSetup, instance: str, key: bytes, macs: Mapping[str, str] = MappingProxyType({})
) -> tuple[Profile, ...]:
    """The profiles of ``setup``; ``key`` is a secret of this node that names depend on, ``macs`` the hardware address by interface."""
    draft = _Draft(setup, instance, key)
    ports = {port.interface: port for port in setup.ports}
    metrics = dict(_list_metrics(setup))
    used = _find_used(setup)
    for bond in setup.bonds:
        if bond.interface in used:
            _add_bond(draft, bond, ports.get(bond.interface), metrics)
    for bridge in setup.bridges:
        mac = macs.get(bridge.cable) or macs.get(bridge.interface, "")
        _add_bridge(draft, bridge, ports[bridge.interface], metrics, mac)
    for vlan in setup.vlans:
        if vlan.interface in used:
            _add_vlan(draft, vlan, ports.get(vlan.interface), metrics)
    layered = {bond.interface for bond in setup.bonds} | {vlan.interface for vlan in setup.vlans}
    layered |= {bridge.interface for bridge in setup.bridges}
    members = {member for bond in setup.bonds if bond.interface in used for member in bond.members}
    for interface in sorted(used - layered - members):
        port = ports.get(interface)
        if port is None:
            # A cable that bears VLANs only still has to be up.
            draft.add(interface, "802-3-ethernet", interface, {"802-3-ethernet": {}, **_want_no_ip()})
        else:
            _add_port(draft, port, metrics[port.label])
    return tuple(draft.profiles)


def want_metric(cost: int, position: int) -> int:
    """Of the routes of a port; ``position`` among ports of equal cost, whose metrics must differ too."""
    return _METRIC_BASE + cost * _METRIC_STEP + min(position, _METRIC_STEP - 1)


def _list_metrics(setup: PortsSetup) -> Iterator[tuple[str, int]]:
    counts: dict[int, int] = {}
    bridged = {bridge.interface for bridge in setup.bridges}
    for port in sorted(setup.ports, key=lambda port: (port.cost, port.label)):
        position = counts.get(port.cost, 0)
        counts[port.cost] = position + 1
        yield port.label, want_metric(port.cost, position + _BRIDGE_POSITIONS * (port.interface in bridged))


def _find_used(setup: PortsSetup) -> set[str]:
    """Interfaces that a port is, or stands on."""
    used = {port.interface for port in setup.ports}
    used |= {vlan.parent for vlan in setup.vlans if vlan.interface in used}
    return used


def _add_bond(draft: _Draft, bond: BondSetup, port: PortSetup | None, metrics: Mapping[str, int]) -> None:
    ip = _want_ip(port.ip, metrics[port.label]) if port is not None else _want_no_ip()
    name = port.label if port is not None else bond.interface
    sections: dict[str, Mapping[str, Value]] = {
        "bond": {"interface-name": bond.interface, "options": _want_options(bond)},
        **_want_mtu(port),
        **ip,
    }
    label = port.label if port is not None else ""
    draft.add(name, "bond", bond.interface, sections, is_software=True, label=label)
    for member in bond.members:
        above: _Section = {"master": bond.interface, "slave-type": "bond"}
        draft.add(f"{name}-{member}", "802-3-ethernet", member, {"802-3-ethernet": {}}, above=above)


def _want_options(bond: BondSetup) -> dict[str, str]:
    options = {"mode": bond.mode.value}
    if bond.arp_interval_ms:
        options |= {"arp_interval": str(bond.arp_interval_ms), "arp_ip_target": ",".join(bond.arp_targets)}
    else:
        options["miimon"] = str(bond.mii_interval_ms)
        options |= {"updelay": str(bond.up_delay_ms)} if bond.up_delay_ms else {}
        options |= {"downdelay": str(bond.down_delay_ms)} if bond.down_delay_ms else {}
    if bond.mode is BondMode.ACTIVE_BACKUP:
        options["primary"] = bond.members[0]
    if bond.mode is BondMode.LACP:
        options["lacp_rate"] = "fast" if bond.fast_lacp else "slow"
    return options


def _add_bridge(draft: _Draft, bridge: BridgeSetup, port: PortSetup, metrics: Mapping[str, int], mac: str) -> None:
    """``mac``: the cable's. Else the bridge would take that of an app, and DHCP would give it another address."""
    ethernet = {**_want_mtu(port, always=True)["802-3-ethernet"]}
    sections: dict[str, Mapping[str, Value]] = {
        # An app that claims to ask for groups must not decide which multicast the node hears, so nothing is snooped.
        "bridge": {"interface-name": bridge.interface, "stp": False, "multicast-snooping": False},
        "802-3-ethernet": ethernet | ({"assigned-mac-address": mac} if mac else {}),
        **_want_ip(port.ip, metrics[port.label]),
    }
    draft.add(port.label, "bridge", bridge.interface, sections, is_software=True, label=port.label)
    above: _Section = {"master": bridge.interface, "slave-type": "bridge"}
    draft.add(f"{port.label}-{bridge.cable}", "802-3-ethernet", bridge.cable, {"802-3-ethernet": ethernet}, above=above)


def _add_vlan(draft: _Draft, vlan: VlanSetup, port: PortSetup | None, metrics: Mapping[str, int]) -> None:
    assert port is not None, "a VLAN is used only by a port"
    sections: dict[str, Mapping[str, Value]] = {
        "vlan": {"interface-name": vlan.interface, "parent": vlan.parent, "id": vlan.vlan_id},
        **_want_mtu(port),
        **_want_ip(port.ip, metrics[port.label]),
    }
    draft.add(port.label, "vlan", vlan.interface, sections, is_software=True, label=port.label)


def _add_port(draft: _Draft, port: PortSetup, metric: int) -> None:
    ip = _want_ip(port.ip, metric)
    match port.medium:
        case Medium.WIRED:
            sections = {**_want_mtu(port, always=True), **ip}
            draft.add(port.label, "802-3-ethernet", port.interface, sections, label=port.label)
        case Medium.WIFI:
            for number, network in enumerate(port.wifi):
                draft.add(
                    f"{port.label}-{number}",
                    "802-11-wireless",
                    port.interface,
                    {**_want_wifi(network, port.mtu), **ip},
                    priority=network.priority,
                    label=port.label,
                )
        case Medium.CELLULAR:
            families = port.cellular.families
            ip = _want_ip(msgspec.structs.replace(port.ip, families=families), metric)
            # The device is the modem's control port, whose name is not that of the network interface.
            draft.add(port.label, "gsm", "", {"gsm": _want_gsm(port), **ip}, label=port.label)


def _want_mtu(port: PortSetup | None, *, always: bool = False) -> dict[str, _Section]:
    if port is not None and port.mtu:
        return {"802-3-ethernet": {"mtu": port.mtu}}
    return {"802-3-ethernet": {}} if always else {}


def _want_wifi(network: WifiNetwork, mtu: int) -> dict[str, _Section]:
    radio: _Section = {"ssid": network.ssid.encode(), "mode": "infrastructure"}
    if mtu:
        radio["mtu"] = mtu
    match network.scheme:
        case WifiScheme.OPEN:
            return {"802-11-wireless": radio}
        case WifiScheme.WPA_PSK:
            security: _Section = {"key-mgmt": "wpa-psk", "psk": network.password.reveal()}
            return {"802-11-wireless": radio, "802-11-wireless-security": security}
        case WifiScheme.WPA_EAP:
            login: _Section = {
                "eap": ["peap"],
                "phase2-auth": "mschapv2",
                "identity": network.identity,
                "password": network.password.reveal(),
            }
            if network.ca_pem:
                login["ca-cert"] = network.ca_pem.encode()
            if network.server_name:
                login["domain-suffix-match"] = network.server_name
            return {"802-11-wireless": radio, "802-11-wireless-security": {"key-mgmt": "wpa-eap"}, "802-1x": login}


def _want_gsm(port: PortSetup) -> _Section:
    cellular = port.cellular
    section: _Section = {"home-only": cellular.forbid_roaming}
    if cellular.apn:
        section["apn"] = cellular.apn
    else:
        section["auto-config"] = True
    if cellular.username:
        section |= {"username": cellular.username, "password": cellular.password.reveal()}
    if cellular.attach_apn:
        section |= {"initial-eps-bearer-configure": True, "initial-eps-bearer-apn": cellular.attach_apn}
    if port.mtu:
        section["mtu"] = port.mtu
    return section


def _want_no_ip() -> dict[str, _Section]:
    return {"ipv4": {"method": "disabled"}, "ipv6": {"method": "disabled"}}


def _want_ip(ip: IpSetup, metric: int) -> dict[str, _Section]:
    if ip.addressing is Addressing.NONE:
        return _want_no_ip()
    return {"ipv4": _want_family(ip, 4, metric), "ipv6": _want_family(ip, 6, metric)}


_REFUSED = {4: (Families.IPV6_ONLY,), 6: (Families.IPV4_ONLY,)}
_REQUIRED = {4: (Families.IPV4, Families.IPV4_ONLY), 6: (Families.IPV6, Families.IPV6_ONLY)}
"""A port is not up without these; of both, one is enough."""


def _want_family(ip: IpSetup, version: int, metric: int) -> _Section:
    own = ip_interface(ip.address) if ip.address else None
    is_elsewhere = own is not None and own.version != version
    if ip.families in _REFUSED[version] or (is_elsewhere and version == 4 and ip.families is not Families.BOTH):
        return {"method": "disabled"}
    section: _Section = {"route-metric": metric, "may-fail": True, **_want_dns(ip, version)}
    if is_elsewhere or own is None:
        section["method"] = "auto"
        section["may-fail"] = is_elsewhere or ip.families not in _REQUIRED[version]
        if version == 4:
            section["dhcp-timeout"] = _DHCP_TIMEOUT_S
        if ip.ignores_gateways:
            section["ignore-auto-routes"] = True
        return section
    addresses: list[dict[str, str | int]] = [{"address": str(own.ip), "prefix": own.network.prefixlen}]
    section |= {"method": "manual", "may-fail": False, "address-data": addresses}
    if ip.gateway and ip_address(ip.gateway).version == version:
        section["gateway"] = ip.gateway
    return section


def _want_dns(ip: IpSetup, version: int) -> _Section:
    section: _Section = {}
    servers = [server for server in ip.dns_servers if ip_address(server).version == version]
    if servers:
        section["dns-data"] = servers
    if ip.ignores_dns:
        section["ignore-auto-dns"] = True
    if ip.domain:
        section["dns-search"] = [ip.domain]
    return section
