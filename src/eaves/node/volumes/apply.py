"""Does one action to one volume. A new volume has a name only when it is whole; what a crash leaves bears a name that is none."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path

from eaves.kit import files, process
from eaves.kit.errors import EavesError
from eaves.node import mounts
from eaves.node.errors import StorageFullError, is_storage_full
from eaves.node.volumes import disk, extimage, quota, tools, tree
from eaves.node.volumes.abc import LiveDisks, LiveMachine, VolumeSources
from eaves.node.volumes.actions import Action, DropSnapshot, Grow, Make, Mount, Repair, RollBack, TakeSet, TakeSnapshot
from eaves.node.volumes.errors import MachineGoneError, VolumeTooSmallError
from eaves.node.volumes.model import DELETING, MAKING, SNAPSHOTS, Enforcement, Form, Seen, want_file

_STILL_LIMIT_S = 60.0
"""The longest that an app's writes are held up by a snapshot."""
_SPARE_BYTES = 1 << 20


class Workshop:
    """``sources`` give images, ``live`` the disks of running virtual machines."""

    def __init__(self, sources: VolumeSources, live: LiveDisks) -> None:
        self._sources = sources
        self.live = live

    async def do(self, action: Action, seen: Seen | None) -> None:
        """Raises EavesError or OSError; then the volume is as before. ``seen``: the volume of every action but Make."""
        if isinstance(action, Make):
            await self._make(action)
            return
        assert seen is not None
        match action:
            case Mount():
                await asyncio.to_thread(seen.path.mkdir, exist_ok=True)
                await extimage.mount_image(seen.file, seen.path)
            case Grow():
                await self._grow(seen, action)
            case TakeSnapshot():
                await self._take_snapshot(seen, action.snapshot_id)
            case DropSnapshot():
                await self._drop_snapshot(seen, action.snapshot_id)
            case RollBack():
                await self._roll_back(seen, action)
            case Repair():
                await _repair(seen)

    async def _make(self, action: Make) -> None:
        async with _new_name(action.base, f"{action.key.folder}.{action.form}") as path:
            if action.form.is_block:
                await self._make_disk(action, path)
            elif action.form is Form.EXT4:
                await self._make_image(action, path)
            else:
                await self._make_folder(action, path)
            target = want_file(action.base, action.key, action.form)
            await asyncio.to_thread(_put, path, target)

    async def _make_disk(self, action: Make, path: Path) -> None:
        if action.copy is not None and action.form is Form.RAW and action.copy_snapshot:
            await tree.copy_file(action.copy.snapshot_path(action.copy_snapshot), path)
            await disk.resize(path, action.form, max(action.size_bytes, action.copy.size_bytes))
        elif action.copy is not None:
            source = action.copy.file
            await disk.copy_disk(
                path, action.form, source, snapshot=action.copy_snapshot, size_bytes=action.size_bytes
            )  # fmt: skip
        elif action.disk is not None:
            await disk.fill_from_image(path, action.form, action.disk, action.size_bytes)
        else:
            await disk.make_blank(path, action.form, action.size_bytes)
        await asyncio.to_thread(tree.sync_file, path)

    async def _make_image(self, action: Make, path: Path) -> None:
        try:
            await self._try_image(action, path)
        except (process.ProcessError, OSError) as error:
            # Inside of the image a full disk shows as a failed write.
            if await asyncio.to_thread(_has_room, action.base):
                raise
            raise StorageFullError(f"no room for volume {action.key.folder}") from error

    async def _try_image(self, action: Make, path: Path) -> None:
        if action.copy is not None:
            # The plan lets the file system grow once it is mounted.
            await _copy_image(_want_origin(action, action.copy), path, None if action.copy_snapshot else action.copy)
            return
        await extimage.make_image(path, action.size_bytes)
        if action.image_id:
            async with extimage.mounted(path, path.with_suffix(".mount")) as folder:
                await self._fill_folder(action, folder)
        await asyncio.to_thread(tree.sync_file, path)

    async def _make_folder(self, action: Make, path: Path) -> None:
        await asyncio.to_thread(_make_folder, path, _want_limit(action))
        if action.copy is not None:
            await tree.copy_tree(_want_origin(action, action.copy), path)
        elif action.image_id:
            await self._fill_folder(action, path)

    async def _fill_folder(self, action: Make, folder: Path) -> None:
        try:
            async with self._sources.open_tree(action.image_id) as root:
                await tree.copy_tree(root, folder)
        except (process.ProcessError, OSError) as error:
            if is_storage_full(error) and action.size_bytes and await asyncio.to_thread(_has_room, action.base):
                raise VolumeTooSmallError(
                    f"the image does not fit into {action.size_bytes} bytes", resolution="give the volume more room"
                ) from error
            raise

    async def _grow(self, seen: Seen, action: Grow) -> None:
        size_bytes = action.size_bytes
        if seen.form.is_block:
            live = self.live.find(seen.file)
            if live is not None:
                await live.resize(size_bytes)
            else:
                await disk.resize(seen.file, seen.form, size_bytes)
        elif action.is_offline:
            await extimage.take_down(seen.file, seen.path)
            # resize2fs that is cut short leaves a file system that nothing mends, unlike the kernel's own growth.
            async with _new_name(seen.base, seen.file.name) as path:
                await tree.copy_file(seen.file, path)
                await extimage.grow_unmounted(path, size_bytes)
                await asyncio.to_thread(tree.sync_file, path)
                await asyncio.to_thread(_put, path, seen.file)
        elif seen.form is Form.EXT4:
            await extimage.grow_image(seen.file, seen.path, size_bytes)
        else:
            await asyncio.to_thread(_save_limit, seen.path, size_bytes)

    async def _take_snapshot(self, seen: Seen, snapshot_id: str) -> None:
        if seen.form is Form.QCOW2:
            live = self.live.find(seen.file)
            if live is not None:
                await live.take_snapshot(disk.name_snapshot(snapshot_id))
            else:
                await disk.take_snapshot(seen.file, snapshot_id)
            return
        await asyncio.to_thread(files.want_folder, seen.snapshots_folder)
        async with _new_name(seen.snapshots_folder, snapshot_id) as path:
            if seen.form is Form.FOLDER:
                await asyncio.to_thread(path.mkdir)
                await tree.copy_tree(seen.path, path)
            else:
                await _copy_image(seen.file, path, seen, limit_s=_STILL_LIMIT_S)
            await asyncio.to_thread(_put, path, seen.snapshot_path(snapshot_id))

    async def take_set(self, action: TakeSet, members: Sequence[Seen]) -> None:
        """Snapshots of several disks at one moment. Raises EavesError or OSError; what was done before then goes."""
        paths = [seen.file for seen in members]
        machine = self.live.find_machine(paths)
        if machine is None:
            if action.with_memory:
                raise MachineGoneError("the machine has stopped meanwhile", element=action.key.folder)
            try:
                for seen in members:
                    await self._take_snapshot(seen, action.snapshot_id)
            except (EavesError, OSError):
                await self._drop_parts(action, members)
                raise
        elif action.with_memory:
            await self._save_machine(machine, action, members[0], paths)
        else:
            await machine.take_snapshots(paths, disk.name_snapshot(action.snapshot_id))

    async def _save_machine(self, machine: LiveMachine, action: TakeSet, first: Seen, paths: Sequence[Path]) -> None:
        await asyncio.to_thread(files.want_folder, first.snapshots_folder)
        async with _new_name(first.snapshots_folder, action.snapshot_id) as path:
            await asyncio.to_thread(path.mkdir, mode=0o700)
            await machine.save(paths, disk.name_snapshot(action.snapshot_id), path)
            await asyncio.to_thread(_put, path, first.snapshot_path(action.snapshot_id))

    async def _drop_parts(self, action: TakeSet, members: Sequence[Seen]) -> None:
        for seen in members:
            # Those that were not reached have none.
            with contextlib.suppress(EavesError, OSError):
                await self._drop_snapshot(seen, action.snapshot_id)

    async def _drop_snapshot(self, seen: Seen, snapshot_id: str) -> None:
        if seen.form is Form.QCOW2:
            part = seen.snapshots.get(snapshot_id)
            if part is not None and part.has_memory:
                # First: without its disk it is worth nothing, and nobody would find it.
                await asyncio.to_thread(_delete, seen.snapshot_path(snapshot_id))
            live = self.live.find(seen.file)
            if live is not None:
                await live.drop_snapshot(disk.name_snapshot(snapshot_id))
            else:
                await disk.drop_snapshot(seen.file, snapshot_id)
            return
        await asyncio.to_thread(_delete, seen.snapshot_path(snapshot_id))

    async def _roll_back(self, seen: Seen, action: RollBack) -> None:
        snapshot_id = action.snapshot_id
        if seen.form is Form.QCOW2:
            await disk.roll_back(seen.file, snapshot_id)
            if action.resumes:
                await self.live.want_resumed(action.resumes, seen.snapshot_path(snapshot_id))
            return
        source = seen.snapshot_path(snapshot_id)
        async with _new_name(seen.base, f"{seen.key.folder}.{seen.form}") as path:
            if seen.form is Form.FOLDER:
                limit_bytes = seen.size_bytes if seen.enforcement is Enforcement.QUOTA else 0
                await asyncio.to_thread(_make_folder, path, limit_bytes)
                await tree.copy_tree(source, path)
                await asyncio.to_thread(tree.exchange, path, seen.path)
                return
            await tree.copy_file(source, path)
            if seen.is_mounted:
                await extimage.unmount(seen.path)
            await asyncio.to_thread(_put, path, seen.file)

    async def delete(self, seen: Seen) -> None:
        """The volume with its snapshots. First it loses its name, so that a half-deleted one can never be taken for it."""
        if seen.is_mounted:
            await extimage.unmount(seen.path)
        await asyncio.to_thread(_delete_all, seen)


