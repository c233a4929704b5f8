"""K3s's process on this node: started in its control group under a monitor, found again, stopped.

The monitor outlives the daemon; a new daemon finds both by ``state.json``, whose start times tell reused pids apart.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import hmac
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml
from msgspec import Struct

from eaves.kit import daemonizing, files, process
from eaves.node import pids
from eaves.node.clusters import monitor
from eaves.node.clusters.errors import ClusterError
from eaves.node.clusters.model import ClusterFolders
from eaves.node.clusters.spec import K3sSpec, secret_of
from eaves.node.vms.state import RunEnd, RunState, is_same_process, load_struct
from eaves.node.workloads.logs import current_log

_START_LIMIT_S = 60.0
_NOTE_LIMIT_S = 5.0
POSITION = "log.json"
NODE_PASSWORD = Path("/etc/rancher/node/password")
"""Where K3s looks for it, whatever its data folder is."""


class K3sSeen(Struct, frozen=True):
    """``pid`` 0 = it does not run; ``end`` = how it ended, None = it runs, never ran, or nobody saw its end."""

    pid: int = 0
    started_at: float = 0.0
    was_started: bool = False
    """There is a note of a start since this boot."""
    end: RunEnd | None = None
    monitor_pid: int = 0


def load_seen(folders: ClusterFolders) -> K3sSeen:
    """Blocking."""
    state = load_struct(folders.run / "state.json", RunState)
    if state is None:
        return K3sSeen()
    has_monitor = is_same_process(state.monitor_pid, state.monitor_ticks)
    monitor_pid = state.monitor_pid if has_monitor else 0
    if is_same_process(state.pid, state.ticks):
        return K3sSeen(state.pid, state.started_at, True, None, monitor_pid)
    return K3sSeen(0, state.started_at, True, load_struct(folders.run / "end.json", RunEnd), monitor_pid)


async def observe(folders: ClusterFolders) -> K3sSeen:
    """As :func:`load_seen`; a monitor whose K3s has ended is given the moment that it takes to note how."""
    seen = await asyncio.to_thread(load_seen, folders)
    if seen.pid or not seen.was_started or seen.end is not None or not seen.monitor_pid:
        return seen
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_NOTE_LIMIT_S):
            await pids.wait_exit(seen.monitor_pid)
    return await asyncio.to_thread(load_seen, folders)


def save_files(folders: ClusterFolders, spec: K3sSpec, config: dict[str, Any] | None = None) -> None:
    """Write what K3s reads; secrets are for root alone. Blocking. Raises OSError."""
    for folder in (folders.root, folders.data, folders.run, folders.drop_ins, folders.logs):
        files.want_folder(folder)
    _save_changed(folders.token, spec.token.encode() + b"\n")
    for name, text in spec.files.items():
        _save_changed(folders.root / name, text.encode())
    _save_changed(folders.config, yaml.safe_dump(dict(config or spec.config), sort_keys=True).encode())
    override = folders.drop_ins / "99-override.yaml"
    if spec.override:
        _save_changed(override, spec.override.encode())
    else:
        override.unlink(missing_ok=True)


def save_node_password(node_name: str, token: str) -> None:
    """By it the servers know a node of this name again, and refuse the name to any other. Blocking. Raises OSError.

    K3s makes up one that goes with the disk; so that a node on blank hardware takes its old place, it follows from token and name here.
    """
    if not NODE_PASSWORD.exists():
        files.want_folder(NODE_PASSWORD.parent)
        password = hmac.new(
            secret_of(token).encode(), f"node-password/{node_name}".encode(), hashlib.sha256
        ).hexdigest()[:32]
        files.save_file(NODE_PASSWORD, f"{password}\n".encode())


async def start(folders: ClusterFolders, spec: K3sSpec, cgroups: list[str]) -> None:
    """Start K3s under a monitor. Raises ClusterError, OSError."""
    start_note: dict[str, object] = {
        "argv": list(spec.argv),
        "environment": dict(spec.environment),
        "log": str(current_log(folders.logs)),
        "position": str(folders.root / POSITION),
        "cgroups": cgroups,
    }
    await asyncio.to_thread(_save_start, folders, start_note)
    argv = daemonizing.want_argv(f"{monitor.__name__}.main", str(folders.run))
    done = await process.run(argv, timeout_s=_START_LIMIT_S, check=False)
    if done.returncode != 0:
        raise ClusterError(f"K3s cannot be started: {done.stderr.decode(errors='replace').strip()[:300]}")


def explain_end(end: RunEnd | None) -> str:
    """How K3s ended, in its own last words."""
    if end is None or end.status is None:
        return "K3s ended, nobody saw how"
    how = f"was killed by signal {-end.status}" if end.status < 0 else f"ended with exit status {end.status}"
    return f"K3s {how}" + (f": {words}" if (words := find_last_words(end.stderr)) else "")


def find_last_words(output: str) -> str:
    """The last line that tells of something fatal, else the last line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    fatal = [line for line in lines if "level=fatal" in line or "level=error" in line or line.startswith("Error:")]
    line = (fatal or lines or [""])[-1]
    _, mark, message = line.partition('msg="')
    return (message.rpartition('"')[0].replace('\\"', '"') if mark else line)[:400]


def _save_start(folders: ClusterFolders, note: dict[str, object]) -> None:
    with _locked(folders):
        for name in ("state.json", "end.json"):
            (folders.run / name).unlink(missing_ok=True)
        files.save_file(folders.run / "start.json", msgspec.json.encode(note))


@contextlib.contextmanager
def _locked(folders: ClusterFolders) -> Iterator[None]:
    """A monitor holds this lock for as long as it lives; it ends a moment after K3s."""
    with (folders.run / monitor.LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ClusterError("the monitor of an earlier start has not ended yet") from None
        yield


def _save_changed(path: Path, data: bytes) -> None:
    """A restart on a full disk must not fail for want of space for what is there already."""
    if files.load_file(path) != data:
        files.save_file(path, data)
