"""Which volumes are disks of virtual machines, and which are folders.

The config does not say it of the volume: it follows from who uses it.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from eaves.node.desired.draft import Draft
from eaves.node.desired.model import (
    DesiredApp,
    DesiredImage,
    DesiredVolume,
    ObjectKind,
    VolumeMode,
)
from eaves.node.desired.vms import DISK_FORMATS


def assign_modes(
    volumes: Mapping[str, DesiredVolume],
    images: Mapping[str, DesiredImage],
    apps: tuple[DesiredApp, ...],
    draft: Draft,
) -> tuple[tuple[DesiredVolume, ...], tuple[DesiredApp, ...]]:
    """The volumes with their modes, and the apps that can use them so.

    A volume made from a disk image, or that a virtual machine has, is a disk; a container that would mount it is left out.
    """
    folders = {volume.id for volume in volumes.values() if volume.is_explicit and volume.mode is VolumeMode.FILESYSTEM}
    disks = {disk.volume_id for app in apps if app.vm is not None for disk in app.vm.disks} - folders
    disks |= {volume.id for volume in volumes.values() if volume.mode is VolumeMode.BLOCK}
    disks |= {
        volume.id
        for volume in volumes.values()
        if (image := images.get(volume.image_id)) is not None and image.format in DISK_FORMATS
    }
    modes = tuple(
        replace(volume, mode=VolumeMode.BLOCK) if volume.id in disks else volume for volume in volumes.values()
    )
    return modes, tuple(app for app in apps if _can_use(app, disks, volumes, draft))


def _can_use(app: DesiredApp, disks: set[str], volumes: Mapping[str, DesiredVolume], draft: Draft) -> bool:
    if app.vm is not None:
        wrong = next((disk.volume_id for disk in app.vm.disks if disk.volume_id not in disks), None)
        message = "volume {} is a filesystem, which a virtual machine cannot have as a disk"
        resolution = "give the machine a volume of mode Block"
    else:
        wrong = next((mount.volume_id for mount in app.mounts if mount.volume_id in disks), None)
        message = "volume {} is a disk of virtual machines, which a container cannot mount"
        resolution = "give the container a volume of its own"
    if wrong is None:
        return True
    message = message.format(volumes[wrong].name)
    draft.add(ObjectKind.APP, app.id, app.name, "VolumeModeMismatch", message, resolution, is_fatal=True)
    return False
