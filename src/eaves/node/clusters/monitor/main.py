"""The process: :mod:`eaves.node.clusters.running` starts it."""

from __future__ import annotations

import json
import os
import select
import time

from eaves.kit.daemonizing import daemonize
from eaves.node.clusters.monitor import LOCK
from eaves.node.vms.monitor.processes import catch_signals, save, save_state, spawn
from eaves.node.vms.monitor.seriallog import SerialLog

TAIL_BYTES = 4 << 10
_READ_BYTES = 64 << 10


def main(folder: str) -> int:
    """Answers to who started it when K3s runs, or with the reason why not; then goes on by itself."""
    return daemonize(os.path.join(folder, LOCK), lambda: Keeper(folder).run)


class Keeper:
    """One K3s from its start to its end. Raises OSError when the run folder does not say what to start."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        with open(os.path.join(folder, "start.json"), "rb") as file:
            start = json.load(file)
        self._log = SerialLog(start["log"], start["position"])
        self._tail = bytearray()
        os.environ.clear()
        os.environ.update(start["environment"])
        started_at = time.time()
        self._output, output = os.pipe2(os.O_CLOEXEC)
        self._pid = spawn(start["argv"], output, start["cgroups"], [])
        os.close(output)
        os.set_blocking(self._output, False)
        self._pidfd = os.pidfd_open(self._pid)
        self._signals = catch_signals(self._log.reopen)
        save_state(folder, self._pid, started_at)

    def run(self) -> None:
        """Until K3s has ended; then say how. What it started may hold its output open for longer, so that counts for nothing."""
        while not self._turn():
            pass
        self._read()
        self._log.flush()
        status = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        end = {"finished_at": time.time(), "status": status, "stderr": self._tail.decode(errors="replace")}
        save(os.path.join(self._folder, "end.json"), end)

    def _turn(self) -> bool:
        deadline = self._log.deadline
        timeout_ms = max(0.0, deadline - time.monotonic()) * 1000 + 1 if deadline else None
        poll = select.poll()
        for descriptor in (self._pidfd, self._signals, self._output):
            if descriptor >= 0:
                poll.register(descriptor, select.POLLIN)
        found = dict(poll.poll(timeout_ms))
        if deadline and time.monotonic() >= deadline:
            self._log.flush()
        if self._signals in found:
            os.read(self._signals, 64)
        if self._output in found:
            self._read()
        return self._pidfd in found

    def _read(self) -> None:
        while self._output >= 0:
            try:
                data = os.read(self._output, _READ_BYTES)
            except BlockingIOError:
                return
            if not data:
                os.close(self._output)
                self._output = -1
                return
            self._log.write(data)
            self._tail += data
            del self._tail[:-TAIL_BYTES]
