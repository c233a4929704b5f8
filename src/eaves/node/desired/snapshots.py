"""Snapshots of apps as snapshots of their volumes, which the volumes take, keep, and go back to.

Of a machine they are of its disks, of a container of what it mounts; the root of a container is made anew from its image. All parts of
one are of the same moment (:class:`~eaves.node.desired.model.SnapshotSet`). A Volume object outlives apps and has snapshots of its own,
so it is not among an app's: a machine that writes to one cannot have its memory saved, for what the memory knows of that disk would be
wrong after going back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from eaves.node.desired.model import DesiredApp, DesiredVolume, SnapshotSet, VolumeRollback, VolumeSnapshotWish
from eaves.node.desired.vm_model import DesiredSnapshot, DiskDevice, SnapshotTrigger


def hand_down_snapshots(
    volumes: Sequence[DesiredVolume], apps: Sequence[DesiredApp]
) -> tuple[tuple[DesiredVolume, ...], tuple[DesiredApp, ...]]:
    """The volumes with what their apps ask of them, and the apps with the marks of those that have snapshots."""
    found = {volume.id: volume for volume in volumes}
    taken: set[str] = set()
    marked = []
    for app in apps:
        written = _list_written(app)
        own = {volume_id for volume_id in written if not found[volume_id].is_explicit} - taken
        taken |= own
        sets = {snapshot.id: _want_set(app, snapshot, written, own, found) for snapshot in app.snapshots.wanted}
        for volume_id in own:
            found[volume_id] = _ask(found[volume_id], app, sets)
        marked.append(_mark(app, own))
    return tuple(found.values()), tuple(marked)


def _list_written(app: DesiredApp) -> list[str]:
    """Ids of the volumes that the app writes to, the root disk of a machine first, for its memory lies beside it."""
    if app.vm is None:
        return list(dict.fromkeys(mount.volume_id for mount in app.mounts if not mount.read_only))
    disks = [disk for disk in app.vm.disks if disk.device is DiskDevice.DISK and not disk.read_only]
    return [disk.volume_id for disk in sorted(disks, key=lambda disk: not disk.is_root)]


def _want_set(
    app: DesiredApp,
    snapshot: DesiredSnapshot,
    written: Sequence[str],
    own: set[str],
    volumes: Mapping[str, DesiredVolume],
) -> SnapshotSet:
    at_update = snapshot.trigger is SnapshotTrigger.APP_UPDATE
    problem = ""
    if snapshot.with_memory:
        foreign = [volumes[volume_id].name for volume_id in written if volume_id not in own]
        if app.vm is None:
            problem = "the memory of a container is not saved"
        elif at_update:
            problem = "memory is saved of a machine that runs, and before an update it has stopped"
        elif foreign:
            problem = f"memory cannot be saved while the machine writes to Volume {foreign[0]}, which has snapshots of its own"
    members = tuple((volume_id, volumes[volume_id].generation) for volume_id in written if volume_id in own)
    return SnapshotSet(app.id, members, snapshot.with_memory, at_update, problem)


def _ask(volume: DesiredVolume, app: DesiredApp, sets: Mapping[str, SnapshotSet]) -> DesiredVolume:
    """The order to go back is always there: a volume obeys only one that follows another."""
    orders = app.snapshots
    wishes = tuple(
        VolumeSnapshotWish(snapshot.id, snapshot.name or snapshot.id, sets[snapshot.id]) for snapshot in orders.wanted
    )
    rollback = VolumeRollback(orders.active_id, orders.rollback_counter, sets.get(orders.active_id))
    return replace(volume, snapshots=wishes, snapshots_limit=orders.max_count, rollback=rollback)


def _mark(app: DesiredApp, own: set[str]) -> DesiredApp:
    if app.vm is None:
        return replace(app, snapshots=replace(app.snapshots, volumes=tuple(sorted(own))))
    disks = tuple(replace(disk, has_snapshots=disk.volume_id in own) for disk in app.vm.disks)
    return replace(app, vm=replace(app.vm, disks=disks))
