"""kubectl exec, cp and attach with a real container on a real node, on the node's kernel and on one of its own."""

from __future__ import annotations

import hashlib
import os
import pty
import random
import re
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from eaves.testing.guest.kernel import offer_kernel
from eaves.testing.kubectl import find_kubectl
from eaves.testing.registry import Registry
from eaves.testing.system import ControllerHost, NodeHost, want_app
from tests.system.conftest import MakeNode

pytestmark = pytest.mark.system

GUEST_LIMIT_S = 240.0

COUNT = "n=0; while true; do n=$((n+1)); echo line $n; sleep 0.2; done"


@pytest.fixture(params=["Process", "VM"])
def node(
    controller: ControllerHost,
    registry: Registry,
    namespace: str,
    make_node: MakeNode,
    request: pytest.FixtureRequest,
) -> Iterator[NodeHost]:
    """With the running app ``shell``, which counts."""
    node = make_node(controller)
    offer_kernel(node.instance.data_dir)
    image = f"{registry.server}/shop/shell:1"
    app = want_app(node, "shell", image, command=["sh", "-c"], args=[COUNT], isolation=request.param)
    controller.operator.create("apps", app, namespace)
    wait_ready(node, controller, namespace)
    # A guest's machine runs before what is in it does.
    kubectl, command = controller.kubectl, ("exec", "-n", namespace, "shell", "--", "echo")
    node.wait("the first command", lambda: kubectl.run(*command).code == 0, GUEST_LIMIT_S)
    yield node
    controller.operator.delete("apps", "shell", namespace)


def wait_ready(node: NodeHost, controller: ControllerHost, namespace: str) -> None:
    node.wait(
        "the app to be ready",
        lambda: controller.operator.condition("apps", "shell", "Ready", namespace).get("status") == "True",
        GUEST_LIMIT_S,
    )


