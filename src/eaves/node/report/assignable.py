"""Devices of the hardware model and who has them → ``assignableAdapters`` of the device info."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from eaves.node.desired.hardware_model import DesiredIo, IoKind
from eaves.wire.pb.evecommon import devmodelcommon_pb2 as common
from eaves.wire.pb.info.info_pb2 import ZioBundle

_KINDS = {
    IoKind.ETHERNET: common.PhyIoNetEth,
    IoKind.WIFI: common.PhyIoNetWLAN,
    IoKind.CELLULAR: common.PhyIoNetWWAN,
    IoKind.USB_CONTROLLER: common.PhyIoUSBController,
    IoKind.USB_DEVICE: common.PhyIoUSBDevice,
    IoKind.SERIAL: common.PhyIoCOM,
    IoKind.CAN: common.PhyIoCAN,
    IoKind.OTHER: common.PhyIoOther,
}


def want_bundles(hardware: Sequence[DesiredIo], users: Mapping[str, str]) -> list[ZioBundle]:
    """One bundle a group, by name. ``users``: group → app that has it."""
    return [_want_bundle(group, members, users.get(group, "")) for group, members in sorted(_each_group(hardware))]


def _each_group(hardware: Sequence[DesiredIo]) -> Iterator[tuple[str, list[DesiredIo]]]:
    groups: dict[str, list[DesiredIo]] = {}
    for device in hardware:
        if device.group:
            groups.setdefault(device.group, []).append(device)
    yield from groups.items()


def _want_bundle(group: str, members: list[DesiredIo], user: str) -> ZioBundle:
    is_kept = any(device.is_kept for device in members)
    return ZioBundle(
        type=_KINDS[members[0].kind],
        name=group,
        members=[device.label for device in members],
        usedByAppUUID=user,
        usedByBaseOS=is_kept and not user,
        usage=common.PhyIoUsageMgmtAndApps if is_kept else common.PhyIoUsageDedicated,
    )
