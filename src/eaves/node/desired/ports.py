"""Ports of a config: which interface bears which labels, at which cost.

Only the names are taken: how the interfaces themselves are set up stays with the host.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from eaves.node.desired.draft import clean_name
from eaves.node.desired.network_model import DesiredPort
from eaves.wire.pb.config.devconfig_pb2 import EdgeDevConfig

_INTERFACE_BYTES = 15
_COST_LIMIT = 255


def parse_ports(config: EdgeDevConfig) -> tuple[DesiredPort, ...]:
    """The adapters whose interface is known, in the order of the config; the first one of a label counts.

    When none is marked as uplink, all are (see the device API's SystemAdapter.uplink).
    """
    interfaces = dict(_list_interfaces(config))
    are_all_uplinks = not any(adapter.uplink for adapter in config.systemAdapterList)
    found: dict[str, DesiredPort] = {}
    for adapter in config.systemAdapterList:
        label = clean_name(adapter.name)
        interface = _find_interface(adapter.lowerLayerName or adapter.name, interfaces)
        if not label or not interface:
            continue
        found.setdefault(
            label,
            DesiredPort(
                label=label,
                interface=interface,
                cost=min(adapter.cost, _COST_LIMIT),
                shared_labels=tuple(filter(None, map(clean_name, adapter.shared_labels))),
                is_uplink=adapter.uplink or are_all_uplinks,
            ),
        )
    return tuple(found.values())


def _list_interfaces(config: EdgeDevConfig) -> Iterator[tuple[str, str]]:
    """Logical label → Linux name, of hardware, VLANs and bonds."""
    for member in config.deviceIoList:
        yield (
            member.logicallabel or member.phylabel,
            member.phyaddrs.get("ifname", "") or member.phyaddrs.get("Ifname", ""),
        )
    for vlan in config.vlans:
        yield vlan.logicallabel, vlan.interface_name
    for bond in config.bonds:
        yield bond.logicallabel, bond.interface_name


def _find_interface(label: str, interfaces: Mapping[str, str]) -> str:
    name = interfaces.get(label, "")
    return name if 0 < len(name.encode()) <= _INTERFACE_BYTES and "/" not in name and " " not in name else ""
