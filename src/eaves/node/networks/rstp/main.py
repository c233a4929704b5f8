"""Start of the process: ``python -I -S -c CODE SOURCES RUN_FOLDER``, see :mod:`eaves.node.networks.trees`."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import sys

from eaves.node.networks.rstp.speaker import Speaker


def main(folder: str) -> int:
    """Answers to who started it when the ports are in its hands, or with the reason why not; then goes on by itself."""
    read, write = os.pipe()
    if os.fork():
        os.close(write)
        with open(read, "rb") as file:
            answer = file.read()
        sys.stderr.write(answer[1:].decode(errors="replace"))
        return 0 if answer[:1] == b"+" else 1
    os.close(read)
    os.setsid()
    wake, tell = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
    signal.signal(signal.SIGHUP, lambda *_: None)
    try:
        # Held until this process ends: two would contradict each other.
        lock = os.open(os.path.join(folder, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with open(os.path.join(folder, "pid"), "w", encoding="ascii") as file:
            file.write(str(os.getpid()))
        speaker = Speaker(folder)
    except (OSError, ValueError, KeyError) as error:
        os.write(write, b"-" + (str(error) or type(error).__name__).encode())
        return 1
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    os.write(write, b"+")
    os.close(write)
    _put_first()
    try:
        speaker.run(wake)
    finally:
        speaker.shut()
    return 0


def _put_first() -> None:
    """A box without time to spare must not fall silent: its neighbours would open their ports. Not every host allows it."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, -10)
