"""Saves a running machine and loads it again, over its QMP connection. The rules of what may be loaded where are in ``saved``."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import msgspec

from eaves.kit import files
from eaves.kit.errors import EavesError
from eaves.node.errors import StorageFullError
from eaves.node.vms import agent
from eaves.node.vms.errors import QmpError, VmError
from eaves.node.vms.limits import observe_usage
from eaves.node.vms.model import VmFolders
from eaves.node.vms.saved import MACHINE, MEMORY, NVRAM, TPM, SavedMachine, parse_machine, want_argv
from eaves.node.vms.session import Session
from eaves.node.vms.state import RunState, load_struct
from eaves.node.volumes import tree

log = logging.getLogger(__name__)

_POLL_S = 0.05
"""QEMU tells the end of a migration by an event too, but only to who was there to hear it."""
_SPARE_BYTES = 64 << 20
_NO_LIMIT = 1 << 40
"""Bytes a second: the disk alone sets the pace."""


async def take_snapshots(session: Session, nodes: Sequence[str], name: str) -> None:
    """Snapshots inside of several qcow2 files at one moment, of file systems at rest where the guest's agent brings them to it."""
    async with _quiesced(session):
        await _take_disks(session, nodes, name)


async def save_machine(session: Session, nodes: Sequence[str], name: str, folder: Path) -> None:
    """The same with the machine's memory, in ``folder``. The guest stands still as long as that takes to write.

    Raises EavesError or OSError; then the guest runs on and there are no snapshots.
    """
    await asyncio.to_thread(check_room, session.folders, folder)
    try:
        async with session.held():
            await _save_firmware(session.folders, folder)
            await _take_disks(session, nodes, name)
            await save_memory(session, folder / MEMORY)
        await asyncio.to_thread(tree.sync_file, folder / MEMORY)
        await asyncio.to_thread(save_description, folder, await describe(session))
    except (EavesError, OSError):
        # With the guest running again, since disks of one that was just saved take no orders.
        async with session.disk_access:
            for node in nodes:
                with contextlib.suppress(QmpError):
                    await session.command("blockdev-snapshot-delete-internal-sync", device=node, name=name)
        raise


async def save_memory(session: Session, path: Path) -> None:
    """Of a machine that stands still; not yet durable. Raises QmpError, or OSError such as for a full disk."""
    await session.command("migrate-set-parameters", max_bandwidth=_NO_LIMIT)
    descriptor = await asyncio.to_thread(os.open, path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        await session.command("getfd", fd=descriptor, fdname=MEMORY)
        await session.command("migrate", uri=f"fd:{MEMORY}")
        await _await_migration(session)
    finally:
        os.close(descriptor)


async def load_memory(session: Session, path: Path) -> None:
    """Into a machine that was started to wait for it; it stands still afterwards. Raises QmpError or OSError."""
    descriptor = await asyncio.to_thread(os.open, path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        await session.command("getfd", fd=descriptor, fdname=MEMORY)
        await session.command("migrate-incoming", uri=f"fd:{MEMORY}")
        await _await_migration(session)
    finally:
        os.close(descriptor)


async def describe(session: Session) -> SavedMachine:
    """What the memory is the state of. Raises EavesError."""
    host = session.host
    if host is None:
        raise VmError("what runs the machine is not known yet", element=session.folders.run.name)
    type_name = str(await session.command("qom-get", path="/machine", property="type"))
    raw = await asyncio.to_thread(files.load_file, session.folders.run / "start.json")
    if raw is None:
        raise VmError("how the machine was started is not known any more", element=session.folders.run.name)
    running = msgspec.json.decode(raw, type=dict[str, object])["argv"]
    argv = want_argv(msgspec.convert(running, list[str]), parse_machine(type_name))
    return SavedMachine(session.digest, argv, host.qemu_version, str(host.accelerator))


def save_description(folder: Path, saved: SavedMachine) -> None:
    """Written last: a folder without it is worth nothing. Blocking. Raises OSError."""
    files.save_file(folder / MACHINE, msgspec.json.encode(saved))


async def _save_firmware(folders: VmFolders, folder: Path) -> None:
    """Variables and TPM, for a start without the memory. QEMU has written them back when its guest stands still."""
    if await asyncio.to_thread(folders.nvram.exists):
        await tree.copy_file(folders.nvram, folder / NVRAM)
    if await asyncio.to_thread(folders.tpm_state.exists):
        await asyncio.to_thread(shutil.copytree, folders.tpm_state, folder / TPM)


async def _take_disks(session: Session, nodes: Sequence[str], name: str) -> None:
    actions = [{"type": "blockdev-snapshot-internal-sync", "data": {"device": node, "name": name}} for node in nodes]
    await session.command("transaction", actions=actions)


async def _await_migration(session: Session) -> None:
    while True:
        found = await session.command("query-migrate")
        match found.get("status"):
            case "completed":
                return
            case "failed" | "cancelled":
                why = found.get("error-desc") or "QEMU does not say why"
                raise QmpError(f"the machine's memory: {why}", element="qemu")
        await asyncio.sleep(_POLL_S)


@contextlib.asynccontextmanager
async def _quiesced(session: Session) -> AsyncIterator[None]:
    """The guest's file systems are at rest meanwhile, if its agent answers; without it the disks are as after a power cut."""
    if not session.has_agent:
        yield
        return
    async with session.frozen():
        path = session.folders.agent
        try:
            count = await agent.freeze(path)
            log.debug("file systems of a guest rest: app=%s count=%d", session.folders.run.name, count)
        except VmError as error:
            log.info("guest's file systems were not brought to rest: app=%s error=%s", session.folders.run.name, error)
        try:
            yield
        finally:
            with contextlib.suppress(VmError):
                await agent.thaw(path)


def check_room(folders: VmFolders, folder: Path) -> None:
    """Whether the machine's memory fits the disk of ``folder``. Blocking. Raises StorageFullError."""
    state = load_struct(folders.run / "state.json", RunState)
    used = observe_usage(state.pid, folders.run.name) if state is not None else None
    needed = (used.memory_bytes if used else 0) + _SPARE_BYTES
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise StorageFullError(f"no room for the machine's memory: {needed} bytes are needed, {free} are free")
