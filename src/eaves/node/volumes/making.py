"""How to make a volume that is missing, or what it waits for. Pure."""

from __future__ import annotations

from eaves.node.desired.model import DesiredVolume, DiskFormat, VolumeMode
from eaves.node.volumes.actions import Make, Wait
from eaves.node.volumes.around import Surroundings
from eaves.node.volumes.model import Enforcement, Form, Seen, VolumeKey, key_of
from eaves.node.volumes.plan import VolumePlan, find_excess

LEAST_IMAGE_BYTES = 1 << 20
"""A file system of its own needs so much."""


def is_needed(volume: DesiredVolume, around: Surroundings) -> bool:
    """Whether to make the volume at all. The root of a container is made with the container, by its engine."""
    is_tree = bool(volume.image_id) and volume.mode is VolumeMode.FILESYSTEM
    return not is_tree or volume.is_explicit or key_of(volume) in around.mounted


def plan_missing(volume: DesiredVolume, around: Surroundings) -> VolumePlan:
    """The one action that makes it, or why not yet."""
    found = _want_making(volume, around)
    return VolumePlan((found,)) if isinstance(found, Make) else VolumePlan(waits=(found,))


def plan_unmade(volume: DesiredVolume, around: Surroundings) -> VolumePlan:
    """Of one that is not to be made: it counts as there as soon as its image is."""
    if volume.image_id in around.trees:
        return VolumePlan(is_usable=True)
    return VolumePlan(waits=(_say_image(volume),))


def _want_making(volume: DesiredVolume, around: Surroundings) -> Make | Wait:
    key = key_of(volume)
    base = around.bases.get(key)
    if base is None:
        return Wait("VaultLocked", f"volume {volume.name} waits for the vault", "see why the vault is not open")
    if excess := find_excess(volume, around.facts):
        return excess
    if volume.copy_of:
        return _want_copy(volume, key, around)
    if volume.mode is VolumeMode.BLOCK:
        return _want_disk(volume, key, around)
    return _want_filesystem(volume, key, around)


def _want_disk(volume: DesiredVolume, key: VolumeKey, around: Surroundings) -> Make | Wait:
    form = Form.RAW if volume.format is DiskFormat.RAW else Form.QCOW2
    base = around.bases[key]
    if not volume.image_id:
        if not volume.size_bytes:
            return Wait("VolumeSizeMissing", f"block volume {volume.name} has neither size nor image", "give it a size")
        return Make(key, base, form, Enforcement.DISK, volume.size_bytes)
    if volume.image_id not in around.disk_images:
        message = f"block volume {volume.name} is to be made from a container image"
        return Wait("VolumeImageUnsuitable", message, "name a disk image, or make it a filesystem volume")
    disk = around.disks.get(volume.image_id)
    if disk is None:
        return _say_image(volume)
    return Make(key, base, form, Enforcement.DISK, volume.size_bytes, volume.image_id, disk)


def _want_filesystem(volume: DesiredVolume, key: VolumeKey, around: Surroundings) -> Make | Wait:
    if volume.image_id in around.disk_images:
        message = f"filesystem volume {volume.name} is to be made from a disk image"
        return Wait("VolumeImageUnsuitable", message, "name a container image, or make it a block volume")
    if volume.image_id and volume.image_id not in around.trees:
        return _say_image(volume)
    form, enforcement = want_form(volume.size_bytes, around)
    return Make(key, around.bases[key], form, enforcement, volume.size_bytes, volume.image_id)


def want_form(size_bytes: int, around: Surroundings) -> tuple[Form, Enforcement]:
    """How a filesystem volume of this size is kept here: by quota where the node's file system has them, else by an image."""
    if not size_bytes:
        return Form.FOLDER, Enforcement.WATCHED
    if around.facts.has_quota:
        return Form.FOLDER, Enforcement.QUOTA
    if around.facts.has_loop and size_bytes >= LEAST_IMAGE_BYTES:
        return Form.EXT4, Enforcement.IMAGE
    return Form.FOLDER, Enforcement.WATCHED


def _want_copy(volume: DesiredVolume, key: VolumeKey, around: Surroundings) -> Make | Wait:
    """A copy has the form of what it is copied from."""
    source = _find_source(volume.copy_of, around)
    if source is None:
        message = f"volume {volume.name} waits for the volume that it is copied from"
        return Wait("SourceVolumeMissing", message, "make the source volume on the same node")
    snapshot = volume.copy_of_snapshot
    if snapshot and snapshot not in source.snapshots:
        message = f"volume {volume.name} waits for the snapshot that it is made from"
        return Wait("SnapshotMissing", message, "see the state of the snapshot")
    if not snapshot and (users := around.users.get(source.key)):
        names = ", ".join(f"app {name}" for name in users)
        message = f"volume {volume.name} is copied when {names} has stopped"
        return Wait("VolumeInUse", message, f"stop {names}, or copy a snapshot")
    enforcement = source.enforcement
    if source.form is Form.FOLDER:
        has_limit = around.facts.has_quota and volume.size_bytes
        enforcement = Enforcement.QUOTA if has_limit else Enforcement.WATCHED
    size_bytes = max(volume.size_bytes, 0 if source.form is Form.FOLDER else source.size_bytes)
    return Make(
        key, around.bases[key], source.form, enforcement, size_bytes, copy=source, copy_snapshot=snapshot
    )  # fmt: skip


def _find_source(volume_id: str, around: Surroundings) -> Seen | None:
    """The newest generation of the volume."""
    found = [seen for key, seen in around.seen.items() if key.id == volume_id]
    return max(found, key=lambda seen: seen.key.generation, default=None)


def _say_image(volume: DesiredVolume) -> Wait:
    return Wait("ImageAwaited", f"volume {volume.name} waits for its image", "see the state of the image")
