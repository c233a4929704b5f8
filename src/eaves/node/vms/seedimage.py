"""Writes first-boot data as an ISO 9660 image by ``xorrisofs``: Rock Ridge for Linux guests, Joliet for Windows.

It may hold passwords: the image and the folder that it is made from are the owner's alone, and belong in a run-time folder, so that
they are gone with the machine's power. The image is made anew for each start; nothing else depends on it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from pathlib import Path

from eaves.kit.process import run
from eaves.node.vms.cloudinit import SeedFiles

_TIMEOUT_S = 120.0


async def save_seed_image(path: Path, seed: SeedFiles) -> None:
    """Replace the image at ``path``. Raises ProcessError, ProgramMissingError and OSError; then the old image is as it was."""
    folder, image = _neighbour(path, "files"), _neighbour(path, "new")
    try:
        await asyncio.to_thread(_write_files, folder, image, seed)
        await run(
            [
                "xorrisofs",
                "-quiet",
                "-output",
                str(image),
                "-volid",
                seed.label,
                "-joliet",
                "-rational-rock",
                str(folder),
            ],
            timeout_s=_TIMEOUT_S,
        )
        await asyncio.to_thread(image.replace, path)
    finally:
        await asyncio.to_thread(_remove, folder, image)


async def remove_seed_image(path: Path) -> None:
    """Remove the image and what an interrupted :func:`save_seed_image` left; there or not."""
    await asyncio.to_thread(_remove, _neighbour(path, "files"), _neighbour(path, "new"), path)


def _neighbour(path: Path, suffix: str) -> Path:
    return path.with_name(f".{path.name}.{suffix}")


def _write_files(folder: Path, image: Path, seed: SeedFiles) -> None:
    _remove(folder, image)
    folder.mkdir(mode=0o700)
    for name, content in seed.files.items():
        file = folder / name
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.write_bytes(content.reveal())
    # It exists with its mode before anything is in it.
    os.close(os.open(image, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def _remove(folder: Path, *files: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    for file in files:
        with contextlib.suppress(FileNotFoundError):
            file.unlink()
