"""One machine under its monitor: start or take over, follow, note the end."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import time

from eaves.node.vms.monitor.console import Console, receive
from eaves.node.vms.monitor.processes import (
    POLL_S,
    START_LIMIT_S,
    catch_signals,
    load_ticks,
    save,
    save_state,
    spawn,
    start_helper,
)
from eaves.node.vms.monitor.seriallog import SerialLog

STDERR_BYTES = 4 << 10
KEPT_EVENTS = (b'"SHUTDOWN"', b'"GUEST_PANICKED"', b'"GUEST_CRASHLOADED"')


class Machine:
    """Raises OSError when the run folder does not say what to start."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        with open(self.path("start.json"), "rb") as file:
            self._start = json.loads(file.read())
        self._log = SerialLog(self._start["log"], self._start["position"])
        self._console: Console | None = None
        self._serial: socket.socket | None = None
        self._qmp: socket.socket | None = None
        self._qmp_line = bytearray()
        self._events: list[bytes] = []
        self._stderr = bytearray()
        self._stderr_fd = -1
        self._pid = 0
        self._pidfd = -1
        self._is_child = True
        self._helpers: list[int] = []
        self._signals = -1

    def path(self, name: str) -> str:
        return os.path.join(self._folder, name)

    def start(self) -> None:
        """Start the helpers and QEMU, wait until it answers. Raises OSError with the reason."""
        started_at = time.time()
        for argv, path in self._start["helpers"]:
            command = [*self._start["helper_launcher"], *argv]
            self._helpers.append(start_helper(command, path, self._start["cgroups"]))
        read, write = os.pipe()
        command = [*self._start["launcher"], *self._start["argv"], *self._start["options"]]
        self._pid = spawn(command, write, self._start["cgroups"], self._start["cpus"])
        os.close(write)
        os.set_blocking(read, False)
        self._stderr_fd = read
        self._pidfd = os.pidfd_open(self._pid)
        self._connect(started_at)

    def adopt(self) -> None:
        """Take over a machine whose former monitor died; how it will end is known from what it says itself."""
        with open(self.path("state.json"), "rb") as file:
            state = json.loads(file.read())
        self._is_child = False
        self._pid = state["pid"]
        self._pidfd = os.pidfd_open(self._pid)
        if load_ticks(self._pid) != state["ticks"]:
            raise OSError("the machine has ended")
        self._connect(state["started_at"])

    def abandon(self) -> None:
        """After a start that failed: nothing shall be left running."""
        if self._is_child:
            for pid in filter(None, (self._pid, *self._helpers)):
                try:
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
                except (ProcessLookupError, ChildProcessError):
                    continue

    def run(self) -> None:
        """Until the machine has ended; then say how."""
        is_ended = False
        while not is_ended:
            is_ended = self._turn()
        # What was written last is still in the sockets.
        self._read_serial()
        self._read_qmp()
        self._read_stderr()
        self._log.flush()
        if self._console is not None:
            self._console.finish()
        self._note_end()

    def _connect(self, started_at: float) -> None:
        self._qmp = self._dial("monitor-qmp.sock")
        # The greeting comes when the machine is made; the command allows events.
        self._qmp.sendall(b'{"execute": "qmp_capabilities"}\n')
        self._await_greeting(self._qmp)
        if self._start["serial"]:
            self._serial = self._dial("serial.sock")
            self._serial.setblocking(False)
            self._console = Console(self.path("console.sock"), self.path("live.sock"))
        self._signals = catch_signals(self._log.reopen)
        save_state(self._folder, self._pid, started_at)

    def _await_greeting(self, qmp: socket.socket) -> None:
        qmp.settimeout(START_LIMIT_S)
        while b'"return"' not in self._qmp_line:
            data = receive(qmp)
            if not data:
                raise self._early_end()
            self._qmp_line += data
        self._qmp_line.clear()
        qmp.setblocking(False)

    def _dial(self, name: str) -> socket.socket:
        deadline = time.monotonic() + START_LIMIT_S
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        while True:
            try:
                connection.connect(self.path(name))
            except OSError:
                if select.select([self._pidfd], [], [], POLL_S)[0]:
                    raise self._early_end() from None
                if time.monotonic() > deadline:
                    raise OSError("QEMU does not open its sockets") from None
            else:
                return connection

    def _early_end(self) -> OSError:
        select.select([self._pidfd], [], [], 1.0)
        self._read_stderr()
        return OSError(self._stderr.decode(errors="replace").strip() or "QEMU ended at once")

    def _turn(self) -> bool:
        deadline = self._log.deadline
        timeout_ms = max(0.0, deadline - time.monotonic()) * 1000 + 1 if deadline else None
        found = dict(self._poll().poll(timeout_ms))
        if deadline and time.monotonic() >= deadline:
            self._log.flush()
        if self._signals in found:
            os.read(self._signals, 64)
        if self._stderr_fd in found:
            self._read_stderr()
        if self._qmp is not None and self._qmp.fileno() in found:
            self._read_qmp()
        if self._serial is not None and self._serial.fileno() in found:
            self._write_serial(self._serial)
            self._read_serial()
        if self._console is not None:
            self._console.serve(found)
        return self._pidfd in found

    def _poll(self) -> select.poll:
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        poll.register(self._signals, select.POLLIN)
        if self._stderr_fd >= 0:
            poll.register(self._stderr_fd, select.POLLIN)
        if self._qmp is not None:
            poll.register(self._qmp, select.POLLIN)
        if self._console is not None:
            self._console.register(poll)
        if self._serial is not None:
            is_waiting = self._console is not None and bool(self._console.to_guest)
            poll.register(self._serial, select.POLLIN | (select.POLLOUT if is_waiting else 0))
        return poll

    def _read_serial(self) -> None:
        if self._serial is None:
            return
        data = receive(self._serial)
        if data is None:
            self._serial.close()
            self._serial = None
        elif data:
            self._log.write(data)
            if self._console is not None:
                self._console.give(data)

    def _write_serial(self, serial: socket.socket) -> None:
        if self._console is None or not self._console.to_guest:
            return
        try:
            sent = serial.send(self._console.to_guest[: 64 << 10])
        except OSError:
            return
        del self._console.to_guest[:sent]

    def _read_qmp(self) -> None:
        if self._qmp is None:
            return
        data = receive(self._qmp)
        if data is None:
            self._qmp.close()
            self._qmp = None
            return
        self._qmp_line += data
        *lines, rest = bytes(self._qmp_line).split(b"\n")
        self._qmp_line = bytearray(rest[-(64 << 10) :])
        self._events += [line for line in lines if any(name in line for name in KEPT_EVENTS)]
        del self._events[:-4]

    def _read_stderr(self) -> None:
        if self._stderr_fd < 0:
            return
        try:
            data = os.read(self._stderr_fd, 64 << 10)
        except BlockingIOError:
            return
        if not data:
            os.close(self._stderr_fd)
            self._stderr_fd = -1
        self._stderr += data
        del self._stderr[:-STDERR_BYTES]

    def _note_end(self) -> None:
        status = os.waitpid(self._pid, 0)[1] if self._is_child else None
        end = {
            "finished_at": time.time(),
            "status": None if status is None else os.waitstatus_to_exitcode(status),
            "events": [line.decode(errors="replace").strip() for line in self._events],
            "stderr": self._stderr.decode(errors="replace"),
        }
        save(self.path("end.json"), end)
