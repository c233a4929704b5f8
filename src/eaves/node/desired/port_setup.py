"""Ports of a config: how each one gets its addresses, over which bonds and VLANs, through which proxy.

A config's port sections are kept as they came, secrets still sealed, so that the node can go back to those that worked; hence
:func:`extract_port_sections` and :func:`parse_port_sections` are apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address, ip_interface, ip_network

from google.protobuf.message import DecodeError
from msgspec.structs import replace

from eaves.node.desired.draft import Decrypt, Draft, clean_name
from eaves.node.desired.errors import ObjectError
from eaves.node.desired.model import ObjectKind
from eaves.node.desired.port_bridges import list_shared_labels, name_bridge, want_switches
from eaves.node.desired.port_layers import Layers, parse_layers
from eaves.node.desired.port_model import (
    Addressing,
    BridgeSetup,
    Families,
    IpSetup,
    Medium,
    PortSetup,
    PortsSetup,
)
from eaves.node.desired.port_proxy import parse_proxy
from eaves.node.desired.port_wireless import parse_cellular, parse_wifi
from eaves.wire.pb.config.devconfig_pb2 import EdgeDevConfig
from eaves.wire.pb.config.devmodel_pb2 import SystemAdapter
from eaves.wire.pb.config.netconfig_pb2 import NetworkConfig
from eaves.wire.pb.evecommon import devmodelcommon_pb2 as common
from eaves.wire.pb.evecommon import netcmn_pb2 as netcmn
from eaves.wire.pb.evecommon.acipherinfo_pb2 import CipherContext
from eaves.wire.pb.evecommon.netcmn_pb2 import ipspec

_COST_LIMIT = 255
_NTP_SERVER = re.compile(r"[A-Za-z0-9.:-]{1,253}")
"""Of addresses and host names; it ends up in a line of a config file."""
_MTU_LEAST, _MTU_MOST = 1280, 65535
_MEDIA: Mapping[int, Medium] = {common.PhyIoNetWLAN: Medium.WIFI, common.PhyIoNetWWAN: Medium.CELLULAR}
_PORT_TYPES = (
    common.PhyIoNetEth,
    common.PhyIoNetEthPF,
    common.PhyIoNetEthVF,
    common.PhyIoNetWLAN,
    common.PhyIoNetWWAN,
)
_FAMILIES = {
    netcmn.V6: Families.IPV6,
    netcmn.V4Only: Families.IPV4_ONLY,
    netcmn.V6Only: Families.IPV6_ONLY,
    netcmn.DualV4V6: Families.BOTH,
}
_ADDRESSING = {
    netcmn.Static: Addressing.STATIC,
    netcmn.DHCPNone: Addressing.NONE,
    netcmn.Client: Addressing.DHCP,
}


def extract_port_sections(config: EdgeDevConfig) -> bytes:
    """What ``config`` says of ports, and the contexts of its sealed secrets; empty when it lists no port with addresses."""
    wanted = {adapter.networkUUID for adapter in config.systemAdapterList if adapter.networkUUID}
    if not wanted:
        return b""
    part = EdgeDevConfig(
        deviceIoList=[member for member in config.deviceIoList if member.ptype in _PORT_TYPES],
        systemAdapterList=config.systemAdapterList,
        networks=[network for network in config.networks if network.id in wanted],
        vlans=config.vlans,
        bonds=config.bonds,
        networkInstances=want_switches(list_shared_labels(config)),
    )
    # Contexts of other secrets come and go, and are no change of the ports.
    used = {context for network in part.networks for context in _list_contexts(network)}
    part.cipherContexts.extend(context for context in config.cipherContexts if context.contextId in used)
    return part.SerializeToString(deterministic=True)


def parse_contexts(sections: bytes) -> list[CipherContext]:
    """The contexts of the sealed secrets in ``sections``."""
    try:
        return list(EdgeDevConfig.FromString(sections).cipherContexts)
    except DecodeError:
        return []


def parse_port_sections(sections: bytes, decrypt: Decrypt) -> PortsSetup:
    """What was extracted, understood. Never raises; a port that cannot be set up is a problem and left out."""
    draft = Draft(decrypt)
    try:
        config = EdgeDevConfig.FromString(sections)
    except DecodeError:
        return PortsSetup()
    layers = parse_layers(config, draft)
    networks = {network.id: network for network in config.networks}
    are_all_uplinks = not any(adapter.uplink for adapter in config.systemAdapterList)
    found: dict[str, PortSetup] = {}
    for adapter in config.systemAdapterList:
        label = clean_name(adapter.name)
        if not label or not adapter.networkUUID or label in found:
            continue
        try:
            found[label] = _parse_port(label, adapter, networks, layers, draft, is_uplink=are_all_uplinks)
        except ObjectError as error:
            draft.add_error(ObjectKind.NODE, label, f"port {label}", error)
    made = PortsSetup(tuple(found.values()), layers.bonds, layers.vlans, problems=tuple(draft.problems))
    return _with_bridges(made, list_shared_labels(config))


def _with_bridges(setup: PortsSetup, labels: Sequence[str]) -> PortsSetup:
    """Ports with these labels become bridges over their cables."""
    bridges = {
        port.label: BridgeSetup(name_bridge(port.interface), port.interface)
        for port in setup.ports
        if port.label in labels
    }
    ports = (
        replace(port, interface=bridges[port.label].interface) if port.label in bridges else port
        for port in setup.ports
    )
    return replace(setup, ports=tuple(ports), bridges=tuple(bridges.values()))


def _parse_port(
    label: str,
    adapter: SystemAdapter,
    networks: Mapping[str, NetworkConfig],
    layers: Layers,
    draft: Draft,
    *,
    is_uplink: bool,
) -> PortSetup:
    lower = clean_name(adapter.lowerLayerName) or label
    interface = layers.interfaces.get(lower, "")
    if not interface:
        raise ObjectError(
            f"nothing of the hardware model, the VLANs or the bonds is called {lower}, or it has no usable interface name",
            code="PortUnknown",
            resolution="correct the hardware model or the name of the uplink",
        )
    network = networks.get(adapter.networkUUID)
    if network is None:
        raise ObjectError("its IP settings are not in the config", code="PortSettingsMissing")
    medium = _MEDIA.get(layers.types.get(lower, common.PhyIoNetEth), Medium.WIRED)
    if network.mtu and not _MTU_LEAST <= network.mtu <= _MTU_MOST:
        raise ObjectError(f"MTU {network.mtu} is not between {_MTU_LEAST} and {_MTU_MOST}", code="PortMtuInvalid")
    return PortSetup(
        label=label,
        interface=interface,
        medium=medium,
        ip=_parse_ip(adapter.addr, network),
        cost=min(adapter.cost, _COST_LIMIT),
        is_management=adapter.uplink or is_uplink,
        mtu=network.mtu,
        proxy=parse_proxy(network.entProxy),
        wifi=parse_wifi(network.wireless, draft) if medium is Medium.WIFI else (),
        cellular=parse_cellular(network.wireless, draft),
        network_id=network.id,
    )


def _parse_ip(address: str, network: NetworkConfig) -> IpSetup:
    """Raises ObjectError for what is no address, or a static port without one."""
    spec = network.ip
    families = _FAMILIES.get(network.type, Families.IPV4)
    try:
        servers = tuple(str(ip_address(server.strip())) for server in spec.dns if server.strip())
        gateway = str(ip_address(spec.gateway)) if spec.gateway else ""
        own = _parse_static(address, spec) if spec.dhcp == netcmn.Static else ""
    except ValueError as error:
        raise ObjectError(f"its IP settings cannot be used: {error}", code="PortAddressInvalid") from error
    ignore = spec.dhcp_options_ignore
    return IpSetup(
        addressing=_ADDRESSING.get(spec.dhcp, Addressing.DHCP),
        families=families,
        address=own,
        gateway=gateway,
        dns_servers=servers,
        ntp_servers=tuple(
            server for text in (spec.ntp, *spec.more_ntp) if _NTP_SERVER.fullmatch(server := text.strip())
        ),
        domain=clean_name(spec.domain),
        ignores_dns=ignore.dns_config_exclusively,
        ignores_ntp=ignore.ntp_server_exclusively,
        ignores_gateways=ignore.gateways_exclusively,
    )


def _parse_static(address: str, spec: ipspec) -> str:
    """``192.0.2.10/24`` of an address and the subnet that it is in. Raises ValueError."""
    if not address:
        raise ValueError("a static port has no address")
    if "/" in address or not spec.subnet:
        return str(ip_interface(address))
    subnet = ip_network(spec.subnet, strict=False)
    own = ip_address(address)
    if own not in subnet:
        raise ValueError(f"{address} is not in {spec.subnet}")
    return f"{own}/{subnet.prefixlen}"


def _list_contexts(network: NetworkConfig) -> Iterator[str]:
    for wifi in network.wireless.wifiCfg:
        yield wifi.cipherData.cipherContextId
    for cellular in network.wireless.cellularCfg:
        for point in cellular.access_points:
            yield point.cipher_data.cipherContextId
