"""``kubectl eaves console``: kubectl attach with a way out.

A serial line takes every key, Ctrl-C too, and kubectl attach has no key of its own to leave. So kubectl runs on a terminal of its own
here, and what is typed passes through this program, which takes Ctrl-] for itself.
"""

from __future__ import annotations

import contextlib
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import termios
import tty
from collections.abc import Iterator, Sequence

ESCAPE = b"\x1d"
"""Ctrl-], as telnet and virsh have it."""
CHUNK_BYTES = 4096
END_TIMEOUT_S = 5.0


def run_console(command: Sequence[str]) -> int:
    """Run ``command`` (a kubectl attach) with this process's standard streams until it ends or is left; answers its exit code."""
    if not sys.stdin.isatty():
        return subprocess.run(command, check=False).returncode
    ours, theirs = pty.openpty()
    try:
        _copy_size(ours)
        process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
        os.close(theirs)
        with _raw_terminal(), _followed_size(ours, process):
            is_left = _pass_through(ours)
        return _end(process) if is_left else process.wait()
    finally:
        os.close(ours)


def _pass_through(master: int) -> bool:
    """Until the escape key (True) or the end of the command."""
    stdin, stdout = sys.stdin.fileno(), sys.stdout.fileno()
    watched = [stdin, master]
    while True:
        ready, _, _ = select.select(watched, [], [])
        if master in ready:
            try:
                shown = os.read(master, CHUNK_BYTES)
            except OSError:
                # The other end of a terminal pair is closed.
                return False
            if not shown:
                return False
            _write_all(stdout, shown)
        if stdin in ready:
            typed = os.read(stdin, CHUNK_BYTES)
            if not typed:
                watched.remove(stdin)
            before, escape, _ = typed.partition(ESCAPE)
            _write_all(master, before)
            if escape:
                return True


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _end(process: subprocess.Popen[bytes]) -> int:
    """Leaving is no failure."""
    process.terminate()
    try:
        process.wait(END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    return 0


@contextlib.contextmanager
def _raw_terminal() -> Iterator[None]:
    """Keys come one by one and unchanged meanwhile."""
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    tty.setraw(descriptor)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
        sys.stdout.write("\r\n")
        sys.stdout.flush()


@contextlib.contextmanager
def _followed_size(master: int, process: subprocess.Popen[bytes]) -> Iterator[None]:
    """The command's terminal gets the size of ours, also when that changes."""

    def follow(_number: int, _frame: object) -> None:
        _copy_size(master)
        if process.poll() is None:
            process.send_signal(signal.SIGWINCH)

    before = signal.signal(signal.SIGWINCH, follow)
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)


def _copy_size(master: int) -> None:
    size = shutil.get_terminal_size()
    termios.tcsetwinsize(master, (size.lines, size.columns))
