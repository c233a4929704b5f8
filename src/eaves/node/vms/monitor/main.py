"""The process: :mod:`eaves.node.vms.launch` starts it."""

from __future__ import annotations

import os
from collections.abc import Callable

from eaves.kit.daemonizing import daemonize
from eaves.node.vms.monitor import ADOPT, LOCK
from eaves.node.vms.monitor.machine import Machine


def main(folder: str, *options: str) -> int:
    """Answers to who started it when the machine runs, or with the reason why not; then goes on by itself."""
    return daemonize(os.path.join(folder, LOCK), lambda: _begin(folder, is_adoption=ADOPT in options))


def _begin(folder: str, *, is_adoption: bool) -> Callable[[], None]:
    machine = Machine(folder)
    if is_adoption:
        machine.adopt()
        return machine.run
    try:
        machine.start()
    except BaseException:
        machine.abandon()
        raise
    return machine.run