class Shell:
    """kubectl on a terminal."""

    def __init__(self, controller: ControllerHost, *arguments: str) -> None:
        pid, self._terminal = pty.fork()
        if pid == 0:
            environment = {**os.environ, "KUBECONFIG": str(controller.kubeconfig), "HOME": str(controller.folder)}
            os.execve(find_kubectl(), ["kubectl", *arguments], environment)
        self.pid = pid
        self.seen = ""

    def resize(self, columns: int, rows: int) -> None:
        subprocess.run(
            ["stty", "cols", str(columns), "rows", str(rows)],
            stdin=self._terminal,
            check=True,
        )
        os.kill(self.pid, signal.SIGWINCH)

    def type(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def wait(self, pattern: str) -> str:
        """Read until ``pattern`` was seen; what was seen before it is forgotten."""
        while not (found := re.search(pattern, self.seen)):
            try:
                ready, _, _ = select.select([self._terminal], [], [], 60)
                data = os.read(self._terminal, 4096) if ready else b""
            except OSError:
                data = b""
            assert data, f"kubectl does not show {pattern!r}: {self.seen!r}"
            self.seen += data.decode(errors="replace")
        self.seen = self.seen[found.end() :]
        return found.group(0)

    def end(self) -> int:
        """Wait for kubectl's end; answers its exit code."""
        while True:
            try:
                if not os.read(self._terminal, 4096):
                    break
            except OSError:
                break
        _, status = os.waitpid(self.pid, 0)
        os.close(self._terminal)
        return os.waitstatus_to_exitcode(status)


def test_commands_have_their_own_outputs_input_and_exit_codes(
    controller: ControllerHost, namespace: str, node: NodeHost
) -> None:
    kubectl, prefix = controller.kubectl, ("exec", "-n", namespace)
    done = kubectl.run(*prefix, "shell", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.code, done.out) == (7, "out\n")
    assert done.err == "err\ncommand terminated with exit code 7\n"
    assert kubectl.run(*prefix, "shell", "--", "sh", "-c", "kill -9 $$").code == 137
    assert kubectl.ok(*prefix, "-i", "shell", "--", "cat", stdin="typed\n").out == "typed\n"
    assert kubectl.ok(*prefix, "shell", "--", "echo", "a  b", "$c").out == "a  b $c\n"

    refused = kubectl.fails(*prefix, "shell", "--", "no-such-program")
    assert "no-such-program" in refused
    assert "executable file not found in $PATH" in refused
    assert "container other is not valid for pod shell" in kubectl.fails(*prefix, "shell", "-c", "other", "--", "id")
    assert 'pods "nobody" not found' in kubectl.fails(*prefix, "nobody", "--", "id")


def test_large_input_and_output_are_whole(
    controller: ControllerHost, namespace: str, node: NodeHost, tmp_path: Path
) -> None:
    sent = random.Random(5).randbytes(8 << 20)
    environment = {**os.environ, "KUBECONFIG": str(controller.kubeconfig), "HOME": str(tmp_path)}

    def run(*command: str, stdin: bytes = b"") -> bytes:
        argv = [find_kubectl(), "exec", "-n", namespace, "-i", "shell", "--", *command]
        return subprocess.run(argv, env=environment, input=stdin, capture_output=True, check=True, timeout=300).stdout

    assert run("sha256sum", stdin=sent).split()[0].decode() == hashlib.sha256(sent).hexdigest()
    assert hashlib.sha256(run("cat", stdin=sent)).digest() == hashlib.sha256(sent).digest()
    lines = run("seq", "1", "300000")
    assert lines.split() == [str(number).encode() for number in range(1, 300001)]


def test_files_are_copied_both_ways(controller: ControllerHost, namespace: str, node: NodeHost, tmp_path: Path) -> None:
    kubectl = controller.kubectl
    here, back = tmp_path / "here.bin", tmp_path / "back.bin"
    here.write_bytes(random.Random(6).randbytes(5 << 20))
    kubectl.ok("cp", str(here), f"{namespace}/shell:/tmp/there.bin")
    kubectl.ok("cp", f"{namespace}/shell:/tmp/there.bin", str(back))
    assert hashlib.sha256(back.read_bytes()).digest() == hashlib.sha256(here.read_bytes()).digest()


def test_a_terminal_knows_its_size_and_gives_the_exit_code(
    controller: ControllerHost, namespace: str, node: NodeHost
) -> None:
    shell = Shell(controller, "exec", "-n", namespace, "-it", "shell", "--", "sh")
    shell.wait("# ")
    shell.type("tty\n")
    shell.wait("/dev/pts/0")
    shell.resize(123, 45)
    shell.type("while [ \"$(stty size)\" != '45 123' ]; do sleep 0.1; done; echo resi''zed\n")
    shell.wait("resized")
    shell.type("sh -c \"echo star''ted; sleep 1000\"\n")
    shell.wait("started")
    shell.type("\x03")
    shell.wait("# ")
    shell.type("exit 5\n")
    assert shell.end() == 5


def test_a_command_ends_with_its_user(controller: ControllerHost, namespace: str, node: NodeHost) -> None:
    """However the user goes, and also when the command reads nothing of what is sent to it."""
    kubectl = controller.kubectl

    def list_commands() -> str:
        return kubectl.ok("exec", "-n", namespace, "shell", "--", "ps").out

    argv = [find_kubectl(), "exec", "-n", namespace, "-i", "shell", "--"]
    environment = {**os.environ, "KUBECONFIG": str(controller.kubeconfig), "HOME": str(controller.folder)}
    quiet = subprocess.Popen([*argv, "sleep", "100001"], env=environment, stdin=subprocess.PIPE)
    deaf = subprocess.Popen([*argv, "sh", "-c", "sleep 100002"], env=environment, stdin=subprocess.PIPE)
    node.wait("both", lambda: {"100001", "100002"} <= set(re.findall(r"sleep (\d+)", list_commands())))
    quiet.kill()
    deaf.kill()
    node.wait("their end", lambda: not re.search("10000[12]", list_commands()))
    for process in (quiet, deaf):
        process.wait()
        assert process.stdin is not None
        process.stdin.close()


def test_many_commands_run_at_once(controller: ControllerHost, namespace: str, node: NodeHost) -> None:
    kubectl = controller.kubectl

    def run(number: int) -> str:
        return kubectl.ok("exec", "-n", namespace, "shell", "--", "sh", "-c", f"echo {number}").out

    with ThreadPoolExecutor(12) as pool:
        assert list(pool.map(run, range(36))) == [f"{number}\n" for number in range(36)]


def test_attach_shows_what_the_app_writes_from_now_on(
    controller: ControllerHost, namespace: str, node: NodeHost
) -> None:
    with controller.kubectl.start("attach", "-n", namespace, "shell") as following:
        first = int(following.wait_line("line ").split()[1])
        assert first > 1
        assert int(following.wait_line("line ").split()[1]) == first + 1


def test_a_node_that_is_away_is_told(controller: ControllerHost, namespace: str, node: NodeHost) -> None:
    arguments = ("exec", "-n", namespace, "shell", "--", "id")
    node.daemon.stop()
    node.wait("the refusal", lambda: f"node {node.name} is not connected" in controller.kubectl.run(*arguments).err)


def test_commands_of_a_killed_daemon_are_ended(controller: ControllerHost, namespace: str, node: NodeHost) -> None:
    with controller.kubectl.start("exec", "-n", namespace, "shell", "--", "sleep", "100003"):
        kubectl = controller.kubectl
        node.wait("it", lambda: "100003" in kubectl.ok("exec", "-n", namespace, "shell", "--", "ps").out)
        node.daemon.kill()
        node.start()
        wait_ready(node, controller, namespace)
        started = time.monotonic()
        node.wait("its end", lambda: "100003" not in kubectl.run("exec", "-n", namespace, "shell", "--", "ps").out)
        assert time.monotonic() - started < 60
