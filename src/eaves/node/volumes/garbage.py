"""Which volumes nobody wants any more. Pure.

Deleting is the one thing here that cannot be undone: a volume goes only when no config has named it for the whole grace period, no
app has it, and no volume that is still to be made copies from it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from msgspec import Struct

from eaves.node.volumes.model import VolumeKey, parse_key

GRACE_S = 3600.0
"""Default of the config item ``timer.gc.vdisk``."""
GRACE_ITEM = "timer.gc.vdisk"


class GarbagePlan(Struct, frozen=True):
    """``next_in_s``: when the next deletion is due, 0 = none."""

    delete: tuple[VolumeKey, ...]
    unwanted_since: dict[str, float]
    next_in_s: float


def plan_garbage(
    present: Iterable[VolumeKey],
    *,
    wanted: Collection[VolumeKey],
    in_use: Collection[VolumeKey],
    unwanted_since: Mapping[str, float],
    now: float,
    grace_s: float,
) -> GarbagePlan:
    """``wanted``: everything that the config names or that something in it is made from. A clock that went back only delays."""
    since: dict[str, float] = {}
    delete: list[VolumeKey] = []
    waits: list[float] = []
    for key in sorted(set(present) - set(wanted)):
        first = min(unwanted_since.get(key.folder, now), now)
        since[key.folder] = first
        left = first + grace_s - now
        if key in in_use:
            waits.append(max(left, 1.0))
        elif left <= 0:
            delete.append(key)
        else:
            waits.append(left)
    return GarbagePlan(tuple(delete), since, min(waits, default=0.0))


def parse_users(names: Iterable[str]) -> set[VolumeKey]:
    """The volumes of what apps mount, by the last parts of the paths."""
    return {key for name in names if (key := parse_key(name)) is not None}


def parse_grace_s(items: Mapping[str, str]) -> float:
    """The config item in seconds; what is no number counts as not given."""
    text = items.get(GRACE_ITEM, "")
    return float(text) if text.isascii() and text.isdecimal() else GRACE_S
