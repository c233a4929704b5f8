"""The programs inside: started, watched, stopped. They end with this process, however it ends; what containerd started goes on."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.k3s import log, programs

_STOP_LIMIT_S = 10.0


class Children:
    """Starts from the main thread only: the kernel's signal at a parent's death means the thread that made the child."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self.is_stopping = False

    def start(self, name: str, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        """``name`` is of the process in logs; the first argument is the program."""
        self._logs.mkdir(parents=True, exist_ok=True)
        path = os.pathsep.join([str(programs.folder("containerd")), os.environ.get("PATH", os.defpath)])
        with (self._logs / f"{name}.log").open("ab") as file:
            self._running[name] = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env={**os.environ, "PATH": path, **(environment or {})},
                start_new_session=True,
            )
        log.info(f"Running {name}")

    def stop(self, name: str) -> None:
        child = self._running.pop(name, None)
        if child is None or child.poll() is not None:
            return
        child.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_STOP_LIMIT_S)
            return
        child.kill()
        child.wait()

    def stop_all(self) -> None:
        """Last started first; the API server, which takes a minute over its watchers, is not waited for."""
        self.is_stopping = True
        for name in reversed([*self._running]):
            if name == "kube-apiserver":
                self._running[name].kill()
            self.stop(name)

    def find_ended(self) -> str:
        """What to say about a program that ended by itself; empty while all run."""
        for name, child in self._running.items():
            if child.poll() is not None:
                return f"{name} exited: {_say(child.returncode)}: {self.tail(name)}"
        return ""

    def tail(self, name: str) -> str:
        return " | ".join(self.load_log(name).splitlines()[-3:])[-800:]

    def load_log(self, name: str) -> str:
        """What a program wrote in all its lives."""
        file = self._logs / f"{name}.log"
        return file.read_text(errors="replace") if file.exists() else ""

    def wait(self, what: str, condition: Callable[[], bool], limit_s: float = 300.0) -> None:
        """Waits for what the programs bring about; fatal when one ends meanwhile or it takes too long."""
        end = time.monotonic() + limit_s
        while not condition():
            ended = self.find_ended()
            if ended:
                log.fatal(f"waiting for {what}: {ended}")
            if time.monotonic() > end:
                log.fatal(f"timed out waiting for {what}")
            time.sleep(0.1)


def _say(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
