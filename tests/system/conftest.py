"""What whole-system tests share: one registry and one controller a worker, and nodes that leave nothing behind."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from eaves.testing.k3s import Release
from eaves.testing.k3s_stage import ClusterStage
from eaves.testing.registry import Registry
from eaves.testing.system import ControllerHost, NodeHost, want_datastore

HTTPD = ("/bin/busybox", "httpd", "-f", "-v", "-p", "80", "-h", "/www")

MakeNode = Callable[..., NodeHost]


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    """On a disk: podman's overlay does not stack on the memory file systems that temporary folders may be."""
    found = Path(tempfile.mkdtemp(prefix="eaves-system.", dir="/var/tmp"))
    yield found
    shutil.rmtree(found, ignore_errors=True)


@pytest.fixture(scope="session")
def registry(folder: Path) -> Iterator[Registry]:
    """Holds ``web:1`` (an HTTP server on port 80 that logs requests) and ``shell:1`` (runs what it is told)."""
    with Registry(folder / "registry") as found:
        found.push("shop/web:1", HTTPD)
        found.push("shop/shell:1", ("sleep", "1000000"))
        yield found


@pytest.fixture(scope="session")
def controller(folder: Path) -> Iterator[ControllerHost]:
    """For tests that do not stop it."""
    with ControllerHost(folder / "shared") as found:
        yield found


@pytest.fixture
def own_controller(folder: Path) -> Iterator[ControllerHost]:
    """For tests that stop, kill or starve it. Not started."""
    home = folder / f"own-{secrets.token_hex(4)}"
    found = ControllerHost(home)
    yield found
    found.close()
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def make_node(folder: Path) -> Iterator[MakeNode]:
    """Makes nodes of a controller that join, start and get ready, unless ``is_started`` is False."""
    with contextlib.ExitStack() as stack:

        def make(controller: ControllerHost, *, is_started: bool = True, **options: object) -> NodeHost:
            node = NodeHost(folder, controller, **options)  # type: ignore[arg-type]  # handed on as they are
            stack.callback(node.remove)
            node.join()
            if is_started:
                node.start()
                node.wait_ready()
            return node

        yield make


@pytest.fixture
def namespace(controller: ControllerHost, registry: Registry) -> Iterator[str]:
    """A namespace of the shared controller with the Datastore ``registry``; deleted at the end."""
    name = make_namespace(controller, registry.server)
    yield name
    controller.operator.delete("namespaces", name)


def make_namespace(controller: ControllerHost, server: str) -> str:
    """Its default network has a subnet of its own, so that nodes of several tests fit on one machine."""
    name = f"test-{secrets.token_hex(4)}"
    controller.operator.create("namespaces", {"metadata": {"name": name}})
    controller.operator.create("datastores", want_datastore(server), name)
    return name


@pytest.fixture
def stage(folder: Path, controller: ControllerHost, releases: list[Release]) -> Iterator[ClusterStage]:
    """Machines for K3s clusters, on which no node is yet."""
    with ClusterStage(folder, controller, releases) as found:
        yield found


@pytest.fixture
def shop(controller: ControllerHost, stage: ClusterStage) -> Iterator[str]:
    """A namespace with the releases of K3s."""
    name = f"shop-{secrets.token_hex(3)}"
    controller.operator.create("namespaces", {"metadata": {"name": name}})
    stage.want_releases(name)
    yield name
    with contextlib.suppress(Exception):
        controller.operator.delete("namespaces", name)
