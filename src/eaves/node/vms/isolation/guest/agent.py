"""The loop of the agent: frames in, frames out, and the commands between. One thread, nothing that waits.

A virtio port tells by POLLHUP that the node is not there and by SIGIO that this may have changed (virtio_console.c of Linux); while
nobody is there, the agent sleeps. Whoever goes away ends all sessions.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import sys
import time

from eaves.node.vms.isolation.guest import frames
from eaves.node.vms.isolation.guest.commands import Command, Identity

_HANG_UP_S = 1.0
"""How long a command may take to end by itself when its user has gone."""
_KILLED = 137
_QUEUE_BYTES = 256 << 10
"""While more than this waits for the node, no output is read."""


class Session:
    """A command and what is under way to and from it."""

    def __init__(self, command: Command) -> None:
        self.command = command
        self.input = bytearray()
        self.is_input_over = False
        self.room = frames.WINDOW_BYTES
        self.code: int | None = None
        self.failure = b""

    def close_input_once_written(self) -> None:
        if self.is_input_over and not self.input:
            self.command.close_input()


class Dying:
    """A command whose user has gone. ``number``: the session to tell the end of, 0 = nobody asks."""

    def __init__(self, command: Command, number: int) -> None:
        self.command = command
        self.number = number
        self.deadline = time.monotonic() + _HANG_UP_S


class Agent:
    """``port``: a descriptor towards the node; ``identity``: who commands run as."""

    def __init__(self, port: int, identity: Identity) -> None:
        self._port = port
        self._identity = identity
        self._decoder = frames.Decoder()
        self._queue = bytearray()
        self._sessions: dict[int, Session] = {}
        self._dying: dict[int, Dying] = {}
        self._wake, self._woken = os.pipe()

    def run(self, *, has_node: bool = True) -> None:
        """Until the port is closed for good; ``has_node`` False: one that can come and go, as a virtio port's."""
        for number in (self._port, self._wake, self._woken):
            os.set_blocking(number, False)
        signal.set_wakeup_fd(self._woken, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGIO):
            signal.signal(number, lambda *_: None)
        if not has_node:
            fcntl.fcntl(self._port, fcntl.F_SETOWN, os.getpid())
            fcntl.fcntl(self._port, fcntl.F_SETFL, fcntl.fcntl(self._port, fcntl.F_GETFL) | os.O_ASYNC)
        while True:
            is_there = not _is_hung_up(self._port)
            if not is_there:
                self._end_all()
                if has_node and not self._dying:
                    return
            self._turn(is_there=is_there)

    def _turn(self, *, is_there: bool) -> None:
        """Wait for something, do it."""
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        if is_there:
            poll.register(self._port, select.POLLIN | (select.POLLOUT if self._queue else 0))
        for session in self._sessions.values():
            self._register(poll, session)
        found = dict(poll.poll(self._want_timeout_ms()))
        if self._wake in found:
            os.read(self._wake, 4096)
        self._reap()
        self._kill_late()
        for number, session in list(self._sessions.items()):
            self._serve(number, session, found)
        if found.get(self._port, 0) & select.POLLOUT:
            self._send()
        if found.get(self._port, 0) & select.POLLIN:
            self._receive()

    def _register(self, poll: select.poll, session: Session) -> None:
        command = session.command
        if command.status >= 0:
            poll.register(command.status, select.POLLIN)
        wanted = select.POLLIN if session.room > 0 and len(self._queue) < _QUEUE_BYTES else 0
        masks = dict.fromkeys(command.outputs, wanted)
        if command.input >= 0 and session.input:
            masks[command.input] = masks.get(command.input, 0) | select.POLLOUT
        for number, mask in masks.items():
            # A pipe that has been closed is told whatever was asked for: one that must wait is left out.
            if mask:
                poll.register(number, mask)

    def _want_timeout_ms(self) -> float | None:
        if not self._dying:
            return None
        return max(0.0, min(dying.deadline for dying in self._dying.values()) - time.monotonic()) * 1000 + 1

    def _receive(self) -> None:
        try:
            data = os.read(self._port, 64 << 10)
        except OSError:
            # Nothing, after all; that the node has gone is told by the next look.
            return
        for kind, number, payload in self._decoder.feed(data):
            try:
                self._take(kind, number, payload)
            except ValueError as error:
                self._put(frames.FAILED, number, str(error).encode())

    def _send(self) -> None:
        try:
            del self._queue[: os.write(self._port, self._queue[: 64 << 10])]
        except BlockingIOError:
            return
        except OSError:
            self._queue.clear()

    def _put(self, kind: int, number: int, payload: bytes = b"") -> None:
        self._queue += frames.encode_frame(kind, number, payload)

    def _take(self, kind: int, number: int, payload: bytes) -> None:
        if kind == frames.HELLO:
            self._end_all()
            self._queue += frames.ABORT
            self._put(frames.HELLO, 0, payload)
        elif kind == frames.OPEN:
            self._open(number, payload)
        elif (session := self._sessions.get(number)) is not None:
            self._change(kind, number, session, payload)

    def _open(self, number: int, payload: bytes) -> None:
        try:
            self._sessions[number] = Session(Command(self._identity, payload))
        except OSError as error:
            self._put(frames.FAILED, number, os.strerror(error.errno or 0).encode())

    def _change(self, kind: int, number: int, session: Session, payload: bytes) -> None:
        if kind == frames.INPUT:
            if session.command.input < 0:
                self._put(frames.TAKEN, number, frames.encode_count(len(payload)))
            else:
                session.input += payload
        elif kind == frames.INPUT_END:
            session.is_input_over = True
            session.close_input_once_written()
        elif kind == frames.SIZE:
            session.command.resize(*frames.parse_size(payload))
        elif kind == frames.TAKEN:
            session.room += frames.parse_count(payload)
        elif kind == frames.CLOSE:
            self._end(number, is_told=True)

    def _serve(self, number: int, session: Session, found: dict[int, int]) -> None:
        command = session.command
        if command.status in found:
            self._read_status(session)
        for output in [output for output in command.outputs if found.get(output, 0) & ~select.POLLOUT]:
            if session.room > 0:
                self._read_output(number, session, output)
        if command.input in found and session.input:
            self._write_input(number, session)
        if session.code is not None and not command.outputs and command.status < 0:
            del self._sessions[number]
            command.close()
            if session.failure:
                self._put(frames.FAILED, number, session.failure)
            else:
                self._put(frames.EXIT, number, frames.encode_count(session.code))

    def _read_status(self, session: Session) -> None:
        try:
            session.failure = os.read(session.command.status, 4096)
        except BlockingIOError:
            return
        session.command.close_status()

    def _read_output(self, number: int, session: Session, output: int) -> None:
        try:
            data = os.read(output, min(session.room, frames.DATA_BYTES))
        except BlockingIOError:
            return
        except OSError:
            # A terminal that everybody has left.
            data = b""
        if not data:
            session.command.close_output(output)
            return
        session.room -= len(data)
        self._put(session.command.outputs[output], number, data)

    def _write_input(self, number: int, session: Session) -> None:
        try:
            count = os.write(session.command.input, session.input[: 64 << 10])
        except BlockingIOError:
            return
        except OSError:
            # Nobody will read it: it goes nowhere, so that the one who types does not wait.
            count = len(session.input)
            session.command.close_input()
        del session.input[:count]
        session.close_input_once_written()
        self._put(frames.TAKEN, number, frames.encode_count(count))

    def _reap(self) -> None:
        by_pid = {session.command.pid: session for session in self._sessions.values()}
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            code = os.waitstatus_to_exitcode(status)
            if pid in by_pid:
                by_pid[pid].code = code if code >= 0 else 128 - code
            elif pid in self._dying and not self._dying[pid].command.has_processes():
                self._bury(pid)

    def _end_all(self) -> None:
        self._queue.clear()
        for dying in self._dying.values():
            dying.number = 0
        for number in list(self._sessions):
            self._end(number, is_told=False)

    def _end(self, number: int, *, is_told: bool) -> None:
        command = self._sessions.pop(number).command
        command.close()
        command.send_signal(signal.SIGHUP)
        self._dying[command.pid] = Dying(command, number if is_told else 0)

    def _kill_late(self) -> None:
        for pid, dying in list(self._dying.items()):
            if time.monotonic() >= dying.deadline:
                dying.command.send_signal(signal.SIGKILL)
                self._bury(pid)

    def _bury(self, pid: int) -> None:
        dying = self._dying.pop(pid)
        if dying.number:
            self._put(frames.EXIT, dying.number, frames.encode_count(_KILLED))


def main(port_name: str, root: str, identity_path: str) -> None:
    """Serve the virtio port of that name for ever. Raises OSError."""
    identity = Identity.load(identity_path)
    port = os.open(_find_port(port_name), os.O_RDWR | os.O_CLOEXEC)
    # From here on nothing can be imported; terminals and /proc are those of the app.
    os.chroot(root)
    os.chdir("/")
    Agent(port, identity).run(has_node=False)


def _find_port(name: str) -> str:
    for port in os.listdir("/sys/class/virtio-ports"):
        with open(f"/sys/class/virtio-ports/{port}/name", "rb") as file:
            if file.read().strip() == name.encode():
                return f"/dev/{port}"
    raise FileNotFoundError(f"no virtio port has the name {name}")


def _is_hung_up(port: int) -> bool:
    poll = select.poll()
    poll.register(port, 0)
    return any(events & (select.POLLHUP | select.POLLERR) for _, events in poll.poll(0))


if __name__ == "__main__":
    main(*sys.argv[1:])
