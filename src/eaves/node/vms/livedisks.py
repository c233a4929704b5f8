"""Disks that a running machine holds open, for the volumes to change: through QEMU, never the file behind its back."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from eaves.node.vms.session import Session


class MachineDisk:
    """``node`` is QEMU's name of the disk."""

    def __init__(self, session: Session, node: str) -> None:
        self._session = session
        self._node = node

    async def resize(self, size_bytes: int) -> None:
        """Let the disk grow; the guest sees it. Raises QmpError."""
        await self._session.command("block_resize", node_name=self._node, size=size_bytes)

    async def take_snapshot(self, name: str) -> None:
        """A snapshot inside of the qcow2 file. Raises QmpError."""
        await self._session.command("blockdev-snapshot-internal-sync", device=self._node, name=name)

    async def drop_snapshot(self, name: str) -> None:
        """Raises QmpError when there is none of that name."""
        await self._session.command("blockdev-snapshot-delete-internal-sync", device=self._node, name=name)


class MachineDisks:
    """``sessions``: those of the machines that run now."""

    def __init__(self, sessions: Callable[[], Iterable[Session]]) -> None:
        self._sessions = sessions

    def find(self, path: Path) -> MachineDisk | None:
        """The disk, or None when no machine that runs has it."""
        for session in self._sessions():
            if str(path) in session.disks:
                return MachineDisk(session, f"disk{session.disks.index(str(path))}")
        return None
