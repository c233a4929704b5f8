"""Start of a monitor: ``python -I -S -c CODE RUN_FOLDER [--adopt]``, see :mod:`eaves.node.vms.launch`."""

from __future__ import annotations

import fcntl
import os
import sys

from eaves.node.vms.monitor import LOCK
from eaves.node.vms.monitor.machine import Machine


def main(folder: str, *, is_adoption: bool) -> int:
    """Answers to who started it when the machine runs, or with the reason why not; then goes on by itself."""
    read, write = os.pipe()
    if os.fork():
        os.close(write)
        with open(read, "rb") as file:
            answer = file.read()
        sys.stderr.write(answer[1:].decode(errors="replace"))
        return 0 if answer[:1] == b"+" else 1
    os.close(read)
    os.setsid()
    try:
        # Held until this process ends.
        lock = os.open(os.path.join(folder, LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        machine = Machine(folder)
        _begin(machine, is_adoption=is_adoption)
    except (OSError, ValueError) as error:
        os.write(write, b"-" + str(error).encode())
        return 1
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    os.write(write, b"+")
    os.close(write)
    machine.run()
    return 0


def _begin(machine: Machine, *, is_adoption: bool) -> None:
    if is_adoption:
        machine.adopt()
        return
    try:
        machine.start()
    except BaseException:
        machine.abandon()
        raise
