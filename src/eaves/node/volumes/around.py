"""What is around the volumes at the moment, as their plans see it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from eaves.node.volumes.abc import DiskSource
from eaves.node.volumes.model import Seen, StorageFacts, VolumeKey


class Surroundings(Struct, frozen=True, kw_only=True):
    """What is around the volumes at the moment.

    ``seen``: every volume on disk. ``users``: names of the apps that run with a volume, or are about to. ``live``: volumes that a
    running virtual machine can change itself. ``bases``: where a volume would be made; one without waits for the vault.
    ``disks`` and ``trees``: images that are here, by id; ``disk_images``: all disk images of the config. ``mounted``: volumes
    that containers mount besides their roots.
    """

    facts: StorageFacts = StorageFacts()
    seen: Mapping[VolumeKey, Seen] = {}
    users: Mapping[VolumeKey, tuple[str, ...]] = {}
    live: frozenset[VolumeKey] = frozenset()
    bases: Mapping[VolumeKey, Path] = {}
    disks: Mapping[str, DiskSource] = {}
    trees: frozenset[str] = frozenset()
    disk_images: frozenset[str] = frozenset()
    mounted: frozenset[VolumeKey] = frozenset()
    copied_snapshots: frozenset[str] = frozenset()
    """Snapshots that volumes which are still to be made copy."""
    taken: Mapping[VolumeKey, tuple[str, ...]] = {}
    """Snapshots that are on record as taken."""
    updating: frozenset[str] = frozenset()
    """Ids of apps that stand still for an update."""


def join_users(users: tuple[str, ...]) -> str:
    return ", ".join(f"app {name}" for name in users)
