"""Processes of a machine, started and named."""

from __future__ import annotations

import json
import os
import select
import signal
import time
from collections.abc import Callable
from typing import Any

START_LIMIT_S = 60.0
POLL_S = 0.005
"""QEMU offers no event for a socket that it has opened; its start takes a tenth of a second."""


def spawn(argv: list[str], stderr: int, cgroups: list[str], cpus: list[int]) -> int:
    """Start ``argv`` in these control groups, on these CPUs (none = all); answers its pid. Why it could not be goes to ``stderr``."""
    pid = os.fork()
    if pid:
        return pid
    try:
        for path in cgroups:
            _write(os.path.join(path, "cgroup.procs"), b"0")
        if cpus:
            os.sched_setaffinity(0, cpus)
        null = os.open(os.devnull, os.O_RDWR)
        for number, source in ((0, null), (1, stderr), (2, stderr)):
            os.dup2(source, number)
        os.chdir("/")
        os.execvp(argv[0], argv)
    except OSError as error:
        os.write(stderr, f"{argv[0]}: {error}\n".encode())
    os._exit(127)


def start_helper(argv: list[str], path: str, cgroups: list[str]) -> int:
    """Start a program that QEMU needs; it is ready when its socket is there. Raises OSError with what it says."""
    read, write = os.pipe()
    pid = spawn(argv, write, cgroups, [])
    os.close(write)
    deadline = time.monotonic() + START_LIMIT_S
    try:
        while not os.path.exists(path):
            # Its standard error ends with it.
            if select.select([read], [], [], POLL_S)[0]:
                text = os.read(read, 2000).decode(errors="replace").strip()
                if not text or os.waitpid(pid, os.WNOHANG)[0]:
                    raise OSError(f"{argv[0]}: {text or 'ended at once'}")
            if time.monotonic() > deadline:
                raise OSError(f"{argv[0]}: does not get ready")
    finally:
        os.close(read)
    return pid


def load_ticks(pid: int) -> int:
    """When the process began, in clock ticks since boot: with the pid it names a process for ever."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[19])


def save(path: str, value: dict[str, Any]) -> None:
    """Replace a JSON file in one step."""
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        json.dump(value, file)
    os.replace(f"{path}.new", path)


def save_state(folder: str, pid: int, started_at: float) -> None:
    """Note in the run folder that this process keeps ``pid``."""
    state = {
        "pid": pid,
        "ticks": load_ticks(pid),
        "monitor_pid": os.getpid(),
        "monitor_ticks": load_ticks(os.getpid()),
        "started_at": started_at,
    }
    save(os.path.join(folder, "state.json"), state)


def catch_signals(reopen: Callable[[], None]) -> int:
    """Let no signal end this process, and SIGUSR1 call ``reopen``; answers what becomes readable when one has come.

    Not before what is kept has been started: a program inherits which signals are ignored.
    """
    read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(write)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, lambda *_: reopen())
    return read


def _write(path: str, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)
