"""kubectl exec and attach over WebSockets, and over SPDY as clients before 1.31 do; attach to a virtual machine's serial line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from eaves.node.tunnel.abc import Handler, Offer
from eaves.testing.daemons import BIN
from eaves.testing.kubectl import find_kubectl
from eaves.testing.linked_tunnel import LinkedTunnel
from eaves.testing.objects import make_app, make_edgenode, make_vm
from eaves.testing.operator_api import ServedApi
from eaves.testing.terminal import Terminal
from eaves.tunnel.stream import TunnelStream
from eaves.wire import channels
from eaves.wire.channels import Channel
from eaves.wire.tunnel import StreamKind, StreamRequest

pytestmark = pytest.mark.contract

NODE = "exec-1"


class Commands(Handler):
    """Runs ``count N`` (says N bytes), ``cat`` (repeats its input), ``size`` (says the first size of its terminal), ``fail N``."""

    async def serve(self, request: StreamRequest, offer: Offer) -> None:
        stream = await offer.accept()
        command = list(request.parameters["command"])
        code = await self._run(command, stream)
        await stream.send(channels.encode_exit(code))

    async def _run(self, command: list[str], stream: TunnelStream) -> int:
        if command[0] == "fail":
            await stream.send(channels.encode_message(Channel.STDERR, b"it went wrong\n"))
            return int(command[1])
        if command[0] == "count":
            left = int(command[1])
            while left:
                piece = min(left, 32_000)
                await stream.send(channels.encode_message(Channel.STDOUT, b"x" * piece))
                left -= piece
            return 0
        while (message := await stream.receive()) is not None:
            if command[0] == "size" and message[0] == Channel.RESIZE:
                size = channels.parse_size(message[1:])
                assert size is not None
                await stream.send(channels.encode_message(Channel.STDOUT, b"%dx%d\n" % (size.width, size.height)))
                return 0
            if command[0] == "cat" and message == bytes((Channel.CLOSE, Channel.STDIN)):
                return 0
            if command[0] == "cat" and message[0] == Channel.STDIN:
                await stream.send(channels.encode_message(Channel.STDOUT, message[1:]))
        return 1


class Serial(Handler):
    """A machine's serial line, raw: greets, repeats in capitals, ends at ``exit``."""

    async def serve(self, request: StreamRequest, offer: Offer) -> None:
        stream = await offer.accept()
        await stream.send(b"plc login: ")
        while (data := await stream.receive()) is not None:
            await stream.send(data.upper())
            if b"exit" in data:
                return


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedApi]:
    tunnel = LinkedTunnel({StreamKind.EXEC: Commands(), StreamKind.CONSOLE: Serial()})
    with ServedApi(tmp_path_factory.mktemp("api"), tunnel=tunnel) as served:
        served.call(served.bench.put(make_edgenode(NODE)))
        running = {"phase": "Running", "nodeName": NODE, "state": {"running": {"startedAt": "2026-11-24T18:00:00Z"}}}
        served.call(served.bench.put(make_app("web", status=running, nodeName=NODE)))
        served.call(served.bench.put(make_vm("plc", status=running, nodeName=NODE)))
        served.call(served.bench.put(make_vm("mute", status=running, nodeName=NODE, vm={"serialConsole": False})))
        yield served


class Program:
    """kubectl or its plugin against the served API, over one of the transports."""

    def __init__(self, served: ServedApi, transport: str) -> None:
        self.environment = {
            **os.environ,
            "KUBECONFIG": str(served.kubeconfig),
            "HOME": str(served.folder),
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "KUBECTL_REMOTE_COMMAND_WEBSOCKETS": "true" if transport == "websocket" else "false",
        }

    def run(self, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [find_kubectl(), *arguments], input=stdin, capture_output=True, timeout=150, env=self.environment
        )


@pytest.fixture(params=["websocket", "spdy"])
def program(served: ServedApi, request: pytest.FixtureRequest) -> Program:
    return Program(served, request.param)


def test_output_and_exit_codes_arrive(program: Program) -> None:
    done = program.run("exec", "web", "--", "count", "3000000")
    assert (done.returncode, len(done.stdout), done.stderr) == (0, 3_000_000, b"")
    failed = program.run("exec", "web", "--", "fail", "7")
    assert failed.returncode == 7
    assert failed.stderr.startswith(b"it went wrong\n")


def test_input_goes_in_and_its_end_ends_the_command(program: Program) -> None:
    said = bytes(range(256)) * 4000
    done = program.run("exec", "-i", "web", "--", "cat", stdin=said)
    assert (done.returncode, done.stdout == said) == (0, True)


def test_a_terminals_size_is_told(program: Program) -> None:
    shown = Terminal([find_kubectl(), "exec", "-it", "web", "--", "size"], program.environment).read_end()
    assert "100x30" in shown


def test_attach_shows_the_serial_line_of_a_machine(program: Program) -> None:
    done = program.run("attach", "-i", "plc", stdin=b"root\nexit\n")
    assert done.returncode == 0, done.stderr
    assert b"plc login: " in done.stdout
    assert b"EXIT" in done.stdout
    refused = program.run("attach", "mute")
    assert b"app mute has no serial console" in refused.stderr


def test_the_console_is_left_by_its_key(served: ServedApi) -> None:
    program = Program(served, "websocket")
    terminal = Terminal([str(BIN / "kubectl-eaves"), "console", "plc"], program.environment)
    terminal.read_until("Ctrl-] leaves the console.")
    terminal.read_until("plc login: ")
    terminal.write("root\x03\r")
    terminal.read_until("ROOT\x03")
    terminal.write("\x1d")
    terminal.read_end()
    assert terminal.code == 0


def test_the_console_ends_with_the_machine(served: ServedApi) -> None:
    terminal = Terminal([str(BIN / "kubectl-eaves"), "console", "plc"], Program(served, "websocket").environment)
    terminal.read_until("plc login: ")
    terminal.write("exit\r")
    assert "EXIT" in terminal.read_end()
    assert terminal.code == 0


PYTHON_CLIENT = """
import sys
from kubernetes import client, config, stream

api = client.CoreV1Api(config.new_client_from_config(sys.argv[1]))
running = stream.stream(
    api.connect_get_namespaced_pod_exec, "web", "default", command=sys.argv[2:], stdin=False, stdout=True, stderr=True, tty=False,
    _preload_content=False,
)
running.run_forever(timeout=150)
out = running.read_stdout() or ""
print(len(out), repr(running.read_stderr() or ""), running.returncode)
"""


@pytest.mark.parametrize(
    ("command", "shown"), [(["count", "200000"], "200000 '' 0"), (["fail", "4"], "0 'it went wrong\\n' 4")]
)
def test_the_official_python_client_runs_commands(served: ServedApi, command: list[str], shown: str) -> None:
    argv = [sys.executable, "-c", PYTHON_CLIENT, str(served.kubeconfig), *command]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == shown
