"""``make demo``: a controller, a node and a registry on this machine, a container that answers by HTTP and a virtual machine beside it.

Only the product's own commands run here, as a user would type them; this file starts and stops them and waits. On a terminal it
stays up until Ctrl-C, elsewhere or with DEMO_ONCE=1 it verifies and ends. Nothing is left behind in either case.
"""

from __future__ import annotations

import contextlib
import http.client
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
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path

from eaves.kit.errors import EavesError
from eaves.kit.process import check_programs
from eaves.testing import chroot
from eaves.testing.file_server import FileServer
from eaves.testing.guest_image import READY, want_guest_disk
from eaves.testing.registry import Registry

ROOT = Path(__file__).resolve().parent.parent
BIN = ROOT / ".venv" / "bin"
NODE = "edge-1"
APP_PORT = int(os.environ.get("DEMO_PORT", "8080"))
PROGRAMS = {
    "podman": "podman",
    "nft": "nftables",
    "dnsmasq": "dnsmasq-base",
    "ip": "iproute2",
    "skopeo": "skopeo",
    "umoci": "umoci",
    "docker-registry": "docker-registry",
    "busybox": "busybox-static",
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "swtpm": "swtpm",
    "xorrisofs": "xorriso",
}
STEPS = 10
MACHINE_LIMIT_S = 180
"""A guest without hardware virtualisation on a busy machine."""


class DemoError(EavesError):
    """The demo cannot go on; says why and what to do."""

    code = "DemoFailed"


