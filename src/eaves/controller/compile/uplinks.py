"""Ports of the device to the world: hardware model, system adapters, IP settings.

An EVE device takes its ports from the config, so a config without them could cut it off. They are sent when the
EdgeNode lists uplinks, or when an EVE device has reported ports that such a config describes in full (wired, by
DHCP); otherwise the section is left out and the device keeps what it has. Eaves nodes leave the host's network to its
owner, unless their settings say manage_ports, and need none.
"""

from __future__ import annotations

from ipaddress import IPv4Interface, IPv6Interface, ip_interface

from eaves.controller.compile.hardware import want_physical_io
from eaves.controller.compile.identifiers import uplink_network_id
from eaves.controller.compile.port_networks import PortSecrets, want_bond, want_network, want_vlan
from eaves.kinds.edgenode import EdgeNode, PortMedium
from eaves.kinds.hardwaremodel import HardwareModel
from eaves.kinds.port_spec import Bond, Uplink, Vlan
from eaves.wire.pb.config.devconfig_pb2 import EdgeDevConfig
from eaves.wire.pb.config.devmodel_pb2 import PhysicalIO, SystemAdapter
from eaves.wire.pb.evecommon.acipherinfo_pb2 import CipherContext
from eaves.wire.pb.evecommon.devmodelcommon_pb2 import (
    PhyIoNetEth,
    PhyIoNetWLAN,
    PhyIoNetWWAN,
    PhyIoType,
    PhyIoUsageMgmtAndApps,
    PhyIoUsageShared,
)


def uplinks_of(node: EdgeNode) -> list[Uplink]:
    """The uplinks to configure, by name: as written, else as an EVE device reported them; empty = leave them alone."""
    if node.spec.uplinks:
        return sorted(node.spec.uplinks, key=lambda uplink: uplink.name)
    if not runs_eve(node):
        return []
    managed = [port for port in node.status.ports if port.management]
    if not managed or any(port.medium is not PortMedium.ETHERNET or not port.dhcp for port in managed):
        return []
    ports = [port for port in node.status.ports if port.medium is PortMedium.ETHERNET and port.interface]
    return sorted(
        (
            Uplink(name=port.name, interface=port.interface, cost=port.cost, management=port.management)
            for port in ports
        ),
        key=lambda uplink: uplink.name,
    )


def runs_eve(node: EdgeNode) -> bool:
    """Whether the device said that it is EVE. Before the first report nothing is known of it."""
    return node.status.versions is not None and bool(node.status.versions.eve)


def fill_uplinks(node: EdgeNode, config: EdgeDevConfig, model: HardwareModel | None, secrets: PortSecrets) -> None:
    """Writes the hardware model, ports, adapters and their IP settings into the config.

    A port that the model names is described by the model; an uplink's own interface wins over the model's. Raises
    :class:`HeldBackError` for secrets that are missing; the config is then as it was.
    """
    members = want_physical_io(model) if model is not None else {}
    layers = {*(vlan.name for vlan in node.spec.vlans), *(bond.name for bond in node.spec.bonds)}
    adapters, networks = [], []
    for uplink in uplinks_of(node):
        network_id = uplink_network_id(node.metadata.uid, uplink.name)
        address = _static_address(uplink)
        if uplink.name not in layers:
            _add_member(members, uplink)
        adapters.append(
            SystemAdapter(
                name=uplink.name,
                lowerLayerName=uplink.name,
                uplink=uplink.management,
                freeUplink=uplink.cost == 0,
                cost=uplink.cost,
                shared_labels=sorted(set(uplink.labels)),
                networkUUID=network_id,
                addr=str(address.ip) if address else "",
            )
        )
        networks.append(want_network(network_id, uplink, address, secrets))
    vlans, bonds = sorted(node.spec.vlans, key=_name), sorted(node.spec.bonds, key=_name)
    for port in (*(vlan.port for vlan in vlans), *(port for bond in bonds for port in bond.ports)):
        if port not in layers:
            _add_member(members, Uplink(name=port))
    config.deviceIoList.extend(members[name] for name in sorted(members))
    config.systemAdapterList.extend(adapters)
    config.networks.extend(networks)
    config.vlans.extend(want_vlan(vlan) for vlan in vlans)
    config.bonds.extend(want_bond(bond) for bond in bonds)


def copy_ports(source: EdgeDevConfig, target: EdgeDevConfig) -> None:
    """The sections that :func:`fill_uplinks` writes, from another config of the device."""
    target.deviceIoList.extend(source.deviceIoList)
    target.systemAdapterList.extend(source.systemAdapterList)
    target.networks.extend(source.networks)
    target.vlans.extend(source.vlans)
    target.bonds.extend(source.bonds)


def list_contexts(config: EdgeDevConfig) -> dict[str, CipherContext]:
    """The contexts of the secrets in the sections that :func:`fill_uplinks` writes."""
    used = set()
    for network in config.networks:
        used |= {wifi.cipherData.cipherContextId for wifi in network.wireless.wifiCfg}
        points = (point for cellular in network.wireless.cellularCfg for point in cellular.access_points)
        used |= {point.cipher_data.cipherContextId for point in points}
    return {context.contextId: context for context in config.cipherContexts if context.contextId in used}


def _add_member(members: dict[str, PhysicalIO], uplink: Uplink) -> None:
    member = members.setdefault(
        uplink.name, PhysicalIO(ptype=_want_type(uplink), phylabel=uplink.name, logicallabel=uplink.name)
    )
    # EVE knows a port's bundle by its group; without one the port cannot be used.
    member.assigngrp = member.assigngrp or uplink.name
    member.usage = PhyIoUsageMgmtAndApps if uplink.management else PhyIoUsageShared
    if uplink.interface or not member.phyaddrs.get("ifname"):
        member.phyaddrs["ifname"] = uplink.interface or uplink.name


def _want_type(uplink: Uplink) -> PhyIoType.ValueType:
    if uplink.cellular is not None:
        return PhyIoNetWWAN
    return PhyIoNetWLAN if uplink.wifi else PhyIoNetEth


def _static_address(uplink: Uplink) -> IPv4Interface | IPv6Interface | None:
    return ip_interface(uplink.addresses[0]) if uplink.addresses else None


def _name(layer: Vlan | Bond) -> str:
    return layer.name
