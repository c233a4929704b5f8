"""Where the demo takes place: its folder, its daemons, the commands that it runs, and the end of all of them."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from eaves.kit.errors import EavesError

ROOT = Path(__file__).resolve().parents[2]
BIN = ROOT / ".venv" / "bin"


class DemoError(EavesError):
    """The demo cannot go on; says why and what to do."""

    code = "DemoFailed"


class Site:
    """The running parts; ``cleanups`` ends them in reverse order."""

    def __init__(self, folder: Path, steps: int) -> None:
        self.folder = folder
        self.kubeconfig = folder / "controller" / "admin.kubeconfig"
        self.cleanups = contextlib.ExitStack()
        self.api_port, self.gateway_port = find_port(), find_port()
        self._steps = steps
        self._step = 0

    def say(self, text: str) -> None:
        self._step += 1
        print(f"demo: [{self._step}/{self._steps}] {text}", flush=True)

    def start_controller(self) -> None:
        self.say("starting the controller")
        settings = self.folder / "controller.toml"
        settings.write_text(
            f'data_dir = "{self.folder}/controller"\nhosts = ["127.0.0.1", "localhost"]\n'
            f'[api]\nlisten = "127.0.0.1:{self.api_port}"\n[gateway]\nlisten = "127.0.0.1:{self.gateway_port}"\n'
        )
        process = self.spawn("controller", [str(BIN / "eaves"), "controller", "run", "--config", str(settings)])
        self.wait("the controller", self.kubeconfig.exists, 60, process)
        self.wait("the operator API", lambda: self.try_kubectl("get", "--raw", "/readyz"), 60, process)

    def start_node(self, name: str, prefix: Sequence[str] = ()) -> None:
        """Join a node and run its daemon; ``prefix`` goes before the daemon's command. It is reset at the end."""
        key = ("onboarding-key", "create", name, "--approval", "automatic", "--max-uses", "1")
        command = self.run([str(BIN / "kubectl-eaves"), *key])
        token = re.search(r"eaves-join-1\.\S+", command)
        if token is None:
            raise DemoError("no join token was printed", details=command)
        folder = self.folder / name
        eaves, settings = str(BIN / "eaves"), folder / "node.toml"
        self.run([eaves, "node", "join", "-", "--no-start", "--name", name, "--folder", str(folder)], token.group(0))
        self._keep_apart(folder)
        self.cleanups.callback(self._reset_node, settings, prefix)
        process = self.spawn(name, [*prefix, eaves, "node", "run", "--config", str(settings)])
        ready = ("wait", "--for=condition=Ready", f"edgenode/{name}", "--timeout=1s")
        self.wait(f"{name} to be ready", lambda: self.try_kubectl(*ready), 90, process)

    def kubectl(self, *arguments: str) -> str:
        return self.run([str(BIN / "kubectl"), *arguments])

    def try_kubectl(self, *arguments: str) -> bool:
        done = subprocess.run(
            [str(BIN / "kubectl"), *arguments], capture_output=True, env=self.environment(), check=False
        )
        return done.returncode == 0

    def apply_example(self, name: str, changes: dict[str, str]) -> None:
        """Apply a file of ``examples`` with what differs here put in; a text that is not there is a mistake of the demo."""
        self.say(f"kubectl apply -f examples/{name}")
        text = (ROOT / "examples" / name).read_text()
        for old, new in changes.items():
            assert old in text, old
            text = text.replace(old, new)
        manifest = self.folder / name
        manifest.write_text(text)
        print(self.kubectl("apply", "-f", str(manifest)), end="", flush=True)

    def explain(self, target: str) -> str:
        """What ``kubectl eaves why`` says, for an error's details."""
        with contextlib.suppress(EavesError):
            return self.run([str(BIN / "kubectl-eaves"), "why", target])
        return ""

    def run(self, argv: Sequence[str], stdin: str = "") -> str:
        done = subprocess.run(
            argv, input=stdin, capture_output=True, text=True, env=self.environment(), check=False, timeout=150
        )
        if done.returncode != 0:
            shown = " ".join([Path(argv[0]).name, *argv[1:4]])
            raise DemoError(f"{shown} … failed", details=(done.stderr or done.stdout)[-1500:])
        return done.stdout

    def environment(self) -> dict[str, str]:
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig), "PATH": f"{BIN}:{os.environ['PATH']}"}

    def spawn(self, name: str, argv: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start a daemon in a process group of its own, so that the terminal's Ctrl-C reaches it only through us."""
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
        self.cleanups.callback(_stop, process)
        return process

    def wait(
        self, what: str, is_there: Callable[[], bool], limit_s: float, process: subprocess.Popen[bytes] | None = None
    ) -> None:
        end = time.monotonic() + limit_s
        while not is_there():
            if process is not None and process.poll() is not None:
                raise DemoError(f"{what} ended with status {process.returncode}", details=self._logs())
            if time.monotonic() > end:
                raise DemoError(f"waited {limit_s:g} s for {what}", details=self._logs())
            time.sleep(0.05)

    def _keep_apart(self, folder: Path) -> None:
        """Folders and names of its own, so that a real node of this machine is not touched, nor another demo's."""
        settings = {
            "state_dir": f'"{folder}/state"',
            "run_dir": f'"{folder}/run"',
            "instance": f'"demo{secrets.token_hex(3)}"',
            "serial": f'"{folder.name}-{secrets.token_hex(3)}"',
            "reboot_command": '["false"]',
        }
        with (folder / "node.toml").open("a") as file:
            file.writelines(f"{key} = {value}\n" for key, value in settings.items())

    def _logs(self) -> str:
        """The last lines of the daemons' logs, which are gone with the folder otherwise."""
        lines = []
        for log in sorted(self.folder.glob("*.log")):
            lines += [f"{log.name}: {line}" for line in log.read_text(errors="replace").splitlines()[-8:]]
        return "\n".join(lines)

    def _reset_node(self, settings: Path, prefix: Sequence[str]) -> None:
        argv = [*prefix, str(BIN / "eaves"), "node", "reset", "--yes", "--config", str(settings)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=180)
        if done.returncode != 0:
            print(f"demo: clean-up of a node failed: {done.stderr.strip()}", file=sys.stderr)


@contextlib.contextmanager
def open_site(steps: int) -> Iterator[Site]:
    """A folder for it, which goes at the end with everything that was started."""
    # Podman wants short paths for what runs.
    folder = Path(tempfile.mkdtemp(prefix="eaves.", dir="/var/tmp"))
    site = Site(folder, steps)
    try:
        yield site
    finally:
        # A second Ctrl-C during clean-up would leave containers and bridges behind.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        site.cleanups.close()
        shutil.rmtree(folder, ignore_errors=True)


def find_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
