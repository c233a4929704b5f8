"""``kubectl eaves`` from the first key to a reboot, with a whole node at the other end."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from eaves.testing.daemons import BIN
from eaves.testing.registry import Registry
from eaves.testing.system import ControllerHost, NodeHost, want_app
from tests.system.conftest import MakeNode

pytestmark = pytest.mark.system

FAILED = ("app/job failed at container", "exit code 3", "to do: kubectl logs --previous job")


def paste(command: str, node: NodeHost) -> None:
    """Run the printed command in a shell, with folders of the test in place of the machine's."""
    start, redirect, token = command.strip().partition(" <<< ")
    assert (start, redirect) == ("eaves node join -", " <<< ")
    options = f"--no-start --name {node.name} --folder {node.settings_file.parent}"
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", f"{start} {options} <<< {token}"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def boot(node: NodeHost) -> None:
    """The machine comes back after :meth:`NodeHost.cut_power`: another boot in the eyes of the node."""
    [record] = node.instance.data_dir.rglob("boot.json")
    known = json.loads(record.read_text())
    record.write_text(json.dumps({**known, "boot_id": f"before-{known['boot_id']}"}))
    node.start()


def holds_all(text: str, words: tuple[str, ...]) -> bool:
    return all(word in text for word in words)


@pytest.fixture
def machine(controller: ControllerHost, folder: Path) -> Iterator[NodeHost]:
    """A node that has joined nothing yet."""
    node = NodeHost(folder, controller)
    yield node
    node.remove()


def test_a_machine_joins_by_the_printed_command_and_waits_for_approval(
    controller: ControllerHost, machine: NodeHost
) -> None:
    node = machine
    printed = controller.eaves_kubectl("onboarding-key", "create", f"key-{node.name}", "--label", "tier=shop")
    paste(printed, node)
    node.start()
    node.wait("the node to register", lambda: controller.operator.get("edgenodes", node.name))

    node.wait("its call", lambda: "calls" in controller.eaves_kubectl("why", f"edgenode/{node.name}"))
    said = controller.eaves_kubectl("why", f"node/{node.name}")
    assert said.startswith(f"edgenode/{node.name} waits at node: {node.name} is not approved"), said
    assert f"to do: kubectl eaves approve {node.name}" in said
    assert f"edgenode/{node.name} approved" in controller.eaves_kubectl("approve", node.name)
    node.wait_ready()
    controller.kubectl.ok("wait", "--for=condition=Ready", f"edgenode/{node.name}", "--timeout=20s")
    assert "was approved already" in controller.eaves_kubectl("approve", node.name)
    node.wait(
        "why to say so",
        lambda: f"edgenode/{node.name} is as asked" in controller.eaves_kubectl("why", f"edgenode/{node.name}"),
    )
    labels = controller.kubectl.ok("get", "node", node.name, "-o", "jsonpath={.metadata.labels.tier}").out
    assert labels == "shop"


def test_why_walks_from_the_app_to_the_container(
    controller: ControllerHost, registry: Registry, namespace: str, make_node: MakeNode
) -> None:
    node = make_node(controller)

    def why() -> str:
        return controller.eaves_kubectl("-n", namespace, "why", "app/job")

    missing = {**want_app(node, "job", f"{registry.server}/shop/none:1"), "metadata": {"name": "job"}}
    controller.operator.create("apps", missing, namespace)
    node.wait("the image to be missed", lambda: "app/job failed at image" in why())
    said = why()
    assert f"{registry.server}/shop/none:1" in said
    assert "latest warnings:" in said

    broken = {"spec": {"image": f"{registry.server}/shop/shell:1", "command": ["sh", "-c", "exit 3"]}}
    controller.operator.patch("apps", "job", broken, namespace)
    # Between two failures it is being started again; what is said of one is told in one piece.
    node.wait("the failure to be told", lambda: holds_all(why(), FAILED))

    controller.operator.patch("apps", "job", {"spec": {"running": False}}, namespace)
    node.wait("the stop", lambda: "stopped, as spec.running false asks" in why())
    controller.operator.patch("apps", "job", {"spec": {"running": True, "command": ["sleep", "1000"]}}, namespace)
    node.wait("the app to run", lambda: "app/job is as asked" in why())
    controller.operator.patch("apps", "job", {"spec": {"nodeName": "nowhere"}}, namespace)
    node.wait("the lack of a node", lambda: "EdgeNode nowhere does not exist" in why())


def test_a_reboot_is_ordered_waited_for_and_told(
    controller: ControllerHost, registry: Registry, namespace: str, make_node: MakeNode
) -> None:
    node = make_node(controller, is_started=False)
    mark, command = node.folder / "goes-down", node.folder / "reboot"
    command.write_text(f"#!/bin/sh\ntouch {mark}\n")
    command.chmod(0o755)
    node.daemon.environment["EAVES_NODE_REBOOT_COMMAND"] = str(command)
    node.start()
    node.wait_ready()
    app = want_app(node, "shell", f"{registry.server}/shop/shell:1")
    controller.operator.create("apps", app, namespace)

    def is_ready() -> bool:
        return controller.operator.condition("apps", "shell", "Ready", namespace).get("status") == "True"

    node.wait("the app", is_ready)
    [former] = node.containers()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(controller.eaves_kubectl, "reboot", node.name, "--wait", "90s")
        node.wait("the order to reboot", mark.exists)
        node.cut_power()
        mark.unlink()
        boot(node)
        said = waiting.result()
    assert f"edgenode/{node.name} will reboot at its next contact" in said
    assert f"edgenode/{node.name} is back" in said
    status = controller.operator.get("edgenodes", node.name) or {}
    assert (status["status"]["restartCounter"], status["status"]["bootReason"]) == (1, "RebootCmd")

    def runs_anew() -> bool:
        return [found["State"] == "running" and found["Pid"] != former["Pid"] for found in node.containers()] == [True]

    # Podman tells starts by the second, and all of this may take less than one; processes are told apart at any speed.
    node.wait("the app again", runs_anew)
    # The same order does not reboot the machine once more.
    assert not mark.exists()


def test_a_model_is_written_from_a_real_box(controller: ControllerHost, make_node: MakeNode) -> None:
    node = make_node(controller)
    node.wait(
        "its devices", lambda: (controller.operator.get("edgenodes", node.name) or {}).get("status", {}).get("devices")
    )
    model = controller.eaves_kubectl("model-from-node", node.name, "--name", f"box-{node.name}")
    applied = controller.kubectl.ok("apply", "-f", "-", stdin=model)
    assert applied.out.strip() == f"hardwaremodel.eaves.dev/box-{node.name} created"
    shown = controller.kubectl.ok("get", "hwm", f"box-{node.name}", "-o", "jsonpath={.spec.devices[*].name}").out
    assert shown
    controller.kubectl.ok("patch", "en", node.name, "--type=merge", "-p", f'{{"spec":{{"model":"box-{node.name}"}}}}')
    controller.kubectl.ok("wait", "--for=condition=ConfigApplied", f"edgenode/{node.name}", "--timeout=30s")
