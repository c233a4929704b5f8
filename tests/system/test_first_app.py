"""The main job: kubectl apply runs a container on an edge node."""

from __future__ import annotations

import json

import pytest

from eaves.testing import power
from eaves.testing.daemons import find_ports
from eaves.testing.registry import Registry
from eaves.testing.system import ControllerHost, fetch, want_app
from tests.system.conftest import MakeNode

pytestmark = pytest.mark.system


def test_an_applied_app_answers_logs_and_goes(
    controller: ControllerHost, registry: Registry, namespace: str, make_node: MakeNode
) -> None:
    node = make_node(controller)
    kubectl = controller.kubectl

    def about_node(field: str, **wanted: str) -> list[str]:
        events = [event for event in controller.operator.find("events") if event["involvedObject"]["name"] == node.name]
        return [event[field] for event in events if all(event[key] == value for key, value in wanted.items())]

    # An event is written after the status that it tells of.
    node.wait("the event of its readiness", lambda: "NodeReady" in about_node("reason"))
    assert about_node("message", type="Warning") == []
    port = find_ports(1)[0]
    networks = [{"name": "default", "ports": [{"port": 80, "nodePort": port}]}]
    app = want_app(node, "web", f"{registry.server}/shop/web:1", networks=networks)

    kubectl.ok("apply", "-n", namespace, "-f", "-", stdin=json.dumps(app))
    kubectl.ok("wait", "-n", namespace, "--for=condition=Ready", "app/web", "--timeout=40s")
    assert node.wait("an answer", lambda: fetch(port)) == "hello from eaves\n"

    wide = kubectl.ok("get", "nodes,apps,pods", "-n", namespace, "-o", "wide").out
    assert node.name in wide
    assert f"{port}->80/tcp" in wide
    node.wait("the log", lambda: "response:200" in kubectl.ok("logs", "-n", namespace, "web").out)
    described = kubectl.ok("describe", "app/web", "-n", namespace).out
    assert "Running" in described
    assert "web" in node.status()
    assert "app/web is as asked" in controller.eaves_kubectl("-n", namespace, "why", "app/web")

    kubectl.ok("delete", "app/web", "-n", namespace, "--timeout=60s")
    node.wait("the container to go", lambda: not node.containers())
    assert fetch(port) is None


def test_reset_leaves_nothing_on_the_machine(
    controller: ControllerHost, registry: Registry, namespace: str, make_node: MakeNode
) -> None:
    # Beside other nodes of this machine it is not the host's own value.
    forwarding = None if power.has_bridges() else power.load_forwarding()
    node = make_node(controller)
    controller.operator.create("apps", want_app(node, "shell", f"{registry.server}/shop/shell:1"), namespace)
    node.wait(
        "the app to be ready",
        lambda: controller.operator.condition("apps", "shell", "Ready", namespace).get("status") == "True",
    )
    before = power.list_traces(node.instance)
    assert all(before.values()), "each kind of trace is looked for where it is"
    inodes = [path.stat().st_ino for path in node.instance.netns_dir.iterdir()]
    with power.holding_netns(inodes):
        assert "nothing of the node is left" in node.reset()
        assert not [holder for inode in inodes for holder in power.list_netns_holders(inode)]

    assert not node.daemon.is_running
    assert not any(power.list_traces(node.instance).values())
    assert forwarding is None or power.load_forwarding() == forwarding or power.has_bridges()
    assert not node.instance.data_dir.exists()
    assert not node.instance.run_dir.exists()
    assert not node.settings_file.exists()
