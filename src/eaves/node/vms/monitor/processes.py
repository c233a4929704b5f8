"""Processes of a machine, started and named."""

from __future__ import annotations

import json
import os
import select
import time
from typing import Any

START_LIMIT_S = 60.0
POLL_S = 0.005
"""QEMU offers no event for a socket that it has opened; its start takes a tenth of a second."""


def spawn(argv: list[str], stderr: int, cgroups: list[str], cpus: list[int]) -> int:
    """Start ``argv`` in these control groups, on these CPUs (none = all); answers its pid."""
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
        os.write(2, f"{argv[0]}: {error}\n".encode())
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


def _write(path: str, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)
