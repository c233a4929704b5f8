"""Which volumes to make, keep and delete. Pure.

Deleting is the one thing here that cannot be undone: a volume goes only when no config has asked for it for the whole grace
period, and no container mounts it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from msgspec import Struct

from eaves.node.desired.model import DesiredApp, DesiredVolume

GRACE_S = 3600.0
"""Default of the config item ``timer.gc.vdisk``."""
GRACE_ITEM = "timer.gc.vdisk"

_NAME = re.compile(r"([A-Za-z0-9-]{1,64})#(\d{1,10})")


class VolumeKey(Struct, frozen=True, order=True):
    id: str
    generation: int

    @property
    def folder(self) -> str:
        return f"{self.id}#{self.generation}"


class VolumesState(Struct):
    """Folder name → Unix seconds since when no config asks for it."""

    unwanted_since: dict[str, float] = {}


class VolumesPlan(Struct, frozen=True):
    make: tuple[DesiredVolume, ...]
    delete: tuple[VolumeKey, ...]
    state: VolumesState
    next_in_s: float
    """When the next deletion is due, 0 = none."""


def parse_folder(name: str) -> VolumeKey | None:
    match = _NAME.fullmatch(name)
    return VolumeKey(match.group(1), int(match.group(2))) if match else None


def want_folders(volumes: Iterable[DesiredVolume], apps: Iterable[DesiredApp]) -> dict[VolumeKey, DesiredVolume]:
    """Volumes that are folders here. A root volume lives in podman's storage, not here."""
    roots = {(app.root_volume_id, app.root_generation) for app in apps}
    return {
        VolumeKey(volume.id, volume.generation): volume
        for volume in volumes
        if not volume.image_id and (volume.id, volume.generation) not in roots
    }


def plan_volumes(
    wanted: Mapping[VolumeKey, DesiredVolume],
    present: Iterable[str],
    in_use: Iterable[str],
    state: VolumesState,
    *,
    now: float,
    grace_s: float,
) -> VolumesPlan:
    """``present`` and ``in_use`` are folder names. A clock that went back only makes a deletion later."""
    present = set(present)
    used = set(in_use)
    wanted_names = {key.folder for key in wanted}
    make = tuple(volume for key, volume in sorted(wanted.items()) if key.folder not in present)
    since: dict[str, float] = {}
    delete: list[VolumeKey] = []
    waits: list[float] = []
    for name in sorted(present - wanted_names):
        key = parse_folder(name)
        if key is None:
            continue
        first = min(state.unwanted_since.get(name, now), now)
        since[name] = first
        left = first + grace_s - now
        if name in used:
            waits.append(max(left, 1.0))
        elif left <= 0:
            delete.append(key)
        else:
            waits.append(left)
    return VolumesPlan(make, tuple(delete), VolumesState(since), min(waits, default=0.0))


def parse_grace_s(items: Mapping[str, str]) -> float:
    """The config item in seconds; what is no number counts as not given."""
    text = items.get(GRACE_ITEM, "")
    return float(text) if text.isascii() and text.isdecimal() else GRACE_S
