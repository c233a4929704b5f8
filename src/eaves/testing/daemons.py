"""Real daemons as child processes for whole-system tests: started, killed, restarted, read, and waited for.

:mod:`eaves.testing.system` puts a controller and nodes together out of these. Every wait has a bound and says in its error what was
there instead.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

POLL_S = 0.05
WAIT_LIMIT_S = 400.0 if os.environ.get("EAVES_IN_GUEST") else 90.0
"""An emulated processor is many times slower."""
STOP_LIMIT_S = 60.0
_PORTS = range(12_000, 32_000)
BIN = Path(sys.executable).parent


class Daemon:
    """One program in a process group of its own. ``log`` takes what it writes, over all its starts."""

    def __init__(
        self, name: str, argv: Sequence[str], log: Path, environment: Mapping[str, str], *, prefix: Sequence[str] = ()
    ) -> None:
        """``prefix`` goes before the command, such as ``ip netns exec NAME``."""
        self.name = name
        self.log = log
        self.environment = dict(environment)
        self.prefix = list(prefix)
        self._argv = list(argv)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} was not started"
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        assert not self.is_running, f"{self.name} runs already"
        with self.log.open("ab") as file:
            self._process = subprocess.Popen(
                [*self.prefix, *self._argv],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env={**os.environ, **self.environment},
                start_new_session=True,
            )

    def kill(self) -> None:
        """``kill -9``, and nothing else: what it left behind stays as it is."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def stop(self) -> int:
        """Ask it to end; answers its exit status."""
        if self._process is None:
            return 0
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process.pid, signal.SIGTERM)
        try:
            return self._process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} did not end within {STOP_LIMIT_S:g} s\n{self.tail()}") from None

    def resident_bytes(self) -> int:
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def tail(self, lines: int = 25) -> str:
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(f"{self.name}: {line}" for line in text.splitlines()[-lines:])

    def wait(self, what: str, condition: Callable[[], T], limit_s: float = WAIT_LIMIT_S) -> T:
        """Wait for a condition that this daemon brings about; its end ends the wait."""

        def check() -> T:
            if not self.is_running:
                raise AssertionError(f"{self.name} ended while waiting for {what}\n{self.tail()}")
            return condition()

        return wait_for(what, check, limit_s, explain=self.tail)


def wait_for(
    what: str, condition: Callable[[], T], limit_s: float = WAIT_LIMIT_S, explain: Callable[[], str] = lambda: ""
) -> T:
    """Wait until ``condition`` answers something true, and answer that."""
    end = time.monotonic() + limit_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {limit_s:g} s for {what}\n{explain()}".rstrip())
        time.sleep(POLL_S)


def run_program(
    argv: Sequence[str],
    *,
    stdin: str = "",
    environment: Mapping[str, str] | None = None,
    check: bool = True,
    limit_s: float = 120.0,
) -> str:
    """What a program printed; an assertion with what it said instead when it failed and ``check``."""
    done = subprocess.run(
        argv,
        input=stdin,
        capture_output=True,
        text=True,
        env={**os.environ, **(environment or {})},
        check=False,
        timeout=limit_s,
    )
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(argv)}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def find_ports(count: int) -> list[int]:
    """Ports that are free now, all different, and below those that the kernel gives to outgoing connections."""
    found: list[int] = []
    while len(found) < count:
        port = _PORTS.start + secrets.randbelow(len(_PORTS))
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("0.0.0.0", port))
            found = [*found, port] if port not in found else found
    return found
