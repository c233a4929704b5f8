"""What ports stand on: hardware by its names, bonds, VLANs."""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec import Struct

from eaves.node.desired.draft import Draft, clean_name
from eaves.node.desired.errors import ObjectError
from eaves.node.desired.model import ObjectKind
from eaves.node.desired.port_model import BondMode, BondSetup, VlanSetup
from eaves.wire.pb.config.devconfig_pb2 import EdgeDevConfig
from eaves.wire.pb.config.devmodel_pb2 import BondAdapter, VlanAdapter
from eaves.wire.pb.evecommon import devmodelcommon_pb2 as common
from eaves.wire.pb.evecommon import netcmn_pb2 as netcmn

_INTERFACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:@-]{0,14}")
_VLAN_LEAST, _VLAN_MOST = 1, 4094
_MII_MS = 100
"""The kernel watches no links by itself."""
_BOND_MODES = {
    netcmn.BOND_MODE_UNSPECIFIED: BondMode.ACTIVE_BACKUP,
    netcmn.BOND_MODE_BALANCE_RR: BondMode.BALANCE_RR,
    netcmn.BOND_MODE_ACTIVE_BACKUP: BondMode.ACTIVE_BACKUP,
    netcmn.BOND_MODE_BALANCE_XOR: BondMode.BALANCE_XOR,
    netcmn.BOND_MODE_BROADCAST: BondMode.BROADCAST,
    netcmn.BOND_MODE_802_3AD: BondMode.LACP,
    netcmn.BOND_MODE_BALANCE_TLB: BondMode.BALANCE_TLB,
    netcmn.BOND_MODE_BALANCE_ALB: BondMode.BALANCE_ALB,
}


class Layers(Struct, frozen=True):
    """``interfaces``: logical label → Linux name, of hardware, bonds and VLANs; ``types``: label → PhyIoType of hardware."""

    interfaces: Mapping[str, str]
    types: Mapping[str, int]
    bonds: tuple[BondSetup, ...]
    vlans: tuple[VlanSetup, ...]


def parse_layers(config: EdgeDevConfig, draft: Draft) -> Layers:
    """The layers of ``config``; one that cannot be understood is a problem, and ports that need it find nothing."""
    interfaces: dict[str, str] = {}
    types: dict[str, int] = {}
    for member in config.deviceIoList:
        label = clean_name(member.logicallabel or member.phylabel)
        name = member.phyaddrs.get("ifname", "") or member.phyaddrs.get("Ifname", "")
        if label and _INTERFACE.fullmatch(name) and member.usage != common.PhyIoUsageDisabled:
            interfaces.setdefault(label, name)
            types.setdefault(label, member.ptype)
    bonds: list[BondSetup] = []
    for bond in config.bonds:
        try:
            bonds.append(_parse_bond(bond, interfaces))
            interfaces.setdefault(clean_name(bond.logicallabel), bond.interface_name)
        except ObjectError as error:
            draft.add_error(ObjectKind.NODE, bond.logicallabel, f"bond {clean_name(bond.logicallabel)}", error)
    vlans: list[VlanSetup] = []
    lower = dict(interfaces)
    for vlan in config.vlans:
        try:
            vlans.append(_parse_vlan(vlan, lower))
            interfaces.setdefault(clean_name(vlan.logicallabel), vlan.interface_name)
        except ObjectError as error:
            draft.add_error(ObjectKind.NODE, vlan.logicallabel, f"VLAN {clean_name(vlan.logicallabel)}", error)
    return Layers(interfaces, types, tuple(bonds), tuple(vlans))


def _parse_bond(bond: BondAdapter, interfaces: Mapping[str, str]) -> BondSetup:
    _check_interface(bond.interface_name)
    members = tuple(_find_lower(clean_name(name), interfaces) for name in bond.lower_layer_names)
    if not members:
        raise ObjectError("it has no members", code="BondInvalid")
    if bond.bond_mode not in _BOND_MODES:
        raise ObjectError(f"mode {bond.bond_mode} is not known", code="BondInvalid")
    return BondSetup(
        interface=bond.interface_name,
        members=members,
        mode=_BOND_MODES[bond.bond_mode],
        mii_interval_ms=bond.mii.interval or _MII_MS,
        up_delay_ms=bond.mii.updelay,
        down_delay_ms=bond.mii.downdelay,
        arp_interval_ms=bond.arp.interval,
        arp_targets=tuple(bond.arp.ip_targets),
        fast_lacp=bond.lacp_rate == netcmn.LACP_RATE_FAST,
    )


def _parse_vlan(vlan: VlanAdapter, interfaces: Mapping[str, str]) -> VlanSetup:
    _check_interface(vlan.interface_name)
    if not _VLAN_LEAST <= vlan.vlan_id <= _VLAN_MOST:
        raise ObjectError(f"VLAN {vlan.vlan_id} is not between {_VLAN_LEAST} and {_VLAN_MOST}", code="VlanInvalid")
    return VlanSetup(vlan.interface_name, _find_lower(clean_name(vlan.lower_layer_name), interfaces), vlan.vlan_id)


def _check_interface(name: str) -> None:
    if not _INTERFACE.fullmatch(name):
        raise ObjectError(f"{name[:32]!r} is no name for an interface", code="InterfaceNameInvalid")


def _find_lower(label: str, interfaces: Mapping[str, str]) -> str:
    if label not in interfaces:
        raise ObjectError(
            f"it stands on {label or 'nothing'}, which is not in the hardware model",
            code="PortUnknown",
            resolution="correct the hardware model",
        )
    return interfaces[label]
