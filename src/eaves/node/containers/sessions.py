"""Commands in containers, run by the OCI runtime.

The runtime (runc, crun) is called itself rather than through ``podman exec``: it starts a command in a fifth of the time, keeps 2 MB of
memory where podman keeps 40, and writes down the process id, without which nothing could be killed: a command goes on when the podman
client that started it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import subprocess
from pathlib import Path

from eaves.kit.descriptors import Descriptor, Terminal
from eaves.kit.process import ProgramMissingError
from eaves.node import pids
from eaves.node.workloads.sessions import Command, Output, Session, SessionError, Take

_HANG_UP_S = 1.0
"""How long a command may take to end by itself when its user has gone."""
_SILENCE_S = 1.0
"""After a command's end a child of it may hold its output open without a word; then the session ends anyway."""
_SHOWN_BYTES = 500
_CGROUP_MARK = b"/libpod-"


class CommandSession(Session):
    """A command in a container. ``folder`` is this session's own, below the run folder: it holds the process id."""

    def __init__(
        self,
        runtime: subprocess.Popen[bytes],
        folder: Path,
        outputs: dict[Output, Descriptor],
        stdin: Descriptor | None,
        terminal: Terminal | None,
    ) -> None:
        self._runtime = runtime
        self._folder = folder
        self._outputs = outputs
        self._input = stdin
        self._terminal = terminal
        self._last_words = b""
        self._reads = 0
        self._taking = 0

    @classmethod
    async def open(cls, runtime: str, workload_id: str, command: Command, sessions_dir: Path) -> CommandSession:
        """Raises ProgramMissingError, OSError."""
        folder = sessions_dir / secrets.token_hex(8)
        opening = cls._open_terminal if command.tty else cls._open_pipes
        try:
            return await asyncio.to_thread(opening, runtime, workload_id, command, folder)
        except FileNotFoundError as error:
            raise ProgramMissingError(str(error.filename)) from error

    @classmethod
    def _open_pipes(cls, runtime: str, workload_id: str, command: Command, folder: Path) -> CommandSession:
        argv = [runtime, "exec", f"--pid-file={folder / 'pid'}", workload_id, *command.argv]
        stdin = subprocess.PIPE if command.stdin else subprocess.DEVNULL
        folder.mkdir(mode=0o700, parents=True)
        process = subprocess.Popen(
            argv, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
        outputs = {Output.STDOUT: _detach(process.stdout), Output.STDERR: _detach(process.stderr)}
        return cls(process, folder, outputs, _detach(process.stdin) if command.stdin else None, None)

    @classmethod
    def _open_terminal(cls, runtime: str, workload_id: str, command: Command, folder: Path) -> CommandSession:
        # setsid makes the terminal the runtime's controlling one, so that it hears of changes of the size.
        argv = ["setsid", "--ctty", runtime, "exec", f"--pid-file={folder / 'pid'}", "--tty", "--env=TERM=xterm"]
        folder.mkdir(mode=0o700, parents=True)
        terminal = Terminal()
        try:
            process = subprocess.Popen(
                [*argv, workload_id, *command.argv], stdin=terminal.far, stdout=terminal.far, stderr=terminal.far
            )
        except BaseException:
            terminal.close()
            raise
        terminal.close_far()
        return cls(process, folder, {Output.STDOUT: terminal}, terminal if command.stdin else None, terminal)

    async def pump(self, take: Take) -> int:
        pumps = [asyncio.create_task(self._pump(output, take)) for output in self._outputs]
        ending = asyncio.create_task(pids.wait_exit(self._runtime.pid))
        try:
            await self._wait_end(ending, pumps)
        finally:
            for task in (ending, *pumps):
                task.cancel()
            await asyncio.wait((ending, *pumps))
        code = await asyncio.to_thread(self._runtime.wait)
        if code != 0 and not await asyncio.to_thread((self._folder / "pid").exists):
            raise SessionError(_explain(self._last_words))
        return code if code >= 0 else 128 - code

    async def _wait_end(self, ending: asyncio.Task[None], pumps: list[asyncio.Task[None]]) -> None:
        """Until the command has ended and all that it wrote is taken, or nothing comes any more."""
        pending: set[asyncio.Task[None]] = {ending, *pumps}
        while pending:
            reads = self._reads
            limit_s = _SILENCE_S if ending.done() else None
            done, pending = await asyncio.wait(pending, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            if not done and not self._taking and self._reads == reads:
                return

    async def _pump(self, output: Output, take: Take) -> None:
        descriptor = self._outputs[output]
        while data := await descriptor.read():
            self._reads += 1
            self._last_words = (self._last_words + data)[-_SHOWN_BYTES:]
            self._taking += 1
            try:
                await take(output, data)
            finally:
                self._taking -= 1

    async def write(self, data: bytes) -> None:
        if self._input is not None:
            await self._input.write(data)

    async def close_input(self) -> None:
        """A terminal is told by its end-of-file character, as by a person."""
        if self._terminal is not None:
            await self.write(b"\x04")
        elif self._input is not None:
            self._input.close()

    def resize(self, columns: int, rows: int) -> None:
        if self._terminal is not None:
            self._terminal.resize(columns, rows)

    async def close(self) -> None:
        for descriptor in (*self._outputs.values(), self._input):
            if descriptor is not None:
                descriptor.close()
        # Whoever is cancelled must not leave a command behind.
        await asyncio.shield(asyncio.ensure_future(self._end()))

    async def _end(self) -> None:
        if self._runtime.returncode is None and self._runtime.poll() is None:
            await self._kill()
        await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    async def _kill(self) -> None:
        """By hanging up, and where that does not help, by force."""
        for number in (signal.SIGHUP, signal.SIGKILL):
            await asyncio.to_thread(_signal_session, self._folder / "pid", number)
            exiting = asyncio.create_task(pids.wait_exit(self._runtime.pid))
            done, _ = await asyncio.wait((exiting,), timeout=_HANG_UP_S)
            if done:
                break
            exiting.cancel()
        else:
            self._runtime.kill()
        await asyncio.to_thread(self._runtime.wait)


def end_sessions(sessions_dir: Path) -> None:
    """Kill what a daemon that was killed itself has left. Blocking."""
    for folder in sessions_dir.glob("*"):
        _signal_session(folder / "pid", signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


def _signal_session(pid_file: Path, number: signal.Signals) -> None:
    """Signal the command and all processes of its session, unless its number belongs to something else by now."""
    with contextlib.suppress(OSError, ValueError):
        leader = int(pid_file.read_text(encoding="ascii"))
        for pid in [leader, *_list_session(leader)]:
            if _CGROUP_MARK in Path(f"/proc/{pid}/cgroup").read_bytes():
                pids.send_signal(pid, number)


def _list_session(leader: int) -> list[int]:
    found = []
    for name in os.listdir("/proc"):  # noqa: PTH208 - a Path for each process costs more than the rest
        if not name.isdecimal() or int(name) == leader:
            continue
        with contextlib.suppress(OSError, IndexError, ValueError):
            fields = Path(f"/proc/{name}/stat").read_bytes().rpartition(b")")[2].split()
            if int(fields[3]) == leader:
                found.append(int(name))
    return found


def _detach(pipe: object) -> Descriptor:
    """The descriptor of a pipe's file object, which then no longer owns it."""
    number = os.dup(pipe.fileno())  # type: ignore[attr-defined]  # an open file
    pipe.close()  # type: ignore[attr-defined]
    return Descriptor(number)


def _explain(words: bytes) -> str:
    """What the runtime said; it logs as ``… msg="WHY"``."""
    text = words.decode(errors="replace").strip()
    said = text.rpartition('msg="')[2].rstrip('"').replace('\\"', '"')
    return said or "the command could not be started"
