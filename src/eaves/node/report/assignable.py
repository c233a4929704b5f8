"""Devices of the hardware model and who has them → ``assignableAdapters`` of the device info, ``assignedAdapters`` of an app's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from eaves.node.desired.hardware_model import DesiredIo
from eaves.wire.pb.evecommon import devmodelcommon_pb2 as common
from eaves.wire.pb.info.info_pb2 import ZioBundle


def want_bundles(hardware: Sequence[DesiredIo], users: Mapping[str, str]) -> list[ZioBundle]:
    """One bundle a group, by name. ``users``: group → app that has it."""
    return [_want_bundle(group, members, users.get(group, "")) for group, members in sorted(_each_group(hardware))]


def want_app_bundles(devices: Sequence[DesiredIo], app_id: str) -> list[ZioBundle]:
    """Of an app that has ``devices``."""
    return want_bundles(devices, {device.group: app_id for device in devices})


def _each_group(hardware: Sequence[DesiredIo]) -> Iterator[tuple[str, list[DesiredIo]]]:
    groups: dict[str, list[DesiredIo]] = {}
    for device in hardware:
        if device.group:
            groups.setdefault(device.group, []).append(device)
    yield from groups.items()


def _want_bundle(group: str, members: list[DesiredIo], user: str) -> ZioBundle:
    # What the parts have in common is told of the whole: they go to one owner together.
    return ZioBundle(
        type=common.PhyIoType.ValueType(members[0].io_type),
        name=group,
        members=[device.physical_label or device.label for device in members],
        usedByAppUUID=user,
        usedByBaseOS=any(device.is_kept for device in members) and not user,
        usage=common.PhyIoMemberUsage.ValueType(members[0].usage),
    )
