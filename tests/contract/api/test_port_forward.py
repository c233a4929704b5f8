"""Port-forward by the real kubectl and by the official Python client, through the node's own handler to real servers."""

from __future__ import annotations

import contextlib
import hashlib
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from eaves.node.observed import AppState, AppStatus, InterfaceStatus, Observations
from eaves.node.tunnel.portforward import PortForward
from eaves.testing.kubectl import Following, Kubectl
from eaves.testing.linked_tunnel import LinkedTunnel
from eaves.testing.objects import make_app, make_edgenode
from eaves.testing.operator_api import ServedApi
from eaves.wire.tunnel import StreamKind

pytestmark = pytest.mark.contract

NODE = "forward-1"
MIB = 1 << 20


class Talker:
    """A server on loopback in threads: it reads all that a client says, then answers with what it was, and hangs up.

    With ``first_bytes`` it says so much before. ``line`` answers a line at once instead.
    """

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, name="talker", daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        # A forward that is cut resets its connections.
        with connection, contextlib.suppress(OSError):
            command = _read_line(connection)
            if command == b"digest":
                digest, size = hashlib.sha256(), 0
                while data := connection.recv(1 << 16):
                    digest.update(data)
                    size += len(data)
                connection.sendall(f"{size} {digest.hexdigest()}".encode())
            elif command.startswith(b"send "):
                connection.sendall(pattern(int(command[5:])))
            elif command == b"stall":
                connection.recv(1, socket.MSG_PEEK)
                threading.Event().wait(30)
            else:
                connection.sendall(command + b"\n")


