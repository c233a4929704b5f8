"""Goes on from what was saved of a machine: at its next start, once, or it boots and the reason is told.

The order lies with what outlives reboots, and is gone, durably, before the guest runs: its disks then leave the moment that the memory
knows. A daemon that is killed before that goes on from there once more, one that is killed after it finds a machine that stands still,
and lets it go.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from eaves.kit import files
from eaves.kit.errors import EavesError
from eaves.node.vms import saving
from eaves.node.vms.model import VmFolders, VmHost, VmSpec
from eaves.node.vms.saved import MACHINE, MEMORY, NVRAM, TPM, DiskMark, Origin, Resume, SavedMachine, find_obstacle
from eaves.node.vms.session import Session
from eaves.node.vms.state import RunEnd, drop_resume, judge_end, load_resume, load_struct, save_resume
from eaves.node.vms.stopping import switch_off
from eaves.node.volumes import tree

log = logging.getLogger(__name__)

_TEXTS = {
    Origin.SNAPSHOT: ("it went on from its snapshot", "it booted from its snapshot's disks, without the memory"),
    Origin.SUSPENSION: (
        "it went on where it was before the node's restart",
        "it booted, instead of going on where it was",
    ),
}


class Start(Struct, frozen=True):
    """How a machine is to start. ``saved`` None = it boots; ``note`` says why, where it was to go on."""

    resume: Resume | None = None
    saved: SavedMachine | None = None
    note: str = ""


async def suspend(session: Session, pid: int, folder: Path, root: str) -> None:
    """Save a machine in ``folder`` and end it, so that its next start goes on from there.

    Raises EavesError or OSError; then it runs on, or has ended and boots.
    """
    await asyncio.to_thread(_make_anew, folder)
    try:
        await asyncio.to_thread(saving.check_room, session.folders, folder)
        saved = await saving.describe(session)
        async with session.holding():
            await session.command("stop")
            try:
                await saving.save_memory(session, folder / MEMORY)
                await asyncio.to_thread(tree.sync_file, folder / MEMORY)
            except (EavesError, OSError):
                await session.command("cont")
                raise
            await switch_off(session, pid)
        # QEMU has written back what it had of the disks: from here on they stay as they are.
        disks = await asyncio.to_thread(observe_disks, session.disks)
        await asyncio.to_thread(saving.save_description, folder, replace(saved, disks=disks))
        await asyncio.to_thread(save_resume, session.folders.keep, Resume(str(folder), Origin.SUSPENSION, root))
    except (EavesError, OSError):
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        raise


def _make_anew(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    files.want_folder(folder.parent)
    files.want_folder(folder)


async def find_start(spec: VmSpec, host: VmHost, folders: VmFolders) -> Start:
    """What the start that comes now is to be. Firmware variables and TPM of a snapshot are in place afterwards."""
    resume = await asyncio.to_thread(load_resume, folders.keep)
    if resume is None:
        return Start()
    saved, obstacle = await asyncio.to_thread(_load_saved, resume, spec, host)
    if resume.origin is Origin.SNAPSHOT and resume.root == spec.root:
        await _restore_firmware(Path(resume.folder), folders)
    if obstacle:
        return await give_up(Start(resume), folders, obstacle)
    return Start(resume, saved)


async def go_on(start: Start, session: Session) -> str:
    """Load the memory into a machine that waits for it, and let it run. Answers why it could not be loaded; empty when it runs.

    Raises QmpError or OSError for a machine that is loaded and cannot be let go.
    """
    assert start.resume is not None
    async with session.holding():
        try:
            await saving.load_memory(session, Path(start.resume.folder) / MEMORY)
        except (EavesError, OSError) as error:
            return error.message if isinstance(error, EavesError) else str(error)
        await asyncio.to_thread(drop_resume, session.folders.keep)
        await session.command("cont")
    session.note_resumed()
    await drop_saved(start)
    return ""


async def give_up(start: Start, folders: VmFolders, why: str) -> Start:
    """Let the machine boot, now and at each later start."""
    assert start.resume is not None
    log.warning("machine cannot go on from what was saved: app=%s error=%s", folders.run.name, why)
    await asyncio.to_thread(drop_resume, folders.keep)
    await drop_saved(start)
    return Start(note=f"{_TEXTS[start.resume.origin][1]}: {why}")


def say_resumed(start: Start) -> str:
    """For people: how it came up."""
    return _TEXTS[start.resume.origin][0] if start.resume is not None else ""


async def drop_saved(start: Start) -> None:
    """What was saved for one restart of the node is of no use after it; a snapshot stays."""
    if start.resume is not None and start.resume.origin is Origin.SUSPENSION:
        await asyncio.to_thread(shutil.rmtree, start.resume.folder, ignore_errors=True)


def find_failure(folders: VmFolders, told: str) -> str:
    """What QEMU said when it ended over the memory, else what was told. Blocking."""
    end = load_struct(folders.run / "end.json", RunEnd)
    return (judge_end(end).message if end is not None else "") or told


def observe_disks(paths: tuple[str, ...]) -> dict[str, DiskMark]:
    """Blocking."""
    found = {}
    for path in paths:
        status = Path(path).stat()
        found[path] = DiskMark(status.st_size, status.st_mtime_ns)
    return found


def _load_saved(resume: Resume, spec: VmSpec, host: VmHost) -> tuple[SavedMachine | None, str]:
    """What was saved, and why it is of no use."""
    if resume.root != spec.root:
        return None, "the app has another root disk since"
    saved = load_struct(Path(resume.folder) / MACHINE, SavedMachine)
    if saved is None:
        return None, "what was saved is not there any more"
    try:
        disks = observe_disks(tuple(saved.disks))
    except OSError as error:
        return None, f"a disk cannot be read: {error.strerror}"
    return saved, find_obstacle(saved, spec, host, disks)


async def _restore_firmware(folder: Path, folders: VmFolders) -> None:
    if await asyncio.to_thread((folder / NVRAM).exists):
        new = folders.nvram.with_suffix(".new")
        await tree.copy_file(folder / NVRAM, new)
        await asyncio.to_thread(new.replace, folders.nvram)
    if await asyncio.to_thread((folder / TPM).exists):
        await asyncio.to_thread(_replace_folder, folder / TPM, folders.tpm_state)


def _replace_folder(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