@contextlib.asynccontextmanager
async def _new_name(base: Path, name: str) -> AsyncIterator[Path]:
    """A name for something in the making; whatever is left under it at the end goes."""
    path = base / f"{MAKING}{secrets.token_hex(4)}-{name}"
    try:
        yield path
    finally:
        await asyncio.to_thread(tree.remove, path)


async def remove_leftovers(bases: Iterable[Path]) -> None:
    """What a crash left of things in the making, and writes that it left held up."""
    points = await asyncio.to_thread(_list_mounts, list(bases))
    for point in points:
        if MAKING in point:
            await process.run(["umount", "--lazy", point], check=False)
        else:
            await asyncio.to_thread(extimage.thaw, Path(point))
    for base in bases:
        await asyncio.to_thread(_remove_leftovers, base)


def _list_mounts(bases: list[Path]) -> list[str]:
    return [point for point in mounts.load_sources() if Path(point).parent in bases]


def _remove_leftovers(base: Path) -> None:
    for folder in (base, *base.glob(f"*{SNAPSHOTS}")):
        for mark in (MAKING, DELETING):
            for path in folder.glob(f"{mark}*"):
                with contextlib.suppress(OSError):
                    tree.remove(path)


async def _repair(seen: Seen) -> None:
    if seen.form is Form.QCOW2:
        await disk.repair(seen.file)
    elif seen.form is Form.EXT4 and seen.is_mounted:
        # It is checked when it is mounted again.
        await extimage.take_down(seen.file, seen.path)