def pattern(size: int) -> bytes:
    """Bytes that repeat at no power of two, so that a lost or doubled piece shows."""
    block = b"".join(number.to_bytes(3, "big") for number in range(100_003))
    return (block * (size // len(block) + 1))[:size]


def _read_line(connection: socket.socket) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        byte = connection.recv(1)
        if not byte:
            break
        line += byte
    return line.rstrip(b"\n")


def ask(port: int, command: bytes, rest: bytes = b"", timeout_s: float = 150) -> bytes:
    """Say the command and the rest, say that this is all, and hear the answer to its end."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as connection:
        connection.sendall(command + b"\n")
        if rest:
            connection.sendall(rest)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while data := connection.recv(1 << 16):
            answer += data
        return answer


@pytest.fixture(scope="module")
def tunnel(tmp_path_factory: pytest.TempPathFactory) -> LinkedTunnel:
    observations = Observations()
    interface = InterfaceStatus("eth0", "net", "02:00:00:00:00:01", ("127.0.0.1",))
    for app_id, state in (("web-id", AppState.RUNNING), ("stopped-id", AppState.HALTED)):
        observations.publish(AppStatus(app_id, "1", "web", "default", state, interfaces=(interface,)))
    handler = PortForward(observations, tmp_path_factory.mktemp("no-namespaces"))
    return LinkedTunnel({StreamKind.PORT_FORWARD: handler})


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, tunnel: LinkedTunnel) -> Iterator[ServedApi]:
    with ServedApi(tmp_path_factory.mktemp("api"), tunnel=tunnel) as served:
        node = make_edgenode(NODE)
        served.call(served.bench.put(node))
        for name in ("web", "stopped"):
            app = make_app(name, status={"phase": "Running", "nodeName": NODE}, nodeName=NODE)
            app["metadata"]["uid"] = f"{name}-id"
            served.call(served.bench.put(app))
        yield served


@pytest.fixture(scope="module")
def talker() -> Iterator[Talker]:
    found = Talker()
    yield found
    found.close()


@pytest.fixture(params=["true", "false"], ids=["websocket", "spdy"])
def forward(kubectl: Kubectl, talker: Talker, request: pytest.FixtureRequest) -> Iterator[int]:
    """A local port that leads to the talker, by the way of kubectl from 1.31 on and by that of older clients."""
    environment = {"KUBECTL_PORT_FORWARD_WEBSOCKETS": request.param}
    with kubectl.start("port-forward", "pod/web", f":{talker.port}", environment=environment) as following:
        yield wait_port(following)


def wait_port(following: Following) -> int:
    found = re.search(r"127\.0\.0\.1:(\d+) ->", following.wait_line("Forwarding from 127.0.0.1"))
    assert found is not None
    return int(found.group(1))


def test_many_connections_at_once_keep_apart(forward: int) -> None:
    def talk(number: int) -> bytes:
        return ask(forward, b"hello %d" % number)

    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(talk, range(120)))
    assert answers == [b"hello %d\n" % number for number in range(120)]


def test_two_hundred_connections_are_open_at_the_same_time(
    forward: int, tunnel: LinkedTunnel, served: ServedApi
) -> None:
    with contextlib.ExitStack() as stack:
        connections = [
            stack.enter_context(socket.create_connection(("127.0.0.1", forward), timeout=150)) for _ in range(200)
        ]
        served.call(tunnel.wait_count(lambda count: count >= 200))
        for number, connection in enumerate(connections):
            connection.sendall(b"I am %d\n" % number)
        for number, connection in enumerate(connections):
            assert _read_line(connection) == b"I am %d" % number
    served.call(tunnel.wait_count(lambda count: count == 0))


def test_megabytes_arrive_whole_both_ways(forward: int) -> None:
    sent = pattern(12 * MIB + 5)
    assert ask(forward, b"digest", sent).decode() == f"{len(sent)} {hashlib.sha256(sent).hexdigest()}"
    assert ask(forward, b"send %d" % len(sent)) == sent


def test_both_ways_at_once_and_beside_each_other(forward: int) -> None:
    sent = pattern(3 * MIB)
    with ThreadPoolExecutor(8) as pool:
        up = [pool.submit(ask, forward, b"digest", sent) for _ in range(4)]
        down = [pool.submit(ask, forward, b"send %d" % len(sent)) for _ in range(4)]
    assert {future.result().decode() for future in up} == {f"{len(sent)} {hashlib.sha256(sent).hexdigest()}"}
    assert all(future.result() == sent for future in down)


def test_a_port_nobody_listens_on_is_told(kubectl: Kubectl) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with kubectl.start("port-forward", "pod/web", f":{port}") as following:
        local = wait_port(following)
        assert ask(local, b"anybody") == b""
        line = following.wait_line("error forwarding port")
    assert f"error forwarding port {port} to pod web, uid " in line
    assert f"nothing answers on port {port} (127.0.0.1: connection refused)" in line


def test_an_app_that_does_not_run_is_told(kubectl: Kubectl, talker: Talker) -> None:
    with kubectl.start("port-forward", "pod/stopped", f":{talker.port}") as following:
        assert ask(wait_port(following), b"anybody") == b""
        assert "the app is not running: its state is Halted" in following.wait_line("error forwarding port")


def test_a_node_that_is_away_is_told(kubectl: Kubectl, talker: Talker, tunnel: LinkedTunnel) -> None:
    tunnel.is_online = False
    try:
        said = kubectl.fails("port-forward", "pod/web", f":{talker.port}")
        assert f"node {NODE} is not connected to this controller" in said
    finally:
        tunnel.is_online = True


def test_a_pod_that_there_is_not(kubectl: Kubectl) -> None:
    assert 'pods "nobody" not found' in kubectl.fails("port-forward", "pod/nobody", ":80")


def test_nothing_is_left_when_kubectl_goes(
    kubectl: Kubectl, talker: Talker, tunnel: LinkedTunnel, served: ServedApi
) -> None:
    with kubectl.start("port-forward", "pod/web", f":{talker.port}") as following:
        local = wait_port(following)
        with socket.create_connection(("127.0.0.1", local)) as connection:
            connection.sendall(b"stall\n")
            served.call(tunnel.wait_count(lambda count: count > 0))
    served.call(tunnel.wait_count(lambda count: count == 0))


def test_one_stalled_connection_holds_up_no_other(forward: int) -> None:
    with socket.create_connection(("127.0.0.1", forward)) as connection:
        connection.sendall(b"stall\n" + bytes(50_000))
        assert ask(forward, b"hello") == b"hello\n"


PYTHON_CLIENT = """
import sys
from kubernetes import client, config, stream

kubeconfig, port, size = sys.argv[1:]
api = client.CoreV1Api(config.new_client_from_config(kubeconfig))
call = api.connect_get_namespaced_pod_portforward
forwarding = stream.portforward(call, "web", "default", ports=port)
connection = forwarding.socket(int(port))
connection.setblocking(True)
connection.sendall(b"send " + size.encode() + b"\\n")
while data := connection.recv(1 << 16):
    sys.stdout.buffer.write(data)
assert forwarding.error(int(port)) is None, forwarding.error(int(port))
"""


def test_the_official_python_client(served: ServedApi, talker: Talker) -> None:
    command = [sys.executable, "-c", PYTHON_CLIENT, str(served.kubeconfig), str(talker.port), "300000"]
    done = subprocess.run(command, capture_output=True, timeout=150)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == pattern(300_000)
