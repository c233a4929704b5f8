"""What can be done to one volume: the plan's words. Each is done whole or not at all, and can be done again."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from eaves.node.volumes.abc import DiskSource
from eaves.node.volumes.model import Enforcement, Form, Seen, VolumeKey


class Make(Struct, frozen=True, tag=True):
    """Filled from ``image_id`` (``disk``: its file, when it is a disk image), or from ``copy``, or blank.

    ``copy_snapshot`` empty = what the copied volume holds now. ``size_bytes`` 0 = the size of what it is filled from.
    """

    key: VolumeKey
    base: Path
    form: Form
    enforcement: Enforcement
    size_bytes: int
    image_id: str = ""
    disk: DiskSource | None = None
    copy: Seen | None = None
    copy_snapshot: str = ""


class Mount(Struct, frozen=True, tag=True):
    key: VolumeKey


class Grow(Struct, frozen=True, tag=True):
    """``is_offline``: the file system is taken down for it, so no app may have it meanwhile."""

    key: VolumeKey
    size_bytes: int
    is_offline: bool = False


class TakeSnapshot(Struct, frozen=True, tag=True):
    key: VolumeKey
    snapshot_id: str


class TakeSet(Struct, frozen=True, tag=True):
    """Snapshots of all the disks of a machine at one moment. ``key`` is the first of ``members``."""

    key: VolumeKey
    members: tuple[VolumeKey, ...]
    snapshot_id: str
    with_memory: bool = False


class DropSnapshot(Struct, frozen=True, tag=True):
    key: VolumeKey
    snapshot_id: str


class RollBack(Struct, frozen=True, tag=True):
    """No app may have the volume meanwhile."""

    key: VolumeKey
    snapshot_id: str
    counter: int
    resumes: str = ""
    """Id of the app whose memory was saved with it and goes on from there; empty = none."""


class Repair(Struct, frozen=True, tag=True):
    """Bring in order what a crash may have left inside of the disk's file."""

    key: VolumeKey


Action = Make | Mount | Grow | TakeSnapshot | TakeSet | DropSnapshot | RollBack | Repair


class Wait(Struct, frozen=True):
    """Why something cannot be done at the moment. ``snapshot_id``: what it is about, empty = the volume."""

    code: str
    message: str
    resolution: str
    snapshot_id: str = ""


def name_work(action: Action) -> str:
    """Tells one kind of work on a volume from another, for what is remembered of its failures."""
    snapshot = getattr(action, "snapshot_id", "")
    kind = TakeSnapshot if isinstance(action, TakeSet) else type(action)
    return f"{kind.__name__} {snapshot}".rstrip()


def list_keys(action: Action) -> tuple[VolumeKey, ...]:
    """The volumes that it works on."""
    return action.members if isinstance(action, TakeSet) else (action.key,)


IN_PLACE = (Grow, TakeSnapshot, TakeSet, DropSnapshot, RollBack)
"""What changes a qcow2 file in place and so leaves something to repair when it is cut short."""
EXCLUSIVE = (RollBack, Repair)
"""What must not meet an app that starts."""
