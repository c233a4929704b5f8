"""What a machine's files say: the record that outlives reboots and the monitor's notes → :class:`~eaves.node.workloads.abc.Seen`.

Parsing is pure; :func:`load_seen` blocks.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from eaves.kit import files
from eaves.node import pids
from eaves.node.vms.isolation.model import EXIT, SHARE
from eaves.node.vms.saved import RESUME, Resume
from eaves.node.workloads.abc import EngineKind, Seen, WorkloadState

RECORD = "vm.json"
"""Name of the file that says that there is a machine."""
LOST_EXIT_CODE = 255
PANIC_EXIT_CODE = 134


class VmRecord(Struct, frozen=True):
    """What is known of a machine when it does not run. ``workload_id`` is new for each one that is created; no secrets."""

    app_id: str
    workload_id: str
    digest: str
    root: str
    disks: tuple[str, ...] = ()
    """Their paths, in the order of the spec."""
    is_guest: bool = False
    """A container with a kernel of its own: how its command ended, the guest itself says."""
    note: str = ""
    """How it came up, where that is not by booting; or why it booted where it was to go on."""


class RunState(Struct, frozen=True):
    """The monitor's ``state.json``. Ticks are start times of processes in clock ticks since boot."""

    pid: int
    ticks: int
    monitor_pid: int
    monitor_ticks: int
    started_at: float


class RunEnd(Struct, frozen=True):
    """The monitor's ``end.json``. ``status``: exit code, negative = killed by that signal, None = not known."""

    finished_at: float
    status: int | None
    events: tuple[str, ...] = ()
    stderr: str = ""


_S = TypeVar("_S", bound=Struct)


class End(Struct, frozen=True):
    exit_code: int
    reason: str = ""
    message: str = ""


class _Event(Struct):
    event: str
    data: dict[str, object] = {}


def judge_end(end: RunEnd) -> End:
    """How a machine ended: by its guest's own wish (0), by a panic, by a signal, by an error of QEMU."""
    events = [event for text in end.events if (event := _parse_event(text)) is not None]
    if any(event.event == "GUEST_PANICKED" for event in events):
        return End(PANIC_EXIT_CODE, "GuestPanicked", "the guest's kernel panicked")
    if end.status is None:
        is_shutdown = any(event.event == "SHUTDOWN" for event in events)
        return End(0) if is_shutdown else End(LOST_EXIT_CODE, "", "how it ended is not known")
    if end.status < 0:
        return End(128 - end.status, "", f"QEMU was killed by signal {-end.status}")
    lines = end.stderr.strip().splitlines()
    return End(end.status, "", lines[-1][:500] if lines and end.status else "")


def want_seen(
    record: VmRecord, state: RunState | None, end: RunEnd | None, *, is_alive: bool, has_monitor: bool
) -> Seen:
    """``is_alive``: QEMU's process of ``state`` lives."""
    if state is None:
        kind = WorkloadState.CREATED
    elif is_alive:
        kind = WorkloadState.RUNNING
    else:
        kind = WorkloadState.ENDED
    judged = judge_end(end) if end is not None else End(LOST_EXIT_CODE)
    return Seen(
        app_id=record.app_id,
        workload_id=record.workload_id,
        state=kind,
        spec_digest=record.digest,
        pid=state.pid if state and is_alive else 0,
        monitor_pid=state.monitor_pid if state and has_monitor else 0,
        exit_code=judged.exit_code if kind is WorkloadState.ENDED else 0,
        reason=judged.reason if kind is WorkloadState.ENDED else "",
        is_lost=kind is WorkloadState.ENDED and end is None,
        started_at=state.started_at if state else 0.0,
        finished_at=end.finished_at if end and kind is WorkloadState.ENDED else 0.0,
        engine=EngineKind.VM,
    )


def load_record(keep: Path) -> VmRecord | None:
    return load_struct(keep / RECORD, VmRecord)


def load_seen(keep: Path, run: Path) -> Seen | None:
    """None when there is no machine."""
    record = load_record(keep)
    if record is None:
        return None
    state = load_struct(run / "state.json", RunState)
    is_alive = state is not None and is_same_process(state.pid, state.ticks)
    has_monitor = state is not None and is_same_process(state.monitor_pid, state.monitor_ticks)
    end = None if is_alive else load_struct(run / "end.json", RunEnd)
    seen = want_seen(record, state, end, is_alive=is_alive, has_monitor=has_monitor)
    if record.is_guest and seen.state is WorkloadState.ENDED and not seen.exit_code:
        seen = msgspec.structs.replace(seen, exit_code=parse_exit(files.load_file(run / SHARE / EXIT)))
    return seen


def load_resume(keep: Path) -> Resume | None:
    """From where the machine is to go on at its next start. Blocking."""
    return load_struct(keep / RESUME, Resume)


def save_resume(keep: Path, resume: Resume) -> None:
    """Blocking. Raises OSError."""
    files.want_folder(keep)
    files.save_file(keep / RESUME, msgspec.json.encode(resume))


def drop_resume(keep: Path) -> None:
    """Durable when this returns: memory that was once let run must not be loaded again. Blocking."""
    if (keep / RESUME).exists():
        (keep / RESUME).unlink()
        files.sync_folder(keep)


def parse_exit(raw: bytes | None) -> int:
    """What a guest wrote of its command's end; anything but a number from 0 to 255 is an error."""
    text = (raw or b"").strip()
    return int(text) if text.isdigit() and len(text) <= 3 and int(text) < 256 else LOST_EXIT_CODE


def load_struct(path: Path, kind: type[_S]) -> _S | None:
    """None for a file that is not there or not whole."""
    raw = files.load_file(path)
    if raw is None:
        return None
    with contextlib.suppress(msgspec.DecodeError, msgspec.ValidationError):
        return msgspec.json.decode(raw, type=kind)
    return None


def is_same_process(pid: int, ticks: int) -> bool:
    """Whether the process that had this pid and began then still lives."""
    return pids.is_process(pid) and _load_ticks(pid) == ticks


def _load_ticks(pid: int) -> int:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return int(stat.rpartition(")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return 0


def _parse_event(text: str) -> _Event | None:
    with contextlib.suppress(msgspec.DecodeError, msgspec.ValidationError):
        return msgspec.json.decode(text, type=_Event)
    return None
