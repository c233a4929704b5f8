"""What is around the volumes, put together for the plan. Called by ``service``; asks its collaborators, does no I/O of its own."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from eaves.node.desired.model import AppKind, DesiredNode, ImageFormat
from eaves.node.volumes.abc import VolumeSources, VolumeVault
from eaves.node.volumes.around import Surroundings
from eaves.node.volumes.model import Seen, StorageFacts, VolumeKey, key_of, parse_key
from eaves.node.volumes.plan import VolumeRecord


def want_surroundings(
    desired: DesiredNode,
    facts: StorageFacts,
    seen: Mapping[VolumeKey, Seen],
    sources: VolumeSources,
    vault: VolumeVault,
    users: Mapping[VolumeKey, tuple[str, ...]],
    live: frozenset[VolumeKey],
    records: Mapping[str, VolumeRecord],
    updating: frozenset[str],
) -> Surroundings:
    """``records`` by the volume's name."""
    disk_images = frozenset(image.id for image in desired.images if image.format is not ImageFormat.CONTAINER)
    disks = {image_id: found for image_id in disk_images if (found := sources.disk(image_id)) is not None}
    trees = (image.id for image in desired.images if image.id not in disk_images and sources.is_here(image.id))
    bases: dict[VolumeKey, Path] = {}
    for volume in desired.volumes:
        if (base := vault.folder_for(volume)) is not None:
            bases[key_of(volume)] = base
    return Surroundings(
        facts=facts,
        seen=seen,
        users=users,
        live=live,
        bases=bases,
        disks=disks,
        trees=frozenset(trees),
        disk_images=disk_images,
        mounted=frozenset(
            VolumeKey(mount.volume_id, mount.generation)
            for app in desired.apps
            if app.kind is AppKind.CONTAINER
            for mount in app.mounts
        ),
        copied_snapshots=frozenset(
            volume.copy_of_snapshot
            for volume in desired.volumes
            if volume.copy_of_snapshot and key_of(volume) not in seen
        ),
        taken={key: record.taken for name, record in records.items() if (key := parse_key(name)) is not None},
        updating=updating,
    )


def list_needed(desired: DesiredNode, present: Collection[VolumeKey]) -> set[VolumeKey]:
    """Every volume that the config names, and those that volumes which are still to be made are copied from."""
    needed = {key_of(volume) for volume in desired.volumes}
    origins = {volume.copy_of for volume in desired.volumes if volume.copy_of and key_of(volume) not in present}
    return needed | {key for key in present if key.id in origins}
