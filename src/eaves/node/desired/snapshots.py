"""Snapshots of virtual machines as snapshots of their disks, which the volumes take, keep, and go back to.

All disks of one are of the same moment (:class:`~eaves.node.desired.model.SnapshotSet`). A Volume object outlives apps and has snapshots
of its own, so it is not among an app's: a machine that writes to one cannot have its memory saved, for what the memory knows of that
disk would be wrong after going back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from eaves.node.desired.model import DesiredApp, DesiredVolume, SnapshotSet, VolumeRollback, VolumeSnapshotWish
from eaves.node.desired.vm_model import DesiredSnapshot, DesiredVm, DiskDevice, SnapshotTrigger, VmDisk


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
        written = [disk for disk in app.vm.disks if disk.device is DiskDevice.DISK and not disk.read_only]
        own = {disk.volume_id for disk in written if not found[disk.volume_id].is_explicit} - taken
        taken |= own
        sets = {snapshot.id: _want_set(app, snapshot, written, own, found) for snapshot in app.snapshots.wanted}
        for volume_id in own:
            found[volume_id] = _ask(found[volume_id], app, sets)
        marked.append(replace(app, vm=_mark(app.vm, own)))
    return tuple(found.values()), tuple(marked)


def _want_set(
    app: DesiredApp,
    snapshot: DesiredSnapshot,
    written: Sequence[VmDisk],
    own: set[str],
    volumes: Mapping[str, DesiredVolume],
) -> SnapshotSet:
    """The root disk first, for the machine's memory lies beside it."""
    disks = sorted((disk for disk in written if disk.volume_id in own), key=lambda disk: not disk.is_root)
    at_update = snapshot.trigger is SnapshotTrigger.APP_UPDATE
    problem = ""
    if snapshot.with_memory:
        foreign = [volumes[disk.volume_id].name for disk in written if disk.volume_id not in own]
        if at_update:
            problem = "memory is saved of a machine that runs, and before an update it has stopped"
        elif foreign:
            problem = f"memory cannot be saved while the machine writes to Volume {foreign[0]}, which has snapshots of its own"
    members = tuple((disk.volume_id, volumes[disk.volume_id].generation) for disk in disks)
    return SnapshotSet(app.id, members, snapshot.with_memory, at_update, problem)


def _ask(volume: DesiredVolume, app: DesiredApp, sets: Mapping[str, SnapshotSet]) -> DesiredVolume:
    """The order to go back is always there: a volume obeys only one that follows another."""
    orders = app.snapshots
    wishes = tuple(
        VolumeSnapshotWish(snapshot.id, snapshot.name or snapshot.id, sets[snapshot.id]) for snapshot in orders.wanted
    )
    rollback = VolumeRollback(orders.active_id, orders.rollback_counter, sets.get(orders.active_id))
    return replace(volume, snapshots=wishes, snapshots_limit=orders.max_count, rollback=rollback)


def _mark(vm: DesiredVm, own: set[str]) -> DesiredVm:
    return replace(vm, disks=tuple(replace(disk, has_snapshots=disk.volume_id in own) for disk in vm.disks))
