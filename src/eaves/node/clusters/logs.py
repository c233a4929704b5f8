"""What K3s writes, line by line, into the device's log: K3s is a part of the device, as EVE has it."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import Callable

from eaves.node import pids
from eaves.node.clusters.membership import Membership
from eaves.node.clusters.running import POSITION
from eaves.node.inotify import FolderWatch
from eaves.node.observed import LogLine
from eaves.node.statefile import StateFile
from eaves.node.workloads.logs import LogFollower, Position
from eaves.wire.newlog import LogRecord

SOURCE = "k3s"
LOOK_EVERY_S = 5.0
_LEVEL = re.compile(r"\blevel=(debug|info|warning|error|fatal)\b|^([IWEF])\d{4} ")
_LETTERS = {"I": "info", "W": "warning", "E": "error", "F": "fatal"}


def find_severity(text: str) -> str:
    """Of a line of K3s's own (``level=…``) or of a Kubernetes component inside it (``E0131 …``)."""
    found = _LEVEL.search(text[:200])
    if found is None:
        return "info"
    return found[1] or _LETTERS[found[2]]


async def follow(membership: Membership, note: Callable[[LogRecord], None]) -> None:
    """Hand each line to ``note`` until this membership ends."""
    own, generation = membership.own, membership.generation

    async def reopen() -> bool:
        if membership.seen.monitor_pid:
            pids.send_signal(membership.seen.monitor_pid, signal.SIGUSR1)
        return True

    async def deliver(lines: list[LogLine]) -> None:
        for line in lines:
            text = membership.veil.hide(line.text)
            note(LogRecord(content=text, time_ns=line.time_ns, severity=find_severity(line.text), source=SOURCE))

    watch = FolderWatch()
    state = StateFile(own.root / POSITION, Position)
    follower = LogFollower(membership.record.id, own.logs, state, deliver, reopen, watch)
    task = asyncio.create_task(follower.run(), name="K3s's log")
    try:
        while membership.generation == generation and not task.done():
            await asyncio.wait((task,), timeout=LOOK_EVERY_S)
    finally:
        task.cancel()
        await asyncio.wait((task,))
        watch.close()
