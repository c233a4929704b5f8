"""Faults of the ports of an EdgeNode."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence, Set
from ipaddress import ip_address, ip_interface
from urllib.parse import urlsplit

from eaves.kinds import rules
from eaves.kinds.pem import check_certificates
from eaves.kinds.port_spec import (
    Bond,
    BondModeName,
    Uplink,
    UplinkFamily,
    UplinkProxy,
    UplinkWifi,
    Vlan,
    WifiSecurity,
)
from eaves.kinds.rules import forbidden, invalid, required
from eaves.kube.errors import FieldError

OWN_LABELS = frozenset({"uplink", "freeuplink", "all"})
"""Labels that each device gives to its ports by itself."""
_INTERFACE_BYTES = 15
_MTU_LEAST = 1280
_EXCEPTION = re.compile(r"[A-Za-z0-9.*:/_-]+")
_VERSION_OF = {UplinkFamily.IPV4_ONLY: 4, UplinkFamily.IPV6_ONLY: 6}
_INTERFACE = re.compile(r"[^\s/]+")


def check_ports(uplinks: Sequence[Uplink], vlans: Sequence[Vlan], bonds: Sequence[Bond]) -> Iterator[FieldError]:
    """Every fault of the ports, each with its path."""
    names = {uplink.name for uplink in uplinks}
    for index, uplink in enumerate(uplinks):
        yield from _check_uplink(f"spec.uplinks[{index}]", uplink)
        yield from _check_labels(f"spec.uplinks[{index}].labels", uplink, names)
    if uplinks and not any(uplink.management for uplink in uplinks):
        yield invalid(
            "spec.uplinks", len(uplinks), "at least one uplink must be for management, or the device is cut off"
        )
    yield from _check_layers(uplinks, vlans, bonds)
    named = [
        *((f"spec.uplinks[{i}].interface", _interface_of(uplink, vlans, bonds)) for i, uplink in enumerate(uplinks)),
        *_list_layer_interfaces(uplinks, vlans, bonds),
    ]
    yield from rules.check_no_repeats(named)


def _interface_of(uplink: Uplink, vlans: Sequence[Vlan], bonds: Sequence[Bond]) -> str:
    layers: list[Vlan | Bond] = [*vlans, *bonds]
    layer = next((layer for layer in layers if layer.name == uplink.name), None)
    return (layer.interface or layer.name) if layer is not None else (uplink.interface or uplink.name)


def _list_layer_interfaces(
    uplinks: Sequence[Uplink], vlans: Sequence[Vlan], bonds: Sequence[Bond]
) -> Iterator[tuple[str, str]]:
    """Of those that no uplink has told already."""
    told = {uplink.name for uplink in uplinks}
    kinds: list[tuple[str, Sequence[Vlan | Bond]]] = [("vlans", vlans), ("bonds", bonds)]
    for kind, layers in kinds:
        for index, layer in enumerate(layers):
            if layer.name not in told:
                yield f"spec.{kind}[{index}].interface", layer.interface or layer.name


def _check_uplink(path: str, uplink: Uplink) -> Iterator[FieldError]:
    yield from _check_interface(f"{path}.interface", uplink.interface or uplink.name)
    for address in uplink.addresses:
        yield from _check_address(f"{path}.addresses[0]", address, uplink.family)
        if not uplink.gateway:
            yield required(f"{path}.gateway", "a static address needs a gateway")
    if uplink.gateway:
        yield from _check_gateway(f"{path}.gateway", uplink)
    for number, server in enumerate(uplink.dns_servers):
        yield from rules.check_ip(f"{path}.dnsServers[{number}]", server)
    for number, server in enumerate(uplink.ntp_servers):
        yield from rules.check_host(f"{path}.ntpServers[{number}]", server)
    if uplink.domain:
        yield from rules.check_dns_subdomain(f"{path}.domain", uplink.domain.lower())
    if uplink.mtu and uplink.mtu < _MTU_LEAST:
        yield invalid(f"{path}.mtu", uplink.mtu, f"must be 0 or at least {_MTU_LEAST}")
    if uplink.proxy is not None:
        yield from _check_proxy(f"{path}.proxy", uplink.proxy)
    for number, network in enumerate(uplink.wifi):
        yield from _check_wifi(f"{path}.wifi[{number}]", network)
    if uplink.wifi and uplink.cellular is not None:
        yield forbidden(f"{path}.cellular", "a port is either a wireless card or a modem")


def _check_labels(path: str, uplink: Uplink, names: Set[str]) -> Iterator[FieldError]:
    """EVE does not set up a port with such a label at all (pillar, cmd/zedagent/parseconfig.go)."""
    for number, label in enumerate(uplink.labels):
        if label in OWN_LABELS:
            yield invalid(f"{path}[{number}]", label, "is given to ports by what they are; choose another")
        elif label in names:
            yield invalid(f"{path}[{number}]", label, "is the name of a port, which is a label already; choose another")


def _check_interface(path: str, name: str) -> Iterator[FieldError]:
    if len(name.encode()) > _INTERFACE_BYTES:
        yield invalid(path, name, "must be at most 15 bytes, as Linux has it")
    elif not _INTERFACE.fullmatch(name):
        yield invalid(path, name, "must have no spaces or slashes, as Linux has it")


def _check_address(path: str, value: str, family: UplinkFamily | None) -> Iterator[FieldError]:
    if ":" not in value:
        yield from rules.check_interface_address(path, value)
        version = 4
    else:
        version = 6
        try:
            ip_interface(value)
        except ValueError:
            yield invalid(path, value, "must be an address with prefix length, (e.g. 10.9.8.7/24 or 2001:db8::7/64)")
            return
        if "/" not in value:
            yield invalid(path, value, "needs its prefix length, (e.g. 2001:db8::7/64)")
    if family is not None and _VERSION_OF.get(family, version) != version:
        yield invalid(path, value, f"is not of the family {family}")


def _check_gateway(path: str, uplink: Uplink) -> Iterator[FieldError]:
    faults = list(rules.check_ip(path, uplink.gateway))
    yield from faults
    if faults or not uplink.addresses or "/" not in uplink.addresses[0]:
        return
    try:
        own = ip_interface(uplink.addresses[0])
    except ValueError:
        return
    gateway = ip_address(uplink.gateway)
    if gateway.version != own.version:
        yield invalid(path, uplink.gateway, "must be of the same family as the address")
    elif not gateway.is_link_local and gateway not in own.network:
        yield invalid(path, uplink.gateway, f"must be in {own.network}, or it cannot be reached")
    elif gateway == own.ip:
        yield invalid(path, uplink.gateway, "must not be the port's own address")


def _check_proxy(path: str, proxy: UplinkProxy) -> Iterator[FieldError]:
    for index, server in enumerate(proxy.servers):
        yield from rules.check_host(f"{path}.servers[{index}].host", server.host)
    yield from rules.check_no_repeats(
        (f"{path}.servers[{index}].protocol", server.protocol) for index, server in enumerate(proxy.servers)
    )
    for index, entry in enumerate(proxy.exceptions):
        if not _EXCEPTION.fullmatch(entry):
            yield invalid(f"{path}.exceptions[{index}]", entry, "must be a host, a .domain or a subnet")
    given = [
        name for name, value in (("servers", proxy.servers), ("pac", proxy.pac), ("pacUrl", proxy.pac_url)) if value
    ]
    given += ["discover"] if proxy.discover else []
    if len(given) > 1:
        yield forbidden(f"{path}.{given[1]}", f"only one of {' and '.join(given)} can count; leave out the others")
    if proxy.pac and "FindProxyForURL" not in proxy.pac:
        yield invalid(f"{path}.pac", proxy.pac[:64], "must define the function FindProxyForURL")
    if proxy.pac_url and (
        urlsplit(proxy.pac_url).scheme not in ("http", "https") or not urlsplit(proxy.pac_url).netloc
    ):
        yield invalid(f"{path}.pacUrl", proxy.pac_url, "must be an http or https URL")
    if proxy.ca_certificates:
        yield from check_certificates(f"{path}.caCertificates", proxy.ca_certificates, single=False)


def _check_wifi(path: str, network: UplinkWifi) -> Iterator[FieldError]:
    if len(network.ssid.encode()) > 32:
        yield invalid(f"{path}.ssid", network.ssid, "must be at most 32 bytes")
    if network.security is WifiSecurity.OPEN:
        if network.credentials_secret_ref is not None:
            yield forbidden(f"{path}.credentialsSecretRef", "an open network takes none")
    elif network.credentials_secret_ref is None:
        yield required(f"{path}.credentialsSecretRef", f"a network with {network.security} needs a password")
    if network.security is WifiSecurity.WPA_EAP:
        if network.ca_certificates:
            yield from check_certificates(f"{path}.caCertificates", network.ca_certificates, single=False)
        elif network.server_name:
            yield required(
                f"{path}.caCertificates", "a name counts only in a certificate that an authority vouches for"
            )
    elif network.ca_certificates or network.server_name:
        yield forbidden(f"{path}.caCertificates", "only a network with WPA-EAP shows a certificate")


def _check_layers(uplinks: Sequence[Uplink], vlans: Sequence[Vlan], bonds: Sequence[Bond]) -> Iterator[FieldError]:
    bond_names = {bond.name for bond in bonds}
    member_of: dict[str, str] = {}
    for index, bond in enumerate(bonds):
        path = f"spec.bonds[{index}]"
        yield from _check_interface(f"{path}.interface", bond.interface or bond.name)
        for number, port in enumerate(bond.ports):
            if port in bond_names or any(vlan.name == port for vlan in vlans):
                yield invalid(f"{path}.ports[{number}]", port, "must be a port of the box, not a bond or a VLAN")
            elif port in member_of:
                yield invalid(f"{path}.ports[{number}]", port, f"is in {member_of[port]} already")
            member_of.setdefault(port, bond.name)
        if len(bond.ports) < 2 and bond.mode is not BondModeName.ACTIVE_BACKUP:
            yield invalid(f"{path}.ports", len(bond.ports), f"{bond.mode} needs at least two ports")
    for index, uplink in enumerate(uplinks):
        if uplink.name in member_of:
            text = f"is a port of the bond {member_of[uplink.name]}, which alone has addresses"
            yield invalid(f"spec.uplinks[{index}].name", uplink.name, text)
    vlan_names = {vlan.name for vlan in vlans}
    for index, vlan in enumerate(vlans):
        path = f"spec.vlans[{index}]"
        yield from _check_interface(f"{path}.interface", vlan.interface or vlan.name)
        if vlan.port in vlan_names:
            yield invalid(f"{path}.port", vlan.port, "must be a port or a bond, not a VLAN")
        if vlan.port in member_of:
            yield invalid(f"{path}.port", vlan.port, f"is a port of the bond {member_of[vlan.port]}; name the bond")
        if vlan.name in bond_names:
            yield invalid(f"{path}.name", vlan.name, "is the name of a bond too")
    yield from rules.check_no_repeats((f"spec.vlans[{i}].id", (vlan.port, vlan.id)) for i, vlan in enumerate(vlans))
