"""What must be remembered across boots: how often this machine booted and why, and which commands were carried out.

Commands of a config are counters: a change against the stored value means "do it", the first value ever seen is stored without
doing anything, and a config without the command forgets it. The plan functions are pure; :class:`CounterFile` keeps the record.
"""

from __future__ import annotations

import asyncio
import logging
from enum import StrEnum
from pathlib import Path

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from eaves.kit import files

log = logging.getLogger(__name__)


class BootReason(StrEnum):
    """Why the machine booted; the values are those of ``BootReason`` in the device API without their prefix."""

    FIRST = "FIRST"
    REBOOT_CMD = "REBOOT_CMD"
    POWEROFF_CMD = "POWEROFF_CMD"
    POWER_FAIL = "POWER_FAIL"
    UNKNOWN = "UNKNOWN"


class Record(Struct, frozen=True):
    """The stored record. Times are Unix seconds, 0 = never."""

    boot_id: str = ""
    restart_counter: int = 0
    """Boots with this node on the machine, the first one not counted."""
    boot_reason: BootReason = BootReason.FIRST
    boot_text: str = ""
    last_reboot_time: float = 0.0
    reboot_counter: int | None = None
    shutdown_counter: int | None = None
    pending_reason: BootReason | None = None
    """Noted before the machine goes down on purpose."""
    pending_text: str = ""
    is_clean: bool = False
    """The daemon was stopped in order; a machine that loses power leaves this false."""
    is_shut_down: bool = False
    """A shutdown command stopped the apps; they start again with the next boot."""


class Command(StrEnum):
    NONE = "none"
    RECORD = "record"
    """Store the counter, do nothing."""
    EXECUTE = "execute"


def plan_command(stored: int | None, wanted: int | None) -> Command:
    """What a command's counter asks for."""
    if wanted == stored:
        return Command.NONE
    return Command.RECORD if stored is None or wanted is None else Command.EXECUTE


def plan_start(record: Record, boot_id: str, now: float) -> Record:
    """The record after the daemon started during boot ``boot_id``."""
    if not record.boot_id:
        return Record(boot_id=boot_id, boot_text="first start of this node")
    if record.boot_id == boot_id:
        return replace(record, is_clean=False)
    if record.pending_reason is not None:
        reason, text = record.pending_reason, record.pending_text
    elif record.is_clean:
        reason, text = BootReason.UNKNOWN, "the machine was restarted in order, not by this node"
    else:
        reason, text = BootReason.POWER_FAIL, "the machine went down without stopping this node"
    return replace(
        record,
        boot_id=boot_id,
        restart_counter=record.restart_counter + 1,
        boot_reason=reason,
        boot_text=text,
        last_reboot_time=now,
        pending_reason=None,
        pending_text="",
        is_clean=False,
        is_shut_down=False,
    )


class CounterFile:
    """Holds the record and saves each change."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.record = Record()

    async def start(self, boot_id: str, now: float) -> None:
        """Load the record and note this start."""
        data = await asyncio.to_thread(files.load_file, self._path)
        known = Record()
        if data is not None:
            try:
                known = msgspec.json.decode(data, type=Record)
            except msgspec.DecodeError as error:
                log.warning("boot record cannot be read and starts anew: file=%s error=%s", self._path, error)
        await self.update(plan_start(known, boot_id, now), force=True)

    async def update(self, record: Record, *, force: bool = False) -> bool:
        """Take over ``record`` and save it; false when it could only be kept in memory, as on a full disk."""
        if record == self.record and not force:
            return True
        self.record = record
        try:
            await asyncio.to_thread(self._save, msgspec.json.encode(record))
        except OSError as error:
            log.warning("boot record cannot be saved: error=%s", error)
            return False
        return True

    def _save(self, data: bytes) -> None:
        files.want_folder(self._path.parent)
        files.save_file(self._path, data)


def load_boot_id() -> str:
    """The kernel's id of this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
