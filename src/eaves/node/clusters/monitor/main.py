"""Start of a monitor: ``python -I -S -c CODE RUN_FOLDER``, see :mod:`eaves.node.clusters.running`."""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import sys
import time

from eaves.node.clusters.monitor import LOCK
from eaves.node.vms.monitor.processes import load_ticks, save, spawn
from eaves.node.vms.monitor.seriallog import SerialLog

TAIL_BYTES = 4 << 10
_READ_BYTES = 64 << 10


def main(folder: str) -> int:
    """Answers to who started it when K3s runs, or with the reason why not; then goes on by itself."""
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
        keeper = Keeper(folder)
    except (OSError, ValueError) as error:
        os.write(write, b"-" + str(error).encode())
        return 1
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    os.write(write, b"+")
    os.close(write)
    keeper.run()
    return 0


class Keeper:
    """One K3s from its start to its end. Raises OSError when the run folder does not say what to start."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        with open(os.path.join(folder, "start.json"), "rb") as file:
            start = json.load(file)
        self._log = SerialLog(start["log"], start["position"])
        self._tail = bytearray()
        self._signals, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        os.environ.clear()
        os.environ.update(start["environment"])
        started_at = time.time()
        self._output, output = os.pipe2(os.O_CLOEXEC)
        self._pid = spawn(start["argv"], output, start["cgroups"], [])
        os.close(output)
        os.set_blocking(self._output, False)
        self._pidfd = os.pidfd_open(self._pid)
        self._catch_signals(write)
        state = {
            "pid": self._pid,
            "ticks": load_ticks(self._pid),
            "monitor_pid": os.getpid(),
            "monitor_ticks": load_ticks(os.getpid()),
            "started_at": started_at,
        }
        save(os.path.join(folder, "state.json"), state)

    def run(self) -> None:
        """Until K3s has ended; then say how. What it started may hold its output open for longer, so that counts for nothing."""
        while not self._turn():
            pass
        self._read()
        self._log.flush()
        status = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        end = {"finished_at": time.time(), "status": status, "stderr": self._tail.decode(errors="replace")}
        save(os.path.join(self._folder, "end.json"), end)

    def _catch_signals(self, write: int) -> None:
        signal.set_wakeup_fd(write)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, lambda *_: self._log.reopen())

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
