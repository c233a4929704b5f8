"""Network interfaces of an application."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping

from eaves.node.desired.acl import parse_acls
from eaves.node.desired.draft import Draft, clean_name
from eaves.node.desired.errors import ObjectError
from eaves.node.desired.model import DesiredInterface, DesiredNetwork, NetworkKind
from eaves.wire.pb.config.appconfig_pb2 import AppInstanceConfig
from eaves.wire.pb.config.netconfig_pb2 import NetworkAdapter

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


def parse_interfaces(
    config: AppInstanceConfig, app_id: str, name: str, networks: Mapping[str, DesiredNetwork], draft: Draft
) -> tuple[DesiredInterface, ...]:
    """The interfaces in the order that is asked for. Raises ObjectError."""
    adapters = list(config.interfaces)
    if config.fixedresources.enforce_network_interface_order:
        adapters.sort(key=lambda adapter: adapter.interface_order)
    return tuple(
        _parse_interface(adapter, index, app_id, name, networks, draft) for index, adapter in enumerate(adapters)
    )


def _parse_interface(
    adapter: NetworkAdapter, index: int, app_id: str, name: str, networks: Mapping[str, DesiredNetwork], draft: Draft
) -> DesiredInterface:
    network = networks.get(adapter.networkId.lower())
    if network is None:
        raise ObjectError(
            f"network {adapter.networkId[:64] or 'without id'} of its interface {index} cannot be had",
            code="NetworkMissing",
            resolution="see the problems of networks",
        )
    mac = adapter.macAddress.strip().lower().replace("-", ":")
    if mac and (not _MAC.fullmatch(mac) or int(mac[1], 16) & 1):
        raise ObjectError(f"{clean_name(adapter.macAddress)!r} is no MAC address", code="BadMacAddress")
    return DesiredInterface(
        clean_name(adapter.name) or f"eth{index}",
        network.id,
        _parse_address(adapter.addr, network),
        mac,
        parse_acls(adapter.acls, app_id, name, draft),
        _parse_vlan(adapter.access_vlan_id, network),
        may_discover=adapter.allow_to_discover,
    )


def _parse_address(text: str, network: DesiredNetwork) -> str:
    if not text.strip():
        return ""
    try:
        address = ipaddress.ip_address(text.strip())
    except ValueError as error:
        raise ObjectError(f"{text[:64]!r} is no IP address", code="BadAddress") from error
    if network.subnet:
        subnet = ipaddress.IPv4Network(network.subnet)
        taken = (str(subnet.network_address), str(subnet.broadcast_address), network.gateway)
        if address not in subnet or str(address) in taken:
            raise ObjectError(
                f"{address} cannot be its address on network {network.name} ({subnet})", code="BadAddress"
            )
    return str(address)


def _parse_vlan(number: int, network: DesiredNetwork) -> int:
    if number and network.kind is not NetworkKind.SWITCH:
        raise ObjectError(f"network {network.name} is no switch and has no VLANs", code="BadVlan")
    if number and not 2 <= number <= 4093:
        raise ObjectError(f"VLAN {number} is impossible", code="BadVlan", resolution="use a number from 2 to 4093")
    return number
