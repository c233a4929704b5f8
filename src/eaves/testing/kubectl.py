"""Runs the real kubectl against a served API."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml

from eaves.testing.terminal import Terminal


def find_kubectl() -> str:
    """The kubectl beside this Python, as the test dependencies install it."""
    beside = Path(sys.executable).with_name("kubectl")
    found = str(beside) if beside.exists() else shutil.which("kubectl")
    assert found, "kubectl is missing: install the test dependencies (make setup)"
    return found


class Outcome(msgspec.Struct, frozen=True):
    """What a command gave."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return msgspec.json.decode(self.out)

    def yaml(self) -> Any:
        return yaml.safe_load(self.out)


class Kubectl:
    """kubectl with one kubeconfig and a home folder of its own, so that its discovery cache is the test's."""

    def __init__(self, kubeconfig: Path, home: Path) -> None:
        self._program = find_kubectl()
        self._environment = {**os.environ, "KUBECONFIG": str(kubeconfig), "HOME": str(home), "KUBECTL_KUBERC": "false"}

    def run(
        self,
        *arguments: str,
        stdin: str | None = None,
        timeout_s: float = 60,
        editor: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> Outcome:
        """Run a command; whatever it gives is the caller's to check."""
        done = subprocess.run(
            [self._program, *arguments],
            env={**self._environment, **({"KUBE_EDITOR": editor} if editor else {}), **(environment or {})},
            input=stdin if stdin is not None else "",
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    def ok(self, *arguments: str, stdin: str | None = None, editor: str = "") -> Outcome:
        """Run a command that must succeed."""
        outcome = self.run(*arguments, stdin=stdin, editor=editor)
        assert outcome.code == 0, f"kubectl {' '.join(arguments)}: {outcome.out}{outcome.err}"
        return outcome

    def fails(self, *arguments: str, stdin: str | None = None, editor: str = "") -> str:
        """Run a command that must fail; answers what it said."""
        outcome = self.run(*arguments, stdin=stdin, editor=editor)
        assert outcome.code != 0, f"kubectl {' '.join(arguments)} succeeded: {outcome.out}"
        return outcome.err

    def open_terminal(self, *arguments: str, environment: Mapping[str, str] | None = None) -> Terminal:
        """Start a command on a terminal."""
        return Terminal([self._program, *arguments], {**self._environment, **(environment or {})})

    def start(self, *arguments: str, environment: Mapping[str, str] | None = None) -> Following:
        """Start a command that goes on, such as a watch. Use the answer as a context manager."""
        return Following([self._program, *arguments], {**self._environment, **(environment or {})})


class Following:
    """A command whose lines are read as they come."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
        )

    def __enter__(self) -> Following:
        return self

    def __exit__(self, *_error: object) -> None:
        self._process.terminate()
        self._process.wait(60)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def lines(self) -> Iterator[str]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            yield line.rstrip("\n")

    def wait_line(self, text: str) -> str:
        """The next line that holds ``text``. The test's own time limit bounds the wait."""
        for line in self.lines():
            if text in line:
                return line
        raise AssertionError(f"the command ended without saying {text!r}")

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def wait(self, timeout_s: float = 120) -> int:
        return self._process.wait(timeout_s)
