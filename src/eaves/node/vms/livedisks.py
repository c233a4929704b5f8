"""Disks that a running machine holds open, for the volumes to change: through QEMU, never the file behind its back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path

from eaves.node.vms import saving
from eaves.node.vms.session import Session


class MachineDisk:
    """``node`` is QEMU's name of the disk."""

    def __init__(self, session: Session, node: str) -> None:
        self._session = session
        self._node = node

    async def resize(self, size_bytes: int) -> None:
        """Let the disk grow; the guest sees it. Raises QmpError."""
        async with self._session.disk_access:
            await self._session.command("block_resize", node_name=self._node, size=size_bytes)

    async def take_snapshot(self, name: str) -> None:
        """A snapshot inside of the qcow2 file. Raises QmpError."""
        async with self._session.disk_access:
            await self._session.command("blockdev-snapshot-internal-sync", device=self._node, name=name)

    async def drop_snapshot(self, name: str) -> None:
        """Raises QmpError when there is none of that name."""
        async with self._session.disk_access:
            await self._session.command("blockdev-snapshot-delete-internal-sync", device=self._node, name=name)


class Machine:
    """A machine whose disks are saved together."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def take_snapshots(self, disks: Sequence[Path], name: str) -> None:
        """Inside of each qcow2 file, all of one moment. Raises QmpError; then there are none."""
        async with self._session.disk_access:
            await saving.take_snapshots(self._session, self._nodes(disks), name)

    async def save(self, disks: Sequence[Path], name: str, folder: Path) -> None:
        """The same with the machine's memory, in ``folder``. Raises EavesError or OSError; then there are no snapshots."""
        await saving.save_machine(self._session, self._nodes(disks), name, folder)

    def _nodes(self, disks: Sequence[Path]) -> list[str]:
        return [name_node(self._session, path) for path in disks]


class MachineDisks:
    """``sessions``: those of the machines that run now; ``want_resumed``: see the method."""

    def __init__(
        self,
        sessions: Callable[[], Iterable[Session]],
        want_resumed: Callable[[str, Path], Awaitable[None]],
    ) -> None:
        self._sessions = sessions
        self._want_resumed = want_resumed

    def find(self, path: Path) -> MachineDisk | None:
        """The disk, or None when no machine that runs has it."""
        session = self._find([path])
        return MachineDisk(session, name_node(session, path)) if session is not None else None

    def find_machine(self, disks: Sequence[Path]) -> Machine | None:
        """The machine that runs with all of these disks."""
        session = self._find(disks)
        return Machine(session) if session is not None else None

    async def want_resumed(self, app_id: str, folder: Path) -> None:
        """At its next start, and once, the machine goes on from what :meth:`Machine.save` left in ``folder``. Raises OSError."""
        await self._want_resumed(app_id, folder)

    def _find(self, disks: Sequence[Path]) -> Session | None:
        return next((found for found in self._sessions() if all(str(path) in found.disks for path in disks)), None)


def name_node(session: Session, path: Path) -> str:
    """What QEMU calls the disk."""
    return f"disk{session.disks.index(str(path))}"
