"""kill -9 of the node's daemon again and again beside machines and containers: none of them restarts, and none is there twice."""

from __future__ import annotations

import hashlib
import json
import random
import threading
from collections import Counter
from typing import Any

import pytest

from eaves.testing.file_server import FileServer
from eaves.testing.guest_image import want_guest_disk
from eaves.testing.registry import Registry
from eaves.testing.system import ControllerHost, NodeHost, want_app
from tests.system.conftest import MakeNode
from tests.system.test_vm import apply, find_machines, manifest

pytestmark = pytest.mark.system

LONGEST_LIFE_S = 5.0
"""Starting takes a second or two of it, so that kills hit starts as well as work."""
_START_LIMIT_S = 600.0


@pytest.mark.timeout(280)
def test_three_kills_beside_a_machine_and_three_containers_restart_nothing(
    controller: ControllerHost, namespace: str, registry: Registry, make_node: MakeNode
) -> None:
    run_kills(controller, namespace, registry, make_node(controller), machines=1, containers=3, kills=3)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_hundred_kills_beside_five_machines_and_ten_containers_restart_nothing(
    controller: ControllerHost, namespace: str, registry: Registry, make_node: MakeNode
) -> None:
    run_kills(controller, namespace, registry, make_node(controller), machines=5, containers=10, kills=100)


def run_kills(
    controller: ControllerHost,
    namespace: str,
    registry: Registry,
    node: NodeHost,
    *,
    machines: int,
    containers: int,
    kills: int,
) -> None:
    disk = want_guest_disk().read_bytes()
    with FileServer({"/guest.raw": disk}) as files:
        store = manifest("Datastore", "files", {"type": "HTTP", "url": files.url})
        apply(controller, namespace, store, *(want_machine(node, disk, number) for number in range(machines)))
        for number in range(containers):
            app = want_app(node, f"web-{number}", f"{registry.server}/shop/shell:1")
            controller.operator.create("apps", app, namespace)
        node.wait("all to run", lambda: are_ready(controller, namespace), limit_s=_START_LIMIT_S)
    before = look(controller, namespace, node)
    assert len(before) == machines + containers
    seed = random.randrange(1 << 32)
    print(f"kills in the order of seed {seed}")
    chance, never = random.Random(seed), threading.Event()
    for _ in range(kills):
        never.wait(chance.uniform(0, LONGEST_LIFE_S))
        assert node.daemon.is_running, node.daemon.tail()
        node.daemon.kill()
        node.start()
    node.wait_ready()
    node.wait("all to run", lambda: are_ready(controller, namespace), limit_s=_START_LIMIT_S)
    assert look(controller, namespace, node) == before, "each is the process that it was"
    assert len(find_machines(node)) == machines
    counts = Counter(container["Labels"]["eaves.app"] for container in node.containers())
    assert sorted(counts.values()) == [1] * containers
    restarts = {app["metadata"]["name"]: app["status"].get("restarts", 0) for app in list_apps(controller, namespace)}
    assert not any(restarts.values()), restarts


def want_machine(node: NodeHost, disk: bytes, number: int) -> dict[str, Any]:
    spec = {
        "nodeName": node.name,
        "type": "VirtualMachine",
        "image": f"guest.raw@sha256:{hashlib.sha256(disk).hexdigest()}",
        "datastoreRef": {"name": "files"},
        "resources": {"cpus": 1, "memory": "128Mi"},
        "vm": {"firmware": "BIOS"},
    }
    return manifest("App", f"plc-{number}", spec)


def list_apps(controller: ControllerHost, namespace: str) -> list[dict[str, Any]]:
    return list(controller.operator.find("apps", namespace))


def are_ready(controller: ControllerHost, namespace: str) -> bool:
    phases = [(app.get("status") or {}).get("phase") for app in list_apps(controller, namespace)]
    return bool(phases) and all(phase == "Running" for phase in phases)


def look(controller: ControllerHost, namespace: str, node: NodeHost) -> dict[str, object]:
    """By the app's name, what tells its process from any other."""
    found: dict[str, object] = {}
    containers = {container["Labels"]["eaves.app"]: container for container in node.containers()}
    for app in list_apps(controller, namespace):
        uid = app["metadata"]["uid"]
        if (container := containers.get(uid)) is not None:
            found[app["metadata"]["name"]] = (container["Id"], container["Pid"], container["StartedAt"])
        else:
            state = json.loads((node.instance.apps_run_dir / uid / "vm" / "state.json").read_bytes())
            found[app["metadata"]["name"]] = (state["pid"], state["ticks"])
    return found
