"""Commands in containers, run by the OCI runtime.

The runtime (runc, crun) is called itself rather than through ``podman exec``: it starts a command in a fifth of the time, keeps 2 MB of
memory where podman keeps 40, and writes down the process id, without which nothing could be killed: a command goes on when the podman
client that started it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from eaves.kit import files
from eaves.kit.descriptors import Descriptor, Terminal, set_size
from eaves.kit.process import ProgramMissingError
from eaves.node import pids
from eaves.node.workloads.sessions import Command, Output, Session, SessionError, Take

_HANG_UP_S = 1.0
"""How long a command may take to end by itself when its user has gone."""
_START_LIMIT_S = 10.0
_LOOK_EVERY_S = 0.02
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
        self._size: tuple[int, int] | None = None

    @classmethod
    async def open(cls, runtime: str, workload_id: str, config: Path, command: Command, folder: Path) -> CommandSession:
        """``config`` is the container's OCI configuration, ``folder`` a new one for this session.

        Raises SessionError, ProgramMissingError, OSError.
        """
        opening = cls._open_terminal if command.tty else cls._open_pipes
        try:
            process = await asyncio.to_thread(load_process, config, command)
            argv = [runtime, "exec", f"--pid-file={folder / 'pid'}"]
            return await asyncio.to_thread(opening, argv, workload_id, process, command, folder)
        except FileNotFoundError as error:
            raise ProgramMissingError(str(error.filename)) from error

    @classmethod
    def _open_pipes(
        cls, argv: list[str], workload_id: str, process: bytes, command: Command, folder: Path
    ) -> CommandSession:
        stdin = subprocess.PIPE if command.stdin else subprocess.DEVNULL
        folder.mkdir(mode=0o700, parents=True)
        with _in_memory(process) as number:
            runtime = subprocess.Popen(
                [*argv, f"--process=/proc/self/fd/{number}", workload_id],
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                pass_fds=(number,),
            )
        outputs = {Output.STDOUT: _detach(runtime.stdout), Output.STDERR: _detach(runtime.stderr)}
        return cls(runtime, folder, outputs, _detach(runtime.stdin) if command.stdin else None, None)

    @classmethod
    def _open_terminal(
        cls, argv: list[str], workload_id: str, process: bytes, command: Command, folder: Path
    ) -> CommandSession:
        folder.mkdir(mode=0o700, parents=True)
        terminal = Terminal()
        try:
            with _in_memory(process) as number:
                # setsid makes the terminal the runtime's controlling one, so that it hears of changes of the size.
                runtime = subprocess.Popen(
                    ["setsid", "--ctty", *argv, "--tty", f"--process=/proc/self/fd/{number}", workload_id],
                    stdin=terminal.far,
                    stdout=terminal.far,
                    stderr=terminal.far,
                    pass_fds=(number,),
                )
        except BaseException:
            terminal.close()
            raise
        terminal.close_far()
        return cls(runtime, folder, {Output.STDOUT: terminal}, terminal if command.stdin else None, terminal)

    async def pump(self, take: Take) -> int:
        pumps = [asyncio.create_task(self._pump(output, take)) for output in self._outputs]
        ending = asyncio.create_task(pids.wait_exit(self._runtime.pid))
        try:
            # Its end is not the end while something that it has started holds its output open, as with every kubelet.
            done, _ = await asyncio.wait((ending, *pumps), return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
        finally:
            for task in (ending, *pumps):
                task.cancel()
            await asyncio.wait((ending, *pumps))
        code = await asyncio.to_thread(self._runtime.wait)
        if code != 0 and not await asyncio.to_thread((self._folder / "pid").exists):
            raise SessionError(_explain(self._last_words))
        return code if code >= 0 else 128 - code

    async def _pump(self, output: Output, take: Take) -> None:
        descriptor = self._outputs[output]
        while data := await descriptor.read():
            if self._size is not None and not self._last_words:
                # It was said before the command was there.
                await self.resize(*self._size)
            self._last_words = (self._last_words + data)[-_SHOWN_BYTES:]
            await take(output, data)

    async def write(self, data: bytes) -> None:
        if self._input is not None:
            await self._input.write(data)

    async def close_input(self) -> None:
        """A terminal is told by its end-of-file character, as by a person."""
        if self._terminal is not None:
            await self.write(b"\x04")
        elif self._input is not None:
            self._input.close()

    async def resize(self, columns: int, rows: int) -> None:
        """Of our terminal, whose size a runtime gives to the container's at the start, and of that one: not each runtime follows later."""
        if self._terminal is not None:
            self._terminal.resize(columns, rows)
            self._size = columns, rows
            await asyncio.to_thread(_resize_inner, self._folder / "pid", columns, rows)

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
        leader, session = await self._wait_session()
        for number in (signal.SIGHUP, signal.SIGKILL):
            await asyncio.to_thread(_signal_session, leader, session, number)
            exiting = asyncio.create_task(pids.wait_exit(self._runtime.pid))
            await asyncio.wait((exiting,), timeout=_HANG_UP_S)
            exiting.cancel()
        self._runtime.kill()
        await asyncio.to_thread(self._runtime.wait)

    async def _wait_session(self) -> tuple[int, int]:
        """As :func:`_find_session`, once the runtime has noted the command: it runs, and can be heard, a little earlier."""
        pid_file = self._folder / "pid"
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_START_LIMIT_S):
                # A single write: what is not empty is complete.
                while self._runtime.poll() is None and not await asyncio.to_thread(files.load_file, pid_file):  # noqa: ASYNC110 - the runtime tells nobody
                    await asyncio.sleep(_LOOK_EVERY_S)
        return await asyncio.to_thread(_find_session, pid_file)


