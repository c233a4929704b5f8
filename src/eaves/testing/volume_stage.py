"""The volumes of one node without the rest of its engine: for contract tests over real tools.

``start`` and ``stop`` as often as you like over the same folder; leaving takes down every mount.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

import msgspec

from eaves.node.desired.model import DesiredImage, DesiredNode, DesiredVolume, ImageFormat
from eaves.node.instance import Instance
from eaves.node.mounts import load_sources
from eaves.node.observed import Observations, VolumeStatus
from eaves.node.volumes.abc import LiveDisk, LiveMachine, VolumeUsers
from eaves.node.volumes.model import VolumeKey
from eaves.node.volumes.service import Volumes
from eaves.testing.volume_sources import FolderSources

WAIT_LIMIT_S = 60.0


class VolumeStage:
    """``users``: app id → volumes that it runs with; change it and call ``volumes.wake``. ``live``: path → its machine.

    ``machines``: disks → the machine that has them; ``resumed``: orders to go on from a snapshot.
    """

    def __init__(self, folder: Path) -> None:
        self.instance = Instance("tvolumes", folder / "data", folder / "run")
        self.sources = FolderSources()
        self.users: dict[str, list[VolumeKey]] = {}
        self.live: dict[Path, LiveDisk] = {}
        self.machines: dict[tuple[Path, ...], LiveMachine] = {}
        self.resumed: list[tuple[str, Path]] = []
        self.observations = Observations()
        self.desired = DesiredNode("device", "0", "", config_items={"timer.gc.vdisk": "0"})
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def folder(self) -> Path:
        return self.instance.volumes_dir

    async def __aenter__(self) -> VolumeStage:
        await asyncio.to_thread(self.instance.prepare)
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
        await asyncio.to_thread(self.unmount_all)

    async def start(self) -> None:
        self.observations = Observations()
        self.volumes = Volumes(
            self.instance,
            self.observations,
            sources=self.sources,
            live=self,
            users=self._want_users,
            on_change=self._changed.set,
            measure_every_s=0.5,
        )
        await self.volumes.open()
        self.volumes.set_desired(self.desired)
        self._task = asyncio.create_task(self.volumes.run())

    async def stop(self) -> None:
        """As at the end of the daemon: what is being done is broken off."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def cut_power(self) -> None:
        """The daemon ends, and the mounts with it."""
        await self.stop()
        await asyncio.to_thread(self.unmount_all)

    def unmount_all(self) -> None:
        for point in sorted(load_sources(), reverse=True):
            if point.startswith(f"{self.instance.data_dir}/"):
                subprocess.run(["umount", "--lazy", point], check=False, capture_output=True)

    def find(self, path: Path) -> LiveDisk | None:
        return self.live.get(path)

    def find_machine(self, disks: Sequence[Path]) -> LiveMachine | None:
        return self.machines.get(tuple(disks))

    async def want_resumed(self, app_id: str, folder: Path) -> None:
        self.resumed.append((app_id, folder))

    def use(self, app_id: str, *keys: VolumeKey) -> None:
        """From now on the app runs with these volumes, or with none."""
        self.users[app_id] = list(keys)
        self.volumes.wake()

    def apply(self, *volumes: DesiredVolume, disk_images: tuple[str, ...] = ()) -> None:
        self.want(*volumes, disk_images=disk_images)
        self.volumes.set_desired(self.desired)

    def want(self, *volumes: DesiredVolume, disk_images: tuple[str, ...] = ()) -> None:
        """What :meth:`start` begins with."""
        formats = dict.fromkeys((*disk_images, *self.sources.disks), ImageFormat.RAW)
        formats |= dict.fromkeys(self.sources.trees, ImageFormat.CONTAINER)
        images = tuple(DesiredImage(name, name, name, kind, "", 0, 0, ()) for name, kind in formats.items())
        self.desired = msgspec.structs.replace(self.desired, volumes=volumes, images=images)

    async def wait(
        self, volume_id: str, accept: Callable[[VolumeStatus], bool], limit_s: float = WAIT_LIMIT_S
    ) -> VolumeStatus:
        """Wait for a status; the error says what there was instead."""
        version = -1
        try:
            async with asyncio.timeout(limit_s):
                while True:
                    status = self.observations.get(VolumeStatus, volume_id)
                    if isinstance(status, VolumeStatus) and accept(status):
                        return status
                    version = await self.observations.changed(max(version, self.observations.version))
        except TimeoutError:
            raise AssertionError(f"not reached: {self.observations.get(VolumeStatus, volume_id)}") from None

    async def wait_ready(self, volume: DesiredVolume) -> Path:
        """Wait until apps may have it; answers its path."""
        async with asyncio.timeout(WAIT_LIMIT_S):
            while True:
                self._changed.clear()
                if (path := self.volumes.path(volume.id, volume.generation)) is not None:
                    return path
                await self._changed.wait()

    def list_files(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())

    def _want_users(self) -> VolumeUsers:
        names = {app_id: [key.folder for key in keys] for app_id, keys in self.users.items()}
        return VolumeUsers(names, names)