class Demo:
    """The running parts; :meth:`close` ends them in reverse order and removes their files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.instance = f"demo{secrets.token_hex(3)}"
        """Two demos, or a demo and a test, may run on one machine."""
        self._cleanups = contextlib.ExitStack()
        self._step = 0
        self.kubeconfig = folder / "controller" / "admin.kubeconfig"
        self.registry: Registry | None = None

    def say(self, text: str) -> None:
        self._step += 1
        print(f"demo: [{self._step}/{STEPS}] {text}", flush=True)

    def start_registry(self) -> None:
        self.say("starting a registry with a small web server image")
        self.registry = self._cleanups.enter_context(Registry(self.folder / "registry"))
        self.registry.push("shop/web:1", ("/bin/busybox", "httpd", "-f", "-v", "-p", "80", "-h", "/www"))

    def start_controller(self) -> None:
        self.say("starting the controller")
        api, gateway = find_port(), find_port()
        settings = self.folder / "controller.toml"
        settings.write_text(
            f'data_dir = "{self.folder}/controller"\nhosts = ["127.0.0.1", "localhost"]\n'
            f'[api]\nlisten = "127.0.0.1:{api}"\n[gateway]\nlisten = "127.0.0.1:{gateway}"\n'
        )
        process = self._spawn("controller", [str(BIN / "eaves"), "controller", "run", "--config", str(settings)])
        self._wait("the controller", self.kubeconfig.exists, 60, process)
        self._wait("the operator API", lambda: self.try_kubectl("get", "--raw", "/readyz"), 60, process)

    def join_node(self) -> None:
        self.say("onboarding a node over the EVE device API")
        gateway = self.kubectl("get", "configmap", "-n", "kube-public", "eaves-gateway", "-o", "name")
        assert gateway
        command = self.run(
            [
                str(BIN / "kubectl-eaves"),
                "onboarding-key",
                "create",
                "demo",
                "--approval",
                "automatic",
                "--max-uses",
                "1",
            ]
        )
        token = re.search(r"eaves-join-1\.\S+", command)
        if token is None:
            raise DemoError("no join token was printed", details=command)
        join = [
            str(BIN / "eaves"),
            "node",
            "join",
            "-",
            "--no-start",
            "--name",
            NODE,
            "--folder",
            str(self.folder / "node-etc"),
        ]
        self.run(join, stdin=token.group(0))
        self._keep_apart()
        node = [str(BIN / "eaves"), "node", "run", "--config", str(self.folder / "node-etc" / "node.toml")]
        self._cleanups.callback(self._reset_node)
        process = self._spawn("node", node)
        ready = ("wait", "--for=condition=Ready", f"edgenode/{NODE}", "--timeout=1s")
        self._wait("the node to be ready", lambda: self.try_kubectl(*ready), 90, process)

    def apply(self) -> float:
        """Apply the example; answers the time, for the measurement."""
        self.say("kubectl apply -f examples/web.yaml")
        assert self.registry is not None
        text = (ROOT / "examples" / "web.yaml").read_text().replace("127.0.0.1:5000", self.registry.server)
        manifest = self.folder / "web.yaml"
        manifest.write_text(text.replace("nodePort: 8080", f"nodePort: {APP_PORT}"))
        started = time.monotonic()
        print(self.kubectl("apply", "-f", str(manifest)), end="", flush=True)
        return started

    def wait_for_answer(self, started: float) -> float:
        self.say(f"waiting for http://127.0.0.1:{APP_PORT}/")
        try:
            self._wait("an answer by HTTP", answers, 120)
        except DemoError as error:
            with contextlib.suppress(EavesError):
                error.details = self.run([str(BIN / "kubectl-eaves"), "why", "app/web"])
            raise
        return time.monotonic() - started

    def show(self) -> None:
        self.say("what kubectl shows")
        self.kubectl("wait", "--for=jsonpath={.status.phase}=Running", "app/web", "app/gateway", "--timeout=60s")
        print(self.kubectl("get", "nodes,apps,pods", "-o", "wide"), end="", flush=True)
        self.say("kubectl logs web")
        self._wait("the app's log", lambda: bool(self.kubectl("logs", "web").strip()), 60)
        print(self.kubectl("logs", "web", "--tail", "5"), end="", flush=True)

    def apply_machine(self) -> None:
        """The example of a virtual machine, with a tiny guest in the place of its image."""
        self.say("kubectl apply -f examples/vm.yaml")
        disk = want_guest_disk()
        content = disk.read_bytes()
        server = self._cleanups.enter_context(FileServer({"/guest.raw": content}))
        text = (ROOT / "examples" / "vm.yaml").read_text()
        changes = {
            "https://files.example": server.url,
            "debian-12-genericcloud-amd64.qcow2@sha256:" + 64 * "0": f"guest.raw@sha256:{sha256(content).hexdigest()}",
            "cpus: 2\n": "cpus: 1\n",
            "memory: 1Gi": "memory: 256Mi",
            "nodePort: 2222": f"nodePort: {find_port()}",
        }
        for old, new in changes.items():
            assert old in text, old
            text = text.replace(old, new)
        manifest = self.folder / "vm.yaml"
        manifest.write_text(text)
        print(self.kubectl("apply", "-f", str(manifest)), end="", flush=True)

    def show_machine(self) -> None:
        self.say("kubectl logs gateway: the serial console of the machine")
        try:
            self._wait("the guest", lambda: READY in self.kubectl("logs", "gateway"), MACHINE_LIMIT_S)
        except DemoError as error:
            with contextlib.suppress(EavesError):
                error.details = self.run([str(BIN / "kubectl-eaves"), "why", "app/gateway"])
            raise
        print(self.kubectl("logs", "gateway", "--tail", "4"), end="", flush=True)

    def open_console(self) -> None:
        """Type a command at the machine's serial line, as a user would, and show what comes back."""
        command = "echo up for $(cut -d. -f1 /proc/uptime) s, Linux $(uname -r)"
        self.say(f"kubectl eaves console gateway, and there: {command}")
        shown = self.folder / "console.log"
        with shown.open("wb") as file:
            console = subprocess.Popen(
                [str(BIN / "kubectl-eaves"), "console", "gateway"],
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=self._environment(),
                start_new_session=True,
            )
        try:
            assert console.stdin is not None
            console.stdin.write(f"{command}\n".encode())
            console.stdin.flush()
            answer = re.compile(r"^.*up for \d+ s, Linux \S+", re.MULTILINE)
            self._wait(
                "an answer of the console", lambda: bool(answer.search(shown.read_text(errors="replace"))), 60, console
            )
            print(answer.findall(shown.read_text(errors="replace"))[-1], flush=True)
        finally:
            os.killpg(console.pid, signal.SIGTERM)
            console.wait(20)

    def stay(self) -> None:
        """Until Ctrl-C."""
        print(
            "\nIt runs. Try, in another terminal (each line can be pasted):\n\n"
            f"  export KUBECONFIG={self.kubeconfig} PATH={BIN}:$PATH\n"
            f"  curl http://127.0.0.1:{APP_PORT}/\n"
            "  kubectl get nodes,apps,pods -o wide\n"
            "  kubectl logs -f web\n"
            "  kubectl get app gateway -o jsonpath='{.status.vm}'\n"
            "  kubectl get appsnapshots\n"
            "  kubectl explain app.spec\n"
            "  kubectl eaves why app/web\n"
            '  kubectl patch app web --type merge -p \'{"spec":{"running":false}}\'\n'
            f"  eaves node status --config {self.folder}/node-etc/node.toml\n"
            "\nThe machine's serial console and its screen, in terminals of their own:\n\n"
            "    kubectl eaves console gateway    # Ctrl-] leaves it\n"
            "    kubectl eaves vnc gateway\n"
            "\nCtrl-C here stops all of it and removes what it made.",
            flush=True,
        )
        signal.pause()

    def close(self) -> None:
        self._cleanups.close()

    def kubectl(self, *arguments: str) -> str:
        return self.run([str(BIN / "kubectl"), *arguments])

    def try_kubectl(self, *arguments: str) -> bool:
        done = subprocess.run(
            [str(BIN / "kubectl"), *arguments], capture_output=True, env=self._environment(), check=False
        )
        return done.returncode == 0

    def run(self, argv: list[str], stdin: str = "") -> str:
        done = subprocess.run(
            argv, input=stdin, capture_output=True, text=True, env=self._environment(), check=False, timeout=150
        )
        if done.returncode != 0:
            shown = " ".join([Path(argv[0]).name, *argv[1:4]])
            raise DemoError(f"{shown} … failed", details=(done.stderr or done.stdout)[-1500:])
        return done.stdout

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig), "PATH": f"{BIN}:{os.environ['PATH']}"}

    def _keep_apart(self) -> None:
        """Folders and names of its own, so that a real node of this machine is not touched."""
        settings = {
            "state_dir": f'"{self.folder}/node"',
            "run_dir": f'"{self.folder}/run"',
            "instance": f'"{self.instance}"',
            "reboot_command": '["false"]',
        }
        with (self.folder / "node-etc" / "node.toml").open("a") as file:
            file.writelines(f"{key} = {value}\n" for key, value in settings.items())

    def _spawn(
        self, name: str, argv: list[str], environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a daemon in a process group of its own, so that the terminal's Ctrl-C reaches it only through us."""
        log = self.folder / f"{name}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                argv,
                stdout=file,
                stderr=file,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )
        self._cleanups.callback(stop, process)
        return process

    def _wait(
        self, what: str, is_there: Callable[[], bool], limit_s: float, process: subprocess.Popen[bytes] | None = None
    ) -> None:
        end = time.monotonic() + limit_s
        while not is_there():
            if process is not None and process.poll() is not None:
                raise DemoError(f"{what} ended with status {process.returncode}", details=self._logs())
            if time.monotonic() > end:
                raise DemoError(f"waited {limit_s:g} s for {what}", details=self._logs())
            time.sleep(0.05)

    def _logs(self) -> str:
        """The last lines of the daemons' logs, which are gone with the folder otherwise."""
        lines = []
        for log in sorted(self.folder.glob("*.log")):
            lines += [f"{log.name}: {line}" for line in log.read_text(errors="replace").splitlines()[-8:]]
        return "\n".join(lines)

    def _reset_node(self) -> None:
        node = [str(BIN / "eaves"), "node", "reset", "--yes", "--config", str(self.folder / "node-etc" / "node.toml")]
        done = subprocess.run(
            node,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        if done.returncode != 0:
            print(f"demo: clean-up of the node failed: {done.stderr.strip()}", file=sys.stderr)


def answers() -> bool:
    """Whether the app says 200."""
    connection = http.client.HTTPConnection("127.0.0.1", APP_PORT, timeout=1)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def find_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def check_machine() -> None:
    """Everything that would fail later, said first. Raises EavesError."""
    if os.geteuid() != 0:
        raise DemoError("a node needs root for containers and networks", resolution="run it as root: sudo make demo")
    check_programs(PROGRAMS)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", APP_PORT))
        except OSError as error:
            raise DemoError(
                f"port {APP_PORT} is in use", resolution="free it, or choose another: DEMO_PORT=8090 make demo"
            ) from error


@contextlib.contextmanager
def open_demo() -> Iterator[Demo]:
    folder = Path(tempfile.mkdtemp(prefix="eaves-demo.", dir="/var/tmp"))
    demo = Demo(folder)
    try:
        yield demo
    finally:
        # A second Ctrl-C during clean-up would leave containers and bridges behind.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        demo.close()
        shutil.rmtree(folder, ignore_errors=True)


def run_demo() -> float:
    """All steps; answers the seconds from apply to the first answer."""
    check_machine()
    is_once = os.environ.get("DEMO_ONCE") == "1" or not sys.stdout.isatty()
    with open_demo() as demo:
        demo.start_registry()
        demo.start_controller()
        demo.join_node()
        seconds = demo.wait_for_answer(demo.apply())
        demo.apply_machine()
        demo.show()
        demo.show_machine()
        demo.open_console()
        if not is_once:
            print(f"demo: app web answered HTTP 200 after {seconds:.1f} s")
            with contextlib.suppress(KeyboardInterrupt):
                demo.stay()
            print("\ndemo: stopping and cleaning up", flush=True)
    return seconds


def main() -> int:
    if chroot.is_chroot():
        # Without it only `kubectl exec` fails, and says so.
        with contextlib.suppress(OSError):
            chroot.enter_root()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        seconds = run_demo()
    except EavesError as error:
        print(f"demo: {error}", file=sys.stderr)
        for line in error.details.splitlines():
            print(f"  {line}", file=sys.stderr)
        print(
            f"  to do: {error.resolution or 'mend what the lines above say, and run make demo again'}", file=sys.stderr
        )
        return 1
    except KeyboardInterrupt:
        print("\ndemo: interrupted, all stopped and removed", file=sys.stderr)
        return 130
    if os.environ.get("DEMO_ONCE") == "1" or not sys.stdout.isatty():
        print(f"demo: ok: app web answered HTTP 200 after {seconds:.1f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
