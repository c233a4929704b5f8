"""Apps that ask for the impossible next to a good one."""

from __future__ import annotations

import socket

import pytest

from eaves.testing.daemons import find_ports
from eaves.testing.registry import Registry
from eaves.testing.system import ControllerHost, fetch, want_app
from tests.system.conftest import MakeNode

pytestmark = pytest.mark.system


@pytest.mark.timeout(180)
def test_the_good_app_runs_beside_impossible_ones(
    controller: ControllerHost, registry: Registry, namespace: str, make_node: MakeNode
) -> None:
    operator = controller.operator
    node = make_node(controller)
    port = find_ports(1)[0]
    shell = f"{registry.server}/shop/shell:1"
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        ports = [{"port": 80, "nodePort": taken.getsockname()[1]}]
        impossible = {
            "no-image": want_app(node, "no-image", f"{registry.server}/shop/no-such:1"),
            "no-program": want_app(node, "no-program", shell, command=["/bin/no-such-program"]),
            "no-datastore": want_app(node, "no-datastore", shell, datastoreRef={"name": "no-such"}),
            "no-secret": want_app(
                node, "no-secret", shell, env=[{"name": "A", "valueFrom": {"secretKeyRef": {"name": "no", "key": "a"}}}]
            ),
            "no-network": want_app(node, "no-network", shell, networks=[{"name": "no-such"}]),
            "no-port": want_app(node, "no-port", shell, networks=[{"name": "default", "ports": ports}]),
            "crashes": want_app(node, "crashes", shell, command=["sh", "-c", "exit 7"]),
        }
        for app in impossible.values():
            operator.create("apps", app, namespace)
        good = [{"name": "default", "ports": [{"port": 80, "nodePort": port}]}]
        operator.create("apps", want_app(node, "good", f"{registry.server}/shop/web:1", networks=good), namespace)

        node.wait("the good app's answer", lambda: fetch(port))
        told = {
            "no-image": "has no shop/no-such:1",
            "no-program": "no-such-program",
            "no-datastore": "no-such",
            "no-secret": "Secret",
            "no-network": "no-such",
            "crashes": "7",
        }
        for name, word in told.items():
            node.wait(f"{name} to be told", lambda name=name, word=word: word in explain(controller, namespace, name))  # type: ignore[misc]
        assert operator.condition("edgenodes", node.name, "Ready")["status"] == "True"
        assert fetch(port)


def explain(controller: ControllerHost, namespace: str, name: str) -> str:
    """All that the App's status says about why it does not run."""
    status = (controller.operator.get("apps", name, namespace) or {}).get("status") or {}
    if controller.operator.condition("apps", name, "Ready", namespace).get("status") == "True":
        return ""
    return str({key: status.get(key) for key in ("message", "state", "lastState", "conditions", "waitingFor")})
