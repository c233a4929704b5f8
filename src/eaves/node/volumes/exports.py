"""Makes images of volumes to take away: one qcow2 file with nothing behind it, compressed, of one moment.

A volume in use goes on being used: the image is made from a snapshot that is held for that long. Images lie in a folder of their own;
one goes when the next is made an hour after it was last asked for, or when the daemon starts.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
import shutil
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from msgspec import Struct

from eaves.kit import files
from eaves.node.desired.model import DesiredNode
from eaves.node.errors import StorageFullError
from eaves.node.instance import Instance
from eaves.node.volumes import disk, tools, tree
from eaves.node.volumes.errors import VolumeMissingError
from eaves.node.volumes.model import Form, Seen
from eaves.node.volumes.service import Volumes

log = logging.getLogger(__name__)

KEPT_S = 3600.0
_SPARE_BYTES = 64 << 20
_SAY_EVERY_S = 1.0

Say = Callable[[int], Awaitable[None]]
"""Told how many bytes there are, while an image is in the making."""


class Export(Struct, frozen=True):
    """An image that is whole. ``virtual_bytes``: the disk as a guest sees it."""

    token: str
    path: Path
    size_bytes: int
    virtual_bytes: int
    sha256: str


class Exports:
    """One image is in the making at a time."""

    def __init__(self, instance: Instance, volumes: Volumes) -> None:
        self._folder = instance.exports_dir
        self._volumes = volumes
        self._made: dict[str, tuple[Export, float]] = {}
        self._turn = asyncio.Lock()

    async def open(self) -> None:
        """What a former daemon made nobody can ask for any more."""
        await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    def find(self, token: str) -> Export | None:
        """An image that was made before."""
        found = self._made.get(token)
        if found is None:
            return None
        self._made[token] = (found[0], time.monotonic())
        return found[0]

    async def make(self, volume_id: str, snapshot_id: str, say: Say) -> Export:
        """Raises EavesError or OSError; then nothing is left of it."""
        async with self._turn:
            await self._collect()
            await asyncio.to_thread(files.want_folder, self._folder)
            token = secrets.token_hex(16)
            path = self._folder / f"{token}.qcow2"
            try:
                async with self._volumes.held_snapshot(volume_id, snapshot_id) as (seen, point):
                    await asyncio.to_thread(self._check_room, seen)
                    await _with_progress(_convert(seen, point, path), path, say)
                export = await self._describe(token, path)
            except BaseException:
                await asyncio.to_thread(path.unlink, missing_ok=True)
                raise
            self._made[token] = (export, time.monotonic())
            return export

    async def _describe(self, token: str, path: Path) -> Export:
        info = await disk.observe_disk(path, "qcow2")
        digest = await asyncio.to_thread(_hash, path)
        size_bytes = (await asyncio.to_thread(path.stat)).st_size
        return Export(token, path, size_bytes, info.size_bytes, digest)

    async def _collect(self) -> None:
        for token, (export, used_at) in list(self._made.items()):
            if time.monotonic() - used_at > KEPT_S:
                del self._made[token]
                await asyncio.to_thread(export.path.unlink, missing_ok=True)

    def _check_room(self, seen: Seen) -> None:
        free, needed = shutil.disk_usage(self._folder).free, seen.allocated_bytes + _SPARE_BYTES
        if free < needed:
            raise StorageFullError(
                f"no room to make an image of volume {seen.key.id}: up to {needed} bytes are needed, {free} are free",
                resolution="make room on the node's disk",
            )


def find_disk(desired: DesiredNode | None, app_id: str, name: str) -> str:
    """Id of the volume that is a machine's disk, the root disk where ``name`` is empty. Raises VolumeMissingError."""
    app = next((app for app in desired.apps if app.id == app_id), None) if desired is not None else None
    if app is None or app.vm is None:
        raise VolumeMissingError("the node does not have the virtual machine", element=f"app {app_id}")
    for found in app.vm.disks:
        # The controller names volumes of an app after both.
        if found.is_root if not name else name in (found.name, found.name.removeprefix(f"{app.name}-")):
            return found.volume_id
    known = ", ".join(found.name.removeprefix(f"{app.name}-") for found in app.vm.disks)
    raise VolumeMissingError(f"app {app.name} has no disk {name}; its disks: {known}", element=f"app {app.name}")


async def _convert(seen: Seen, point: str, path: Path) -> None:
    if seen.form is Form.QCOW2:
        options = ["-l", f"snapshot.name={disk.name_snapshot(point)}", "--force-share"]
        source, source_format = seen.file, "qcow2"
    else:
        options, source, source_format = [], seen.snapshot_path(point), "raw"
    convert = ["qemu-img", "convert", "-q", "-c", *options, "-f", source_format, "-O", "qcow2", str(source), str(path)]
    # Compression is never more urgent than what the node's apps do.
    await tools.run(["nice", "-n", "15", *convert], timeout_s=tools.LONG_S)
    await asyncio.to_thread(tree.sync_file, path)


async def _with_progress(work: Awaitable[None], path: Path, say: Say) -> None:
    task = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait((task,), timeout=_SAY_EVERY_S))[0]:
            await say(await asyncio.to_thread(_allocated, path))
        task.result()
    finally:
        task.cancel()
        await asyncio.wait((task,))


def _allocated(path: Path) -> int:
    try:
        return path.stat().st_blocks * 512
    except FileNotFoundError:
        return 0


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
