"""Ways into a real virtual machine: its serial console, its screen, its ports."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
from collections.abc import Iterator

import pytest

from eaves.testing.daemons import BIN, find_ports
from eaves.testing.file_server import FileServer
from eaves.testing.guest_image import PROMPT, READY, want_guest_disk
from eaves.testing.kubectl import Following
from eaves.testing.system import ControllerHost, NodeHost
from eaves.testing.terminal import Terminal
from tests.system.conftest import MakeNode
from tests.system.test_vm import BOOT_LIMIT_S, manifest, want_vm

pytestmark = pytest.mark.system


@pytest.fixture
def node(controller: ControllerHost, namespace: str, make_node: MakeNode) -> Iterator[NodeHost]:
    """With the machine ``plc``, which has a screen and has booted."""
    kubectl, disk = controller.kubectl, want_guest_disk()
    node = make_node(controller)
    with FileServer({"/guest.raw": disk.read_bytes()}) as files:
        datastore = manifest("Datastore", "files", {"type": "HTTP", "url": files.url})
        objects = [datastore, want_vm(node, disk, find_ports(1)[0], vnc={})]
        kubectl.ok(
            "apply",
            "-n",
            namespace,
            "-f",
            "-",
            stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}),
        )
        node.wait(
            "the machine to run",
            lambda: controller.operator.condition("apps", "plc", "Ready", namespace).get("status") == "True",
            limit_s=BOOT_LIMIT_S,
        )
    node.wait("the guest", lambda: READY in kubectl.ok("logs", "-n", namespace, "plc").out, limit_s=BOOT_LIMIT_S)
    yield node
    kubectl.ok("delete", "app/plc", "-n", namespace, "--wait=false")


@pytest.fixture
def environment(controller: ControllerHost) -> dict[str, str]:
    return {
        **os.environ,
        "KUBECONFIG": str(controller.kubeconfig),
        "HOME": str(controller.folder),
        "PATH": f"{BIN}:{os.environ['PATH']}",
    }


def test_console_screen_and_ports_of_a_machine(
    controller: ControllerHost, namespace: str, node: NodeHost, environment: dict[str, str]
) -> None:
    plugin = [str(BIN / "kubectl-eaves"), "-n", namespace]

    terminal = Terminal([*plugin, "console", "plc"], environment)
    terminal.write("\r")
    terminal.read_until(PROMPT)
    terminal.write("echo sum is $((40 + 2))\r")
    terminal.read_until("sum is 42")
    terminal.write("\x1d")
    terminal.read_end()
    assert terminal.code == 0

    with Following([*plugin, "vnc", "plc"], environment) as following:
        found = re.search(r"127\.0\.0\.1:(\d+)", following.wait_line("VNC at"))
        assert found
        with socket.create_connection(("127.0.0.1", int(found.group(1))), timeout=60) as viewer:
            assert viewer.recv(12) == b"RFB 003.008\n"
            viewer.sendall(b"RFB 003.008\n")
            # One way to get in is offered, and it is 1, None: who may come here is the API's to decide.
            assert viewer.recv(2) == b"\x01\x01"
        following.signal(signal.SIGINT)
        assert following.wait() == 0

    with controller.kubectl.start("port-forward", "-n", namespace, "pod/plc", ":80") as following:
        forwarded = re.search(r"127\.0\.0\.1:(\d+) ->", following.wait_line("Forwarding from 127.0.0.1"))
        assert forwarded
        with socket.create_connection(("127.0.0.1", int(forwarded.group(1))), timeout=60) as client:
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert re.match(rb"HTTP/1\.[01] 200", client.recv(100))

    refused = controller.kubectl.fails("exec", "-n", namespace, "plc", "--", "true")
    assert "commands cannot be run" in refused
