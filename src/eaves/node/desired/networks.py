"""Network instances of a config."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from eaves.node.desired.draft import Draft, clean_name
from eaves.node.desired.errors import ObjectError
from eaves.node.desired.model import DesiredNetwork, NetworkKind, ObjectKind
from eaves.node.desired.network_model import AccessPort
from eaves.node.desired.routes import parse_routes
from eaves.wire.pb.config import netinst_pb2
from eaves.wire.pb.config.netinst_pb2 import NetworkInstanceConfig, VlanAccessPort
from eaves.wire.pb.evecommon.netcmn_pb2 import ZnetStaticDNSEntry

_KINDS = {netinst_pb2.ZnetInstLocal: NetworkKind.LOCAL, netinst_pb2.ZnetInstSwitch: NetworkKind.SWITCH}
_MTU = range(1280, 65536)
_LONGEST_PREFIX = 30
"""Gateway, one app and the two reserved addresses."""


def parse_networks(configs: Iterable[NetworkInstanceConfig], draft: Draft) -> dict[str, DesiredNetwork]:
    """Usable networks by id. Of two whose subnets overlap the first one counts."""
    found: dict[str, DesiredNetwork] = {}
    for config in configs:
        network_id = draft.take_id(ObjectKind.NETWORK, config.uuidandversion.uuid, config.displayname)
        if network_id is None:
            continue
        name = clean_name(config.displayname) or network_id
        try:
            network = _parse_network(config, network_id, name, draft)
            _check_overlap(network, found)
        except ObjectError as error:
            draft.add_error(ObjectKind.NETWORK, network_id, name, error)
        else:
            found[network_id] = network
    return found


def _parse_network(config: NetworkInstanceConfig, network_id: str, name: str, draft: Draft) -> DesiredNetwork:
    kind = _KINDS.get(config.instType)
    if kind is None:
        raise ObjectError(f"networks of type {config.instType} are not supported", code="NetworkTypeUnsupported")
    if config.mtu and config.mtu not in _MTU:
        raise ObjectError(f"an MTU of {config.mtu} is impossible", code="BadMtu", resolution="use 1280 or more")
    base = DesiredNetwork(
        network_id,
        config.uuidandversion.version,
        name,
        kind,
        clean_name(config.port.name),
        mtu=config.mtu,
        activate=config.activate,
        flow_log=not config.disable_flowlog,
    )
    return _with_addresses(base, config, draft) if kind is NetworkKind.LOCAL else _with_ports(base, config)


def _with_ports(base: DesiredNetwork, config: NetworkInstanceConfig) -> DesiredNetwork:
    return replace(
        base,
        access_ports=tuple(_parse_access_port(port) for port in config.vlan_access_ports),
        bpdu_guard_label=clean_name(config.stp.ports_with_bpdu_guard),
        forward_lldp=config.forward_lldp,
    )


def _parse_access_port(port: VlanAccessPort) -> AccessPort:
    label = clean_name(port.access_port)
    if not label or not 1 <= port.vlan_id <= 4094:
        raise ObjectError(f"VLAN {port.vlan_id} of its access port {label!r} is impossible", code="BadVlan")
    return AccessPort(label, port.vlan_id)


def _with_addresses(base: DesiredNetwork, config: NetworkInstanceConfig, draft: Draft) -> DesiredNetwork:
    subnet = _parse_subnet(config.ip.subnet)
    hosts = _hosts_of(subnet)
    gateway = _inside(config.ip.gateway, subnet, "gateway") or hosts[0]
    start = _inside(config.ip.dhcpRange.start, subnet, "start of the DHCP range") or next(
        host for host in hosts if host != gateway
    )
    end = _inside(config.ip.dhcpRange.end, subnet, "end of the DHCP range") or hosts[-1]
    if start > end:
        raise ObjectError("its DHCP range ends before it starts", code="BadDhcpRange")
    return replace(
        base,
        subnet=str(subnet),
        gateway=str(gateway),
        dhcp_start=str(start),
        dhcp_end=str(end),
        dns_servers=_parse_servers(config.ip.dns, base, draft),
        ntp_servers=tuple(clean_name(server) for server in (config.ip.ntp, *config.ip.more_ntp) if server.strip()),
        domain=clean_name(config.ip.domain),
        static_hosts=_parse_hosts(config.dns, base, draft),
        routes=parse_routes(config.static_routes, base, draft),
        propagate_routes=config.propagate_connected_routes,
    )


def _parse_subnet(text: str) -> ipaddress.IPv4Network:
    try:
        subnet = ipaddress.IPv4Network(text.strip(), strict=False)
    except ValueError as error:
        raise ObjectError(
            f"{text[:64]!r} is no IPv4 subnet", code="BadSubnet", resolution="write a subnet such as 10.1.0.0/24"
        ) from error
    if subnet.prefixlen > _LONGEST_PREFIX or subnet.prefixlen < 8 or subnet.is_loopback or subnet.is_multicast:
        raise ObjectError(f"{subnet} cannot be the subnet of a network", code="BadSubnet")
    return subnet


def _hosts_of(
    subnet: ipaddress.IPv4Network,
) -> tuple[ipaddress.IPv4Address, ipaddress.IPv4Address, ipaddress.IPv4Address]:
    """First, second and last host address."""
    return subnet.network_address + 1, subnet.network_address + 2, subnet.broadcast_address - 1


def _inside(text: str, subnet: ipaddress.IPv4Network, what: str) -> ipaddress.IPv4Address | None:
    """The address, None for an empty text. Raises ObjectError for one that no host of the subnet can have."""
    if not text.strip():
        return None
    try:
        address = ipaddress.IPv4Address(text.strip())
    except ValueError as error:
        raise ObjectError(f"its {what} is no IPv4 address", code="BadAddress") from error
    if address not in subnet or address in (subnet.network_address, subnet.broadcast_address):
        raise ObjectError(f"its {what} {address} is not inside {subnet}", code="BadAddress")
    return address


def _check_overlap(network: DesiredNetwork, others: Mapping[str, DesiredNetwork]) -> None:
    if not network.subnet:
        return
    subnet = ipaddress.IPv4Network(network.subnet)
    for other in others.values():
        if other.subnet and subnet.overlaps(ipaddress.IPv4Network(other.subnet)):
            raise ObjectError(
                f"its subnet {subnet} overlaps with that of network {other.name}",
                code="SubnetOverlap",
                resolution="give one of the two another subnet",
            )


def _parse_servers(texts: Iterable[str], network: DesiredNetwork, draft: Draft) -> tuple[str, ...]:
    return tuple(
        address
        for text in texts
        if text.strip() and (address := _parse_address(text, "DNS server", network, draft)) is not None
    )


def _parse_hosts(
    entries: Iterable[ZnetStaticDNSEntry], network: DesiredNetwork, draft: Draft
) -> dict[str, tuple[str, ...]]:
    hosts: dict[str, tuple[str, ...]] = {}
    for entry in entries:
        name = clean_name(entry.HostName).lower()
        addresses = tuple(
            address
            for text in entry.Address
            if (address := _parse_address(text, f"address of {name}", network, draft)) is not None
        )
        if name and addresses:
            hosts[name] = addresses
    return hosts


def _parse_address(text: str, what: str, network: DesiredNetwork, draft: Draft) -> str | None:
    try:
        return str(ipaddress.ip_address(text.strip()))
    except ValueError:
        message = f"{what} {text[:64]!r} is no IP address and is not used"
        draft.add(ObjectKind.NETWORK, network.id, network.name, "BadAddress", message)
        return None
