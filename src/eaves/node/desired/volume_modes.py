"""Which volumes are disks of virtual machines, and which are folders.

The config does not say it of the volume: it follows from who uses it.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from eaves.node.desired.draft import Draft
from eaves.node.desired.model import (
    AppKind,
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
    disks = {disk.volume_id for app in apps if app.vm is not None for disk in app.vm.disks}
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
    if app.kind is AppKind.VIRTUAL_MACHINE:
        return True
    wrong = next((mount.volume_id for mount in app.mounts if mount.volume_id in disks), None)
    if wrong is None:
        return True
    message = f"volume {volumes[wrong].name} is a disk of virtual machines, which a container cannot mount"
    resolution = "give the container a volume of its own"
    draft.add(ObjectKind.APP, app.id, app.name, "VolumeModeMismatch", message, resolution, is_fatal=True)
    return False
