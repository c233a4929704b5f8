"""Snapshots of virtual machines as snapshots of their disks, which the volumes take, keep, and go back to.

A Volume object outlives apps and has snapshots of its own, so it is not among an app's. Snapshots with memory, or at an update, are
not the volumes' affair: the app's status says that they are not taken.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from eaves.node.desired.model import DesiredApp, DesiredVolume, VolumeRollback, VolumeSnapshotWish
from eaves.node.desired.vm_model import DesiredSnapshot, DesiredVm, DiskDevice, SnapshotTrigger


def is_of_disks(snapshot: DesiredSnapshot) -> bool:
    """Whether it is nothing but the disks, at once."""
    return snapshot.trigger is SnapshotTrigger.IMMEDIATE and not snapshot.with_memory


def hand_down_snapshots(
    volumes: Sequence[DesiredVolume], apps: Sequence[DesiredApp]
) -> tuple[tuple[DesiredVolume, ...], tuple[DesiredApp, ...]]:
    """The volumes with what their machines ask of them, and the machines with the marks of the disks that have snapshots."""
    found = {volume.id: volume for volume in volumes}
    taken: set[str] = set()
    marked = []
    for app in apps:
        if app.vm is None:
            marked.append(app)
            continue
        own = {
            disk.volume_id
            for disk in app.vm.disks
            if disk.device is DiskDevice.DISK and not disk.read_only and not found[disk.volume_id].is_explicit
        } - taken
        taken |= own
        for volume_id in own:
            found[volume_id] = _ask(found[volume_id], app)
        marked.append(replace(app, vm=_mark(app.vm, own)))
    return tuple(found.values()), tuple(marked)


def _ask(volume: DesiredVolume, app: DesiredApp) -> DesiredVolume:
    """The order to go back is always there: a volume obeys only one that follows another."""
    orders = app.snapshots
    wishes = tuple(
        VolumeSnapshotWish(snapshot.id, snapshot.name or snapshot.id)
        for snapshot in orders.wanted
        if is_of_disks(snapshot)
    )
    return replace(volume, snapshots=wishes, rollback=VolumeRollback(orders.active_id, orders.rollback_counter))


def _mark(vm: DesiredVm, own: set[str]) -> DesiredVm:
    return replace(vm, disks=tuple(replace(disk, has_snapshots=disk.volume_id in own) for disk in vm.disks))
