"""Which app may have a volume: never two writers at once, unless the volume is meant for it. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from eaves.node.desired.model import DesiredApp, DesiredVolume
from eaves.node.volumes.model import VolumeKey, key_of

Owners = Mapping[str, Collection[VolumeKey]]
"""App id → volumes that it has."""


def find_rival(
    app: DesiredApp,
    volume: DesiredVolume,
    apps: Iterable[DesiredApp],
    running: Owners,
    held: Owners,
) -> str:
    """Name of the app that keeps ``app`` from writing to ``volume``; empty when it may have it.

    ``running``: app id → volumes of the apps that run, or are about to; ``held``: of all that have a container or machine. Who runs
    with the volume has it; then who had it last and is between two runs; then the one that the config names first.
    """
    key = key_of(volume)
    if volume.is_shared or volume.read_only or not writes_to(app, key):
        return ""
    known = {other.id: other for other in apps}
    active = {app_id: volumes for app_id, volumes in held.items() if app_id in known and known[app_id].activate}
    for owners in (running, active):
        if key in owners.get(app.id, ()):
            return ""
        for other_id, volumes in owners.items():
            other = known.get(other_id)
            # One that is no longer in the config is about to stop; whether it writes is not known any more.
            if key in volumes and (other is None or writes_to(other, key)):
                return other.name if other else other_id
    first = next((other for other in known.values() if other.activate and writes_to(other, key)), app)
    return first.name if first.id != app.id else ""


def writes_to(app: DesiredApp, key: VolumeKey) -> bool:
    """Whether ``app`` has the volume other than read only."""
    return any(VolumeKey(mount.volume_id, mount.generation) == key and not mount.read_only for mount in app.mounts)