async def _copy_image(source: Path, target: Path, live: Seen | None, *, limit_s: float = tools.LONG_S) -> None:
    """Copy a disk's file. While the file system in it is mounted, what it keeps in memory is written first, and then waits."""
    if live is None or not live.is_mounted:
        await tree.copy_file(source, target)
        return
    async with extimage.frozen(live.path):
        await tree.copy_file(source, target, limit_s=limit_s)


def _want_origin(action: Make, source: Seen) -> Path:
    return source.snapshot_path(action.copy_snapshot) if action.copy_snapshot else source.file


def _want_limit(action: Make) -> int:
    return action.size_bytes if action.enforcement is Enforcement.QUOTA else 0


def _make_folder(path: Path, limit_bytes: int) -> None:
    """Any user inside of a container may write to it; the folders above it are closed to others."""
    path.mkdir(mode=0o777)
    path.chmod(0o777)
    if limit_bytes:
        quota.save_limit(path, quota.give_project(path), limit_bytes)


def _save_limit(folder: Path, size_bytes: int) -> None:
    quota.save_limit(folder, quota.load_project(folder), size_bytes)


def _put(path: Path, target: Path) -> None:
    """The moment from which on it is there."""
    path.replace(target)
    files.sync_folder(target.parent)


def _delete(path: Path) -> None:
    doomed = path.with_name(f"{DELETING}{secrets.token_hex(4)}-{path.name}")
    if path.exists():
        path.rename(doomed)
        files.sync_folder(path.parent)
        tree.remove(doomed)


def _delete_all(seen: Seen) -> None:
    if seen.enforcement is Enforcement.QUOTA:
        _save_limit(seen.path, 0)
    _delete(seen.snapshots_folder)
    _delete(seen.file)
    if seen.form is Form.EXT4 and seen.path.exists():
        seen.path.rmdir()


def _has_room(base: Path) -> bool:
    status = os.statvfs(base)
    return status.f_bavail * status.f_frsize > _SPARE_BYTES
