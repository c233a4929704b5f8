"""kubectl port-forward and top against a real container on a real node."""

from __future__ import annotations

import hashlib
import random
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from eaves.testing.kubectl import Following
from eaves.testing.registry import Registry
from eaves.testing.system import ControllerHost, NodeHost, want_app
from tests.system.conftest import MakeNode

pytestmark = pytest.mark.system

SIZE = 8 << 20
HTTP, DIGEST, SOURCE, GREETER = 80, 9000, 9001, 9002
SERVERS = (
    f"mkdir -p /tmp/www && echo hello from inside > /tmp/www/index.html && dd if=/dev/urandom of=/tmp/www/big bs={SIZE} count=1"
    r"; printf '#!/bin/sh\necho here\nexec sleep 9999\n' > /tmp/greet; chmod +x /tmp/greet"
    f"; nc -ll -p {DIGEST} -e sha256sum & nc -ll -p {SOURCE} -e cat /tmp/www/big & nc -ll -p {GREETER} -e /tmp/greet & "
    f"exec httpd -f -p 127.0.0.1:{HTTP} -h /tmp/www"
)


@pytest.fixture
def node(controller: ControllerHost, registry: Registry, namespace: str, make_node: MakeNode) -> Iterator[NodeHost]:
    """With the running app ``servers``, whose ports listen on the loopback of its own network alone."""
    node = make_node(controller)
    app = want_app(node, "servers", f"{registry.server}/shop/shell:1", command=["sh", "-c"], args=[SERVERS])
    controller.operator.create("apps", app, namespace)
    wait_ready(node, controller, namespace)
    yield node
    controller.operator.delete("apps", "servers", namespace)


def wait_ready(node: NodeHost, controller: ControllerHost, namespace: str) -> None:
    node.wait(
        "the app to be ready",
        lambda: controller.operator.condition("apps", "servers", "Ready", namespace).get("status") == "True",
    )


def local_port(following: Following, port: int) -> int:
    line = following.wait_line(f"-> {port}")
    found = re.search(r"127\.0\.0\.1:(\d+) ->", line)
    assert found, line
    return int(found.group(1))


def exchange(port: int, said: bytes = b"") -> bytes:
    """Say all and end, then hear all; empty when there is nobody."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            connection.sendall(said)
            connection.shutdown(socket.SHUT_WR)
            heard = b""
            while data := connection.recv(1 << 16):
                heard += data
            return heard
    except OSError:
        return b""


def get(port: int) -> bytes:
    return exchange(port, b"GET / HTTP/1.0\r\n\r\n")


def test_connections_reach_the_apps_own_loopback_and_survive_its_restart(
    controller: ControllerHost, namespace: str, node: NodeHost
) -> None:
    kubectl = controller.kubectl
    arguments = ("port-forward", "-n", namespace, "pod/servers", "--address", "127.0.0.1")
    ports = (HTTP, DIGEST, SOURCE, GREETER)
    with kubectl.start(*arguments, *(f":{port}" for port in ports)) as following:
        http, digest, source, greeter = (local_port(following, port) for port in ports)
        node.wait("the servers", lambda: b"hello from inside" in get(http))

        with ThreadPoolExecutor(32) as pool:
            answers = list(pool.map(lambda _: get(http), range(96)))
        assert all(b"hello from inside" in answer for answer in answers)

        sent = random.Random(7).randbytes(SIZE)
        assert exchange(digest, sent).split()[0].decode() == hashlib.sha256(sent).hexdigest()
        received = exchange(source)
        assert len(received) == SIZE
        assert exchange(digest, received).split()[0].decode() == hashlib.sha256(received).hexdigest()

        before = controller.operator.get("apps", "servers", namespace)
        assert before is not None
        with socket.create_connection(("127.0.0.1", greeter), timeout=60) as idle:
            # It reaches the app before that ends: one that comes later is refused, and kubectl ends the whole forward.
            assert idle.recv(100) == b"here\n"
            spec = {"restartCounter": before["spec"].get("restartCounter", 0) + 1}
            controller.operator.patch("apps", "servers", {"spec": spec}, namespace)
            assert idle.recv(100) == b"", "a connection ends with its app"

        def is_restarted() -> bool:
            now = controller.operator.get("apps", "servers", namespace) or {}
            state = now["status"].get("state") or {}
            return bool(state.get("running")) and now["status"]["state"] != before["status"]["state"]

        node.wait("the restart", is_restarted)

        # kubectl ends a forward when a connection is refused, so another one finds out when the servers listen again.
        def listens() -> bool:
            with kubectl.start(*arguments, f":{HTTP}") as probing:
                return b"hello from inside" in get(local_port(probing, HTTP))

        node.wait("the servers again", listens)
        node.wait("an answer by the same forward", lambda: b"hello from inside" in get(http))


def test_a_port_that_nobody_listens_on_is_told(controller: ControllerHost, namespace: str, node: NodeHost) -> None:
    with controller.kubectl.start("port-forward", "-n", namespace, "pod/servers", ":4242") as following:
        assert exchange(local_port(following, 4242)) == b""
        line = following.wait_line("error forwarding port 4242 to pod servers")
    assert "nothing answers on port 4242 (127.0.0.1: connection refused)" in line


def test_top_shows_the_new_app_soon(controller: ControllerHost, namespace: str, node: NodeHost) -> None:
    kubectl = controller.kubectl

    def row(*arguments: str) -> list[str]:
        outcome = kubectl.run("top", *arguments, "--no-headers")
        return outcome.out.split() if outcome.code == 0 else []

    name, cpu, memory = node.wait("the pod's figures", lambda: row("pod", "servers", "-n", namespace))
    assert name == "servers"
    assert re.fullmatch(r"\d+m", cpu)
    assert re.fullmatch(r"\d+Mi", memory)
    assert row("pod", "servers", "-n", namespace, "--containers")[:2] == ["servers", "app"]
    figures = node.wait("the node's figures", lambda: row("node", node.name))
    assert figures[0] == node.name
    assert figures[2].endswith("%")
    assert int(figures[1].removesuffix("m")) > 0
