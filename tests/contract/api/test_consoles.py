"""``kubectl eaves vnc`` through the real kubectl proxy and the node's own handler to a Unix socket like QEMU's."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from eaves.node.observed import AppState, AppStatus, Observations
from eaves.node.tunnel.unixsocket import UnixSocket
from eaves.testing.daemons import BIN
from eaves.testing.kubectl import Following
from eaves.testing.linked_tunnel import LinkedTunnel
from eaves.testing.objects import make_app, make_edgenode, make_vm
from eaves.testing.operator_api import ServedApi
from eaves.wire.tunnel import StreamKind

pytestmark = pytest.mark.contract

GREETING = b"RFB 003.008\n"
NODE = "screen-1"


class Screen:
    """A Unix socket that greets as a VNC server does and repeats what viewers say."""

    def __init__(self, path: Path) -> None:
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listening.bind(str(path))
        self._listening.listen()
        self._viewers: list[socket.socket] = []
        threading.Thread(target=self._accept, name="screen", daemon=True).start()

    def close(self) -> None:
        self._listening.close()
        self.drop()

    def drop(self) -> None:
        """The machine ends."""
        for viewer in self._viewers:
            with contextlib.suppress(OSError):
                viewer.shutdown(socket.SHUT_RDWR)
        self._viewers.clear()

    def _accept(self) -> None:
        while True:
            try:
                viewer, _ = self._listening.accept()
            except OSError:
                return
            self._viewers.append(viewer)
            threading.Thread(target=self._serve, args=(viewer,), daemon=True).start()

    def _serve(self, viewer: socket.socket) -> None:
        # A screen that is dropped is reset under its reader.
        with viewer, contextlib.suppress(OSError):
            viewer.sendall(GREETING)
            while data := viewer.recv(1 << 16):
                viewer.sendall(data)


@pytest.fixture(scope="module")
def screen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Screen, Path]]:
    folder = tmp_path_factory.mktemp("sockets")
    found = Screen(folder / "plc-id.sock")
    yield found, folder
    found.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, screen: tuple[Screen, Path]) -> Iterator[ServedApi]:
    observations = Observations()
    for app_id in ("plc-id", "mute-id"):
        observations.publish(AppStatus(app_id, "1", app_id, "default", AppState.RUNNING))
    handler = UnixSocket(observations, lambda app_id: screen[1] / f"{app_id}.sock", "screen")
    tunnel = LinkedTunnel({StreamKind.VNC: handler})
    with ServedApi(tmp_path_factory.mktemp("api"), tunnel=tunnel) as served:
        served.call(served.bench.put(make_edgenode(NODE)))
        running = {"phase": "Running", "nodeName": NODE}
        for name in ("plc", "mute"):
            machine = make_vm(name, status=running, nodeName=NODE, vm={"vnc": {}})
            machine["metadata"]["uid"] = f"{name}-id"
            served.call(served.bench.put(machine))
        served.call(served.bench.put(make_vm("blind", status=running, nodeName=NODE)))
        served.call(served.bench.put(make_vm("halted", status={"phase": "Halted"}, nodeName=NODE, vm={"vnc": {}})))
        served.call(served.bench.put(make_app("web", status=running, nodeName=NODE)))
        yield served


class Plugin:
    """``kubectl eaves`` against the served API."""

    def __init__(self, served: ServedApi, home: Path) -> None:
        self.folder = home / "tmp"
        self.folder.mkdir()
        self._environment = {
            **os.environ,
            "KUBECONFIG": str(served.kubeconfig),
            "HOME": str(home),
            "TMPDIR": str(self.folder),
            "PATH": f"{BIN}:{os.environ['PATH']}",
        }

    def start(self, *arguments: str) -> Following:
        return Following([str(BIN / "kubectl-eaves"), *arguments], self._environment)

    def says(self, *arguments: str) -> str:
        """What a command that fails says."""
        with self.start(*arguments) as following:
            lines = list(following.lines())
            assert following.wait() == 1
        return "\n".join(lines)


@pytest.fixture
def plugin(served: ServedApi, tmp_path: Path) -> Plugin:
    return Plugin(served, tmp_path)


def wait_port(following: Following) -> int:
    found = re.search(r"127\.0\.0\.1:(\d+)", following.wait_line("VNC at"))
    assert found is not None
    return int(found.group(1))


def read(viewer: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = viewer.recv(1 << 16)
        if not piece:
            break
        data += piece
    return data


def test_any_viewer_reaches_the_screen_by_a_local_port(plugin: Plugin, screen: tuple[Screen, Path]) -> None:
    with plugin.start("vnc", "plc") as following:
        port = wait_port(following)
        viewers = [socket.create_connection(("127.0.0.1", port), timeout=150) for _ in range(2)]
        for number, viewer in enumerate(viewers):
            assert read(viewer, len(GREETING)) == GREETING
            said = bytes((number,)) * 300_000
            sender = threading.Thread(target=viewer.sendall, args=(said,))
            sender.start()
            assert read(viewer, len(said)) == said
            sender.join()
        screen[0].drop()
        assert [read(viewer, 1) for viewer in viewers] == [b"", b""]
        for viewer in viewers:
            viewer.close()
        with socket.create_connection(("127.0.0.1", port), timeout=150) as again:
            assert read(again, len(GREETING)) == GREETING
        following.signal(signal.SIGINT)
        assert following.wait() == 0
    assert list(plugin.folder.iterdir()) == []


def test_a_machine_without_its_socket_turns_viewers_away(plugin: Plugin) -> None:
    with plugin.start("vnc", "app/mute") as following:
        with socket.create_connection(("127.0.0.1", wait_port(following)), timeout=150) as viewer:
            assert read(viewer, 1) == b""
        line = following.wait_line("viewer turned away")
    assert f"node {NODE}: the machine runs without a screen" in line


def test_what_has_no_screen_says_why_and_what_to_do(plugin: Plugin) -> None:
    assert "app blind was given no screen" in (said := plugin.says("vnc", "blind"))
    assert "kubectl patch app blind" in said
    assert "app web is a container" in plugin.says("vnc", "web")
    assert "app halted is not running: its phase is Halted" in plugin.says("vnc", "halted")
    assert 'apps.eaves.dev "none" not found' in plugin.says("vnc", "none")
    assert "is no virtual machine" in plugin.says("vnc", "node/plc")


def test_a_taken_port_is_named(plugin: Plugin) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = plugin.says("vnc", "plc", "--port", str(port))
    assert f"127.0.0.1:{port} cannot be listened on" in said
    assert "choose another with --port" in said
    assert list(plugin.folder.iterdir()) == []


@pytest.mark.parametrize("command", ["vnc", "console"])
def test_help_has_examples(plugin: Plugin, command: str) -> None:
    with plugin.start(command, "--help") as following:
        text = "\n".join(following.lines())
    assert f"kubectl eaves {command} plc" in text
