"""Small processes that outlive who starts them: how one is called, and how it goes into the background.

The keepers of machines and clusters are such processes, and the spanning trees of switches. There is one for each, so they are kept
small: an interpreter without site-packages, and no import here that they could do without.
"""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Callable

_SOURCES = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))


def want_argv(module: str, *arguments: str) -> list[str]:
    """Runs ``main`` of ``module`` with ``arguments``; its answer is the exit status.

    Without the site's modules: such a process needs none, and would load some.
    """
    code = f"import sys; sys.path.append(sys.argv[1]); from {module} import main; sys.exit(main(*sys.argv[2:]))"
    return [sys.executable, "-I", "-S", "-c", code, _SOURCES, *arguments]


def daemonize(lock: str, begin: Callable[[], Callable[[], object]]) -> int:
    """Do in a session of its own what ``begin`` does and then what it answers; returns the exit status, in both processes.

    The caller goes on when ``begin`` has answered, or with the reason on standard error when that raises OSError, ValueError or
    KeyError. The file ``lock`` is locked from before ``begin`` until the process ends: two for one thing would contradict each other.
    """
    read, write = os.pipe()
    if os.fork():
        os.close(write)
        return _await_answer(read)
    os.close(read)
    os.setsid()
    try:
        _hold(lock)
        go_on = begin()
    except (OSError, ValueError, KeyError) as error:
        os.write(write, b"-" + _describe(error).encode())
        return 1
    _leave_terminal()
    os.write(write, b"+")
    os.close(write)
    go_on()
    return 0


def _await_answer(read: int) -> int:
    """No answer at all: it died, and has said why on standard error, which both have until then."""
    with open(read, "rb") as file:
        answer = file.read()
    sys.stderr.write(answer[1:].decode(errors="replace"))
    return 0 if answer[:1] == b"+" else 1


def _hold(lock: str) -> None:
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OSError(f"another process holds {lock}: it must end first") from None


def _leave_terminal() -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)


def _describe(error: Exception) -> str:
    """A KeyError says the key and nothing else: what the process was told lacks it."""
    return f"{error} is missing" if isinstance(error, KeyError) else str(error) or type(error).__name__
