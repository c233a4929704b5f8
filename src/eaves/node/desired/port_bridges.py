"""Ports that the node shares with the apps of a switch: the cable becomes the port of a bridge, which has the node's own address.

The device API names no such bridge; a network instance of kind Switch that leads to a port with an address means it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from eaves.node.desired.draft import clean_name
from eaves.wire.pb.config.devconfig_pb2 import EdgeDevConfig
from eaves.wire.pb.config.devmodel_pb2 import SystemAdapter
from eaves.wire.pb.config.netinst_pb2 import NetworkInstanceConfig, ZnetInstSwitch
from eaves.wire.pb.evecommon import devmodelcommon_pb2 as common
from eaves.wire.pb.evecommon import netcmn_pb2 as netcmn

SHARED_PREFIX = "eaves-"
"""All of these bridges are called so."""
_MOST_CHARACTERS = 15
"""Of an interface's name."""
_GENERAL = ("uplink", "freeuplink", "all")


def name_bridge(cable: str) -> str:
    """The bridge over ``cable``; no other interface of ours is called so."""
    name = f"{SHARED_PREFIX}{cable}"
    return name if len(name) <= _MOST_CHARACTERS else f"{SHARED_PREFIX}{hashlib.sha256(cable.encode()).hexdigest()[:8]}"


def list_shared_labels(config: EdgeDevConfig) -> list[str]:
    """Logical labels of the ports with addresses that a switch leads to. A switch over several ports shares none."""
    tagged = {card.networkId for app in config.apps for card in app.interfaces if card.access_vlan_id}
    found: dict[str, SystemAdapter] = {}
    for network in config.networkInstances:
        is_plain = network.instType == ZnetInstSwitch and network.uuidandversion.uuid not in tagged
        if is_plain and not _has_own_wishes(network) and (adapter := _find_adapter(network, config.systemAdapterList)):
            found.setdefault(clean_name(adapter.name), adapter)
    return sorted(label for label, adapter in found.items() if label and _is_wired(adapter, config))


def _has_own_wishes(network: NetworkInstanceConfig) -> bool:
    """Whether it asks of its ports what would change the node's own way out."""
    return bool(network.vlan_access_ports or network.stp.ports_with_bpdu_guard or network.forward_lldp or network.mtu)


def want_switches(labels: Sequence[str]) -> Iterator[NetworkInstanceConfig]:
    """What is kept of the switches among the port sections: the label alone, so that nothing else of them changes the ports."""
    for label in labels:
        network = NetworkInstanceConfig(instType=ZnetInstSwitch)
        network.port.name = label
        yield network


def _find_adapter(network: NetworkInstanceConfig, adapters: Sequence[SystemAdapter]) -> SystemAdapter | None:
    label = clean_name(network.port.name)
    if not label:
        return None
    are_all_uplinks = not any(adapter.uplink for adapter in adapters)
    found = [adapter for adapter in adapters if _bears(adapter, label, are_all_uplinks=are_all_uplinks)]
    return found[0] if len(found) == 1 else None


def _bears(adapter: SystemAdapter, label: str, *, are_all_uplinks: bool) -> bool:
    if label in _GENERAL:
        is_uplink = adapter.uplink or are_all_uplinks
        return label == "all" or (is_uplink and (label == "uplink" or adapter.cost == 0))
    return label in (clean_name(adapter.name), *map(clean_name, adapter.shared_labels))


def _is_wired(adapter: SystemAdapter, config: EdgeDevConfig) -> bool:
    """An Ethernet cable with an address that no bond has and no VLAN. Without an address a switch takes the cable itself."""
    lower = clean_name(adapter.lowerLayerName) or clean_name(adapter.name)
    hardware = {clean_name(member.logicallabel or member.phylabel): member.ptype for member in config.deviceIoList}
    layered = {clean_name(name) for bond in config.bonds for name in bond.lower_layer_names}
    layered |= {clean_name(vlan.lower_layer_name) for vlan in config.vlans}
    network = next((network for network in config.networks if network.id == adapter.networkUUID), None)
    return (
        hardware.get(lower) == common.PhyIoNetEth
        and lower not in layered
        and network is not None
        and network.ip.dhcp != netcmn.DHCPNone
    )
