"""Processes that are not our children: is it still the one we mean, and tell me when it ends.

Containers' monitors and dnsmasq outlive the daemon on purpose; a new daemon finds them by pid file and watches them by pidfd, so
the end of one is an event and costs nothing until it comes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path


def load_pid(path: Path, needle: str) -> int:
    """The pid in ``path`` if that process lives and its command line holds ``needle``, else 0. Pids are reused; files get stale."""
    try:
        pid = int(path.read_text(encoding="ascii").strip())
    except (FileNotFoundError, ValueError):
        return 0
    return pid if is_process(pid, needle) else 0


def is_process(pid: int, needle: str = "") -> bool:
    """Whether ``pid`` lives (a zombie does not) and its command line holds ``needle``."""
    if pid <= 0:
        return False
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state not in ("Z", "X") and needle.encode() in command


async def wait_exit(pid: int) -> None:
    """Return when process ``pid`` has ended; at once if there is none."""
    if pid <= 0:
        return
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop = asyncio.get_running_loop()
    ended = loop.create_future()

    def tell() -> None:
        loop.remove_reader(descriptor)
        if not ended.done():
            ended.set_result(None)

    loop.add_reader(descriptor, tell)
    try:
        await ended
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def send_signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


async def stop(pid: int, grace_s: float) -> None:
    """Ask ``pid`` to end, kill it after ``grace_s``; returns when it has ended."""
    if pid <= 0:
        return
    send_signal(pid, signal.SIGTERM)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(grace_s):
            await wait_exit(pid)
            return
    send_signal(pid, signal.SIGKILL)
    await wait_exit(pid)
