"""Ports of the device to the world: hardware model, system adapters, IP settings.

An EVE device takes its ports from the config, so a config without them could cut it off. They are sent when the
EdgeNode lists uplinks, or when an EVE device has reported ports that such a config describes in full (wired, by
DHCP); otherwise the section is left out and the device keeps what it has. Eaves nodes leave the host's network to its
owner and need none.
"""

from __future__ import annotations

from ipaddress import IPv4Interface

from eaves.controller.compile.hardware import want_physical_io
from eaves.controller.compile.identifiers import uplink_network_id
from eaves.kinds.edgenode import EdgeNode, PortMedium, Uplink
from eaves.kinds.hardwaremodel import HardwareModel
from eaves.wire.pb.config.devconfig_pb2 import EdgeDevConfig
from eaves.wire.pb.config.devmodel_pb2 import PhysicalIO, SystemAdapter
from eaves.wire.pb.config.netconfig_pb2 import NetworkConfig
from eaves.wire.pb.evecommon.devmodelcommon_pb2 import PhyIoNetEth, PhyIoUsageMgmtAndApps, PhyIoUsageShared
from eaves.wire.pb.evecommon.netcmn_pb2 import V4, Client, Static, ipspec


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


def fill_uplinks(node: EdgeNode, config: EdgeDevConfig, model: HardwareModel | None = None) -> None:
    """Writes the hardware model, ports, adapters and their IP settings into the config.

    A port that the model names is described by the model; an uplink's own interface wins over the model's.
    """
    members = want_physical_io(model) if model is not None else {}
    for uplink in uplinks_of(node):
        network_id = uplink_network_id(node.metadata.uid, uplink.name)
        address = _static_address(uplink)
        member = members.setdefault(
            uplink.name, PhysicalIO(ptype=PhyIoNetEth, phylabel=uplink.name, logicallabel=uplink.name)
        )
        # EVE knows a port's bundle by its group; without one the port cannot be used.
        member.assigngrp = member.assigngrp or uplink.name
        member.usage = PhyIoUsageMgmtAndApps if uplink.management else PhyIoUsageShared
        if uplink.interface or not member.phyaddrs.get("ifname"):
            member.phyaddrs["ifname"] = uplink.interface or uplink.name
        config.systemAdapterList.append(
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
        settings = ipspec(dhcp=Client)
        if address is not None:
            settings = ipspec(dhcp=Static, subnet=str(address.network), gateway=uplink.gateway, dns=uplink.dns_servers)
        config.networks.append(NetworkConfig(id=network_id, type=V4, ip=settings))
    config.deviceIoList.extend(members[name] for name in sorted(members))


def copy_ports(source: EdgeDevConfig, target: EdgeDevConfig) -> None:
    """The sections that :func:`fill_uplinks` writes, from another config of the device."""
    target.deviceIoList.extend(source.deviceIoList)
    target.systemAdapterList.extend(source.systemAdapterList)
    target.networks.extend(source.networks)


def _static_address(uplink: Uplink) -> IPv4Interface | None:
    return IPv4Interface(uplink.addresses[0]) if uplink.addresses else None
