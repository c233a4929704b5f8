"""An app that is to run an image that cannot be had: it runs on as it is, and the operator is told."""

from __future__ import annotations

import pytest

from eaves.testing.registry import Registry
from eaves.testing.system import ControllerHost, want_app
from tests.system.conftest import MakeNode

pytestmark = pytest.mark.system


def test_an_app_runs_on_while_its_next_image_cannot_be_had(
    controller: ControllerHost, registry: Registry, namespace: str, make_node: MakeNode
) -> None:
    node, operator, kubectl = make_node(controller), controller.operator, controller.kubectl
    image = f"{registry.server}/shop/shell:1"
    operator.create("apps", want_app(node, "shell", image), namespace)
    kubectl.ok("wait", "-n", namespace, "--for=condition=Ready", "app/shell", "--timeout=40s")
    before = node.containers()

    operator.patch("apps", "shell", {"spec": {"image": f"{registry.server}/shop/nothing:1"}}, namespace)
    node.wait(
        "the missing image to be told",
        lambda: "Running (ErrImagePull)" in kubectl.ok("get", "apps", "-n", namespace).out,
    )
    why = controller.eaves_kubectl("-n", namespace, "why", "app/shell")
    assert "the node works by generation 2" in why
    assert "has no shop/nothing:1" in why
    assert [container["Id"] for container in node.containers()] == [container["Id"] for container in before]
    assert operator.condition("apps", "shell", "Ready", namespace)["status"] == "True"

    operator.patch("apps", "shell", {"spec": {"image": image}}, namespace)

    def is_settled() -> bool:
        status = (operator.get("apps", "shell", namespace) or {})["status"]
        return status["observedGeneration"] == 3 and status["phase"] == "Running" and "message" not in status

    node.wait("the app to be as asked", is_settled)
    assert [container["Id"] for container in node.containers()] == [container["Id"] for container in before]
