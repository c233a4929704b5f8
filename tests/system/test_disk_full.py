"""Disks that are full: of the node, and of the controller."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from eaves.testing.daemons import find_ports, run_program
from eaves.testing.registry import Registry
from eaves.testing.system import ControllerHost, fetch, want_app
from tests.system.conftest import MakeNode, make_namespace

pytestmark = pytest.mark.system

SERVE = "echo $NUMBER > /www/number; exec httpd -f -p 80 -h /www"
NODE_DISK_BYTES = 256 << 20
CONTROLLER_DISK_BYTES = 48 << 20


class SmallDisk:
    """A file system in memory that tests fill and free."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filler = path / "filler"

    def fill(self) -> None:
        """To the last byte."""
        with self._filler.open("wb", buffering=0) as file:
            for size in (1 << 20, 4096):
                with contextlib.suppress(OSError):
                    while file.write(bytes(size)) == size:
                        pass

    def free(self) -> None:
        self._filler.unlink()


@contextlib.contextmanager
def open_disk(folder: Path, size_bytes: int) -> Iterator[SmallDisk]:
    path = folder / f"disk-{secrets.token_hex(4)}"
    path.mkdir()
    run_program(["mount", "-t", "tmpfs", "-o", f"size={size_bytes},mode=700", "tmpfs", str(path)])
    try:
        yield SmallDisk(path)
    finally:
        run_program(["umount", "--lazy", str(path)])
        path.rmdir()


@pytest.fixture
def node_disk(folder: Path) -> Iterator[SmallDisk]:
    """Requested before ``make_node``, so that it is there when the node is removed."""
    with open_disk(folder, NODE_DISK_BYTES) as disk:
        yield disk


@pytest.mark.timeout(240)
def test_a_node_with_a_full_disk_stays_manageable(
    controller: ControllerHost, registry: Registry, namespace: str, node_disk: SmallDisk, make_node: MakeNode
) -> None:
    operator = controller.operator
    node = make_node(controller, state_dir=node_disk.path / "state")
    port = find_ports(1)[0]
    networks = [{"name": "default", "ports": [{"port": 80, "nodePort": port}]}]
    operator.create("apps", want_app(node, "good", f"{registry.server}/shop/web:1", networks=networks), namespace)
    node.wait("the first answer", lambda: fetch(port))

    node_disk.fill()
    registry.push("shop/another:1", ("sleep", "1000000"), padding_bytes=1 << 20)
    operator.create("apps", want_app(node, "late", f"{registry.server}/shop/another:1"), namespace)

    def message() -> str:
        return str((operator.get("apps", "late", namespace) or {}).get("status"))

    node.wait("the full disk to be told", lambda: "are free" in message() or "space" in message())
    assert fetch(port)
    node.daemon.kill()
    node.start()
    node.wait_ready()
    assert fetch(port)
    operator.patch("apps", "good", {"spec": {"running": False}}, namespace)
    node.wait("the good app to stop as asked", lambda: fetch(port) is None)

    node_disk.free()
    operator.patch("apps", "good", {"spec": {"running": True}}, namespace)
    node.wait("the good app to run again", lambda: fetch(port))
    node.wait(
        "the late app to run", lambda: operator.condition("apps", "late", "Ready", namespace).get("status") == "True"
    )
    assert len(node.containers()) == 2


@pytest.mark.timeout(240)
def test_a_controller_with_a_full_disk_refuses_writes_and_recovers(
    folder: Path, registry: Registry, make_node: MakeNode
) -> None:
    with open_disk(folder, CONTROLLER_DISK_BYTES) as disk, ControllerHost(disk.path) as controller:
        operator = controller.operator
        namespace = make_namespace(controller, registry.server)
        node = make_node(controller)
        port = find_ports(1)[0]
        networks = [{"name": "default", "ports": [{"port": 80, "nodePort": port}]}]
        shell = f"{registry.server}/shop/shell:1"
        env = [{"name": "NUMBER", "value": "1"}]
        app = want_app(node, "web", shell, command=["sh", "-c", SERVE], networks=networks, env=env)
        operator.create("apps", app, namespace)
        node.wait("the first answer", lambda: fetch(port, "/number") == "1\n")

        disk.fill()
        acknowledged = write_until_refused(operator_of=controller, namespace=namespace)
        assert controller.daemon.is_running, controller.daemon.tail()
        assert operator.get("apps", "web", namespace)
        assert fetch(port, "/number") == "1\n"
        disk.free()

        env = [{"name": "NUMBER", "value": "2"}]
        node.wait("writes to be taken", lambda: try_patch(controller, namespace, {"spec": {"env": env}}))
        node.wait("the change to arrive", lambda: fetch(port, "/number") == "2\n")
        there = {obj["metadata"]["name"] for obj in operator.find("configmaps", namespace)}
        assert acknowledged <= there
        node.wait_ready()
        node.remove()


def write_until_refused(operator_of: ControllerHost, namespace: str) -> set[str]:
    """Names of the ConfigMaps that the controller took before it said that its disk is full."""
    taken: set[str] = set()
    for number in range(2000):
        name = f"note-{number}"
        try:
            operator_of.operator.create(
                "configmaps", {"metadata": {"name": name}, "data": {"value": "x" * 20_000}}, namespace
            )
        except AssertionError as error:
            if "disk" in str(error) or "space" in str(error):
                return taken
            raise
        taken.add(name)
    raise AssertionError("the disk never got full")


def try_patch(controller: ControllerHost, namespace: str, patch: dict[str, object]) -> bool:
    try:
        controller.operator.patch("apps", "web", patch, namespace)
    except (AssertionError, httpx2.HTTPError):
        return False
    return True
