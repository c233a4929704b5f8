"""An app that crashed: its former run is told by kubectl as of any pod."""

from __future__ import annotations

import pytest
import yaml

from eaves.testing.registry import Registry
from eaves.testing.system import ControllerHost, want_app
from tests.system.conftest import MakeNode

pytestmark = pytest.mark.system

CRASH_ONCE = "if [ -e /ran ]; then echo second; exec sleep 1000000; fi; touch /ran; echo first; exit 3"


def test_kubectl_shows_the_run_before(
    controller: ControllerHost, registry: Registry, namespace: str, make_node: MakeNode
) -> None:
    node, kubectl = make_node(controller), controller.kubectl
    app = want_app(node, "crash", f"{registry.server}/shop/shell:1", command=["/bin/sh", "-c"], args=[CRASH_ONCE])
    controller.operator.create("apps", app, namespace)

    def restarts() -> int:
        found = controller.operator.get("apps", "crash", namespace) or {}
        return int((found.get("status") or {}).get("restarts", 0))

    node.wait("the second run", restarts)
    kubectl.ok("wait", "-n", namespace, "--for=condition=Ready", "app/crash", "--timeout=40s")
    node.wait("the log of the second run", lambda: kubectl.ok("logs", "-n", namespace, "crash").out == "second\n")
    assert kubectl.ok("logs", "-n", namespace, "crash", "--previous").out == "first\n"
    pod = yaml.safe_load(kubectl.ok("get", "pod", "crash", "-n", namespace, "-o", "yaml").out)
    container = pod["status"]["containerStatuses"][0]
    assert container["restartCount"] == 1
    assert "running" in container["state"]
    terminated = container["lastState"]["terminated"]
    assert (terminated["exitCode"], terminated["reason"]) == (3, "Error")