def load_process(config: Path, command: Command) -> bytes:
    """The OCI process of a command: that of the container itself (user, variables, folder, rights, limits) with another command.

    Raises SessionError when the configuration cannot be read. Blocking.
    """
    try:
        process = msgspec.json.decode(config.read_bytes(), type=dict[str, Any])["process"]
    except (OSError, msgspec.MsgspecError, KeyError) as error:
        raise SessionError(f"the container's configuration cannot be read: {error}") from error
    env = [text for text in process.get("env") or () if not (command.tty and text.startswith("TERM="))]
    if command.tty:
        env.append("TERM=xterm")
    return msgspec.json.encode({**process, "args": command.argv, "env": env, "terminal": command.tty})


@contextlib.contextmanager
def _in_memory(data: bytes) -> Iterator[int]:
    """A descriptor of a file that is on no disk and no command line: the variables in it may be secrets."""
    number = os.memfd_create("process")
    try:
        os.write(number, data)
        yield number
    finally:
        os.close(number)


def end_sessions(sessions_dir: Path) -> None:
    """Kill what a daemon that was killed itself has left. Blocking."""
    for folder in sessions_dir.glob("*"):
        _signal_session(*_find_session(folder / "pid"), signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


def _resize_inner(pid_file: Path, columns: int, rows: int) -> None:
    """Give the command's own terminal its size. Blocking."""
    with contextlib.suppress(OSError, ValueError):
        pid = int(pid_file.read_text(encoding="ascii"))
        number = os.open(f"/proc/{pid}/fd/0", os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK)
        try:
            set_size(number, columns, rows)
        finally:
            os.close(number)


def _find_session(pid_file: Path) -> tuple[int, int]:
    """The command and its session, which runc opens for it, whereas crun leaves it in its own; zeros when it has gone. Blocking."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        leader = int(pid_file.read_text(encoding="ascii"))
        return leader, _load_session(leader)
    return 0, 0


def _signal_session(leader: int, session: int, number: signal.Signals) -> None:
    """Signal all of the session that is in a container: what a number belonged to before may be something else by now."""
    if not session:
        return
    for name in os.listdir("/proc"):  # noqa: PTH208 - a Path for each process costs more than the rest
        if not name.isdecimal():
            continue
        with contextlib.suppress(OSError, ValueError, IndexError):
            is_ours = int(name) == leader or _load_session(int(name)) == session
            if is_ours and _CGROUP_MARK in Path(f"/proc/{name}/cgroup").read_bytes():
                pids.send_signal(int(name), number)


def _load_session(pid: int) -> int:
    """Session of a process, proc(5). Raises OSError, ValueError, IndexError."""
    return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[3])


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
