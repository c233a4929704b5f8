"""The volumes of a node in a process of their own, to be killed: ``python -m eaves.testing.volume_worker FOLDER CONFIG``.

``CONFIG`` is a JSON file with a :class:`Work`. It says ``started`` when the work begins.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import msgspec
from msgspec import Struct

from eaves.node.desired.model import DesiredVolume
from eaves.node.volumes.abc import DiskSource
from eaves.testing.volume_stage import VolumeStage


class Work(Struct, frozen=True):
    """``disks``: image id → path of a raw image."""

    volumes: tuple[DesiredVolume, ...]
    disks: dict[str, str] = {}


async def work(folder: Path, wish: Work) -> None:
    """Until the process is killed."""
    stage = VolumeStage(folder)
    stage.sources.disks.update({name: DiskSource(Path(path), "raw") for name, path in wish.disks.items()})
    stage.instance.prepare()
    stage.want(*wish.volumes)
    await stage.start()
    print("started", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(work(Path(sys.argv[1]), msgspec.json.decode(Path(sys.argv[2]).read_bytes(), type=Work)))
