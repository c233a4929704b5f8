"""What volumes are on disk, how much of it they take, and what this machine can do. Blocking parts run in a thread."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from eaves.node import mounts
from eaves.node.volumes import disk, extimage, quota, tree
from eaves.node.volumes.model import (
    SNAPSHOTS,
    Enforcement,
    Form,
    Seen,
    SeenSnapshot,
    StorageFacts,
    Use,
    VolumeKey,
    parse_name,
    want_file,
)

_LOOP = Path("/dev/loop-control")


_CAP_SYS_RESOURCE = 24
"""Of capabilities(7)."""


class Found(Struct, frozen=True):
    """A volume's name on disk, without what is inside."""

    key: VolumeKey
    form: Form
    base: Path


def observe_facts(base: Path) -> StorageFacts:
    """What can be done below ``base``. Blocking."""
    has_tools = all(shutil.which(name) for name in ("mkfs.ext4", "e2fsck", "resize2fs", "losetup"))
    return StorageFacts(
        has_quota=quota.has_project_quota(base),
        has_loop=has_tools and _LOOP.exists(),
        has_reflink=tree.has_reflink(base),
        grows_mounted=_has_capability(_CAP_SYS_RESOURCE),
        total_bytes=shutil.disk_usage(base).total,
    )


def _has_capability(number: int) -> bool:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> number & 1)
    return False


def list_volumes(bases: Sequence[Path]) -> dict[VolumeKey, Found]:
    """By name alone. A folder beside a file of the same volume is the file's mount point. Blocking."""
    found: dict[VolumeKey, Found] = {}
    for base in bases:
        for entry in os.scandir(base):
            parsed = parse_name(entry.name)
            if parsed is None or entry.is_dir(follow_symlinks=False) != (parsed[1] is Form.FOLDER):
                continue
            key, form = parsed
            if key not in found or form is not Form.FOLDER:
                found[key] = Found(key, form, base)
    return found


async def observe_volume(found: Found) -> Seen:
    """The volume with its size and snapshots. Raises OSError, or ProcessError for a disk that cannot be read."""
    if found.form.is_block:
        return await _observe_block(found)
    return await asyncio.to_thread(_observe_filesystem, found)


async def _observe_block(found: Found) -> Seen:
    info = await disk.observe_disk(want_file(found.base, found.key, found.form), str(found.form))
    copies = await asyncio.to_thread(_observe_copies, found)
    snapshots = copies if found.form is Form.RAW else _join_memory(info.snapshots, copies)
    return Seen(
        found.key,
        found.form,
        found.base,
        Enforcement.DISK,
        info.size_bytes,
        allocated_bytes=info.allocated_bytes,
        snapshots=snapshots,
    )


def _join_memory(parts: Mapping[str, SeenSnapshot], memories: Mapping[str, SeenSnapshot]) -> dict[str, SeenSnapshot]:
    """Snapshots inside of a qcow2 file, with what is kept beside it for the machine."""
    return {
        snapshot_id: replace(part, allocated_bytes=memory.allocated_bytes, has_memory=True)
        if (memory := memories.get(snapshot_id)) is not None
        else part
        for snapshot_id, part in parts.items()
    }


def _observe_filesystem(found: Found) -> Seen:
    path = want_file(found.base, found.key, found.form)
    snapshots = _observe_copies(found)
    if found.form is Form.EXT4:
        return Seen(
            found.key,
            found.form,
            found.base,
            Enforcement.IMAGE,
            _want_file_system_size(path),
            allocated_bytes=path.stat().st_blocks * 512,
            is_mounted=str(found.base / found.key.folder) in mounts.load_sources(),
            snapshots=snapshots,
        )
    limit_bytes = _observe_limit(path)
    enforcement = Enforcement.QUOTA if limit_bytes else Enforcement.WATCHED
    return Seen(found.key, found.form, found.base, enforcement, limit_bytes, snapshots=snapshots)


def _want_file_system_size(path: Path) -> int:
    """The size asked for once the file system fills its file: it may end a few blocks earlier."""
    size_bytes, inside = path.stat().st_size, extimage.observe_size_bytes(path)
    return size_bytes if size_bytes - inside < 1 << 20 else inside


def _observe_limit(folder: Path) -> int:
    try:
        project = quota.load_project(folder)
        return quota.load_quota(folder).limit_bytes if project >= quota.FIRST_PROJECT else 0
    except OSError:
        return 0


def _observe_copies(found: Found) -> dict[str, SeenSnapshot]:
    folder = found.base / f"{found.key.folder}{SNAPSHOTS}"
    copies: dict[str, SeenSnapshot] = {}
    if folder.is_dir():
        for entry in os.scandir(folder):
            if entry.name.startswith("."):
                continue
            path = Path(entry.path)
            allocated = observe_used_bytes(path) if entry.is_dir() else entry.stat().st_blocks * 512
            taken_at = entry.stat(follow_symlinks=False).st_ctime
            copies[entry.name] = SeenSnapshot(entry.name, taken_at, allocated)
    return copies


def observe_use(seen: Seen) -> Use:
    """Blocking."""
    if seen.form.is_block:
        allocated = seen.file.stat().st_blocks * 512
        return Use(allocated, allocated)
    if seen.form is Form.EXT4:
        allocated = seen.file.stat().st_blocks * 512
        # Where it was unmounted meanwhile, the folder is one of the node's own disk.
        if not (seen.is_mounted and seen.path.is_mount()):
            return Use(0, allocated)
        inside = os.statvfs(seen.path)
        used = (inside.f_blocks - inside.f_bfree) * inside.f_frsize
        is_read_only = bool(inside.f_flag & os.ST_RDONLY)
        return Use(used, allocated, inside.f_bavail * inside.f_frsize, is_read_only)
    if seen.enforcement is Enforcement.QUOTA:
        used = quota.load_quota(seen.path).used_bytes
        return Use(used, used, max(0, seen.size_bytes - used))
    used = observe_used_bytes(seen.path)
    return Use(used, used)


def observe_used_bytes(folder: Path) -> int:
    """Blocks taken by everything below ``folder``; a file with several names counts once, holes count nothing."""
    total = 0
    seen: set[tuple[int, int]] = set()
    stack = [folder]
    while stack:
        try:
            entries = list(os.scandir(stack.pop()))
        except OSError:
            continue
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            if entry.is_dir(follow_symlinks=False):
                stack.append(Path(entry.path))
            elif status.st_nlink > 1:
                if (status.st_dev, status.st_ino) in seen:
                    continue
                seen.add((status.st_dev, status.st_ino))
            total += status.st_blocks * 512
    return total
