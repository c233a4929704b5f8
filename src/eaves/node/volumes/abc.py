"""The seams of volumes to what others own: images to fill them from, virtual machines that hold disks open, the vault."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from eaves.node.desired.model import DesiredVolume


class DiskSource(Struct, frozen=True):
    """A disk image that is here whole. ``format``: as qemu names it (raw, qcow2, vmdk, vhdx, vpc)."""

    path: Path
    format: str


class VolumeSources(Protocol):
    """Where the first content of volumes comes from. Owned by the images."""

    def is_here(self, image_id: str) -> bool:
        """Whether the image has been fetched and verified."""

    def disk(self, image_id: str) -> DiskSource | None:
        """The disk image, or None while it is not here."""

    def open_tree(self, image_id: str) -> AbstractAsyncContextManager[Path]:
        """The root folder of a container image, to be read within the context. Raises EavesError."""


class LiveDisk(Protocol):
    """A disk that a running virtual machine holds open: its file must be changed through the machine alone.

    Each raises EavesError; what was done before stays done.
    """

    async def resize(self, size_bytes: int) -> None:
        """Let the disk grow; the guest sees it."""

    async def take_snapshot(self, name: str) -> None:
        """A snapshot inside of the qcow2 file, named ``name``."""

    async def drop_snapshot(self, name: str) -> None:
        """Remove a snapshot of that name."""


class LiveMachine(Protocol):
    """A running virtual machine that holds several disks open. Each raises EavesError or OSError; then there is no snapshot."""

    async def take_snapshots(self, disks: Sequence[Path], name: str) -> None:
        """A snapshot named ``name`` inside of each qcow2 file, all of one moment."""

    async def save(self, disks: Sequence[Path], name: str, folder: Path) -> None:
        """The same, and in ``folder`` what the machine needs to go on from that moment."""


class LiveDisks(Protocol):
    """The disks of running virtual machines. Owned by their engine."""

    def find(self, path: Path) -> LiveDisk | None:
        """The disk, or None when no machine that runs has it."""

    def find_machine(self, disks: Sequence[Path]) -> LiveMachine | None:
        """The machine that runs with all of these disks."""

    async def want_resumed(self, app_id: str, folder: Path) -> None:
        """At its next start, and once, the machine goes on from what ``LiveMachine.save`` left. Raises OSError."""


class VolumeVault(Protocol):
    """Where volumes are kept: the seam for encryption at rest.

    A vault gives encrypted volumes a folder that only an unlocked machine can read. A volume stays in the folder it was made in.
    """

    def folders(self) -> Sequence[Path]:
        """All folders that can be read now; none twice."""

    def folder_for(self, volume: DesiredVolume) -> Path | None:
        """Where to make ``volume``; None while the vault is locked."""

    def is_encrypted(self, folder: Path) -> bool:
        """Whether what is in ``folder`` is encrypted at rest."""


class VolumeUsers(Struct, frozen=True):
    """Which apps have which volumes: app id → last parts of the volumes' paths.

    ``held``: of every app with a container or machine, running or not. ``in_use``: of those that run, or are about to.
    ``is_whole``: nothing is missing, as it is while the daemon starts. ``updating``: apps that stand still for an update, until the
    snapshots that belong before it are taken.
    """

    held: Mapping[str, Sequence[str]] = {}
    in_use: Mapping[str, Sequence[str]] = {}
    is_whole: bool = True
    updating: frozenset[str] = frozenset()
