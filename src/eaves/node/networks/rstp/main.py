"""The process: :mod:`eaves.node.networks.trees` starts it."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable

from eaves.kit.daemonizing import daemonize
from eaves.node.networks.rstp.speaker import Speaker


def main(folder: str) -> int:
    """Answers to who started it when the ports are in its hands, or with the reason why not; then goes on by itself."""
    return daemonize(os.path.join(folder, "lock"), lambda: _begin(folder))


def _begin(folder: str) -> Callable[[], None]:
    wake, tell = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
    signal.signal(signal.SIGHUP, lambda *_: None)
    with open(os.path.join(folder, "pid"), "w", encoding="ascii") as file:
        file.write(str(os.getpid()))
    speaker = Speaker(folder)
    return lambda: _run(speaker, wake)


def _run(speaker: Speaker, wake: int) -> None:
    _put_first()
    try:
        speaker.run(wake)
    finally:
        speaker.shut()


def _put_first() -> None:
    """A box without time to spare must not fall silent: its neighbours would open their ports. Not every host allows it."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, -10)
