"""Controller keys that change while a node is away, and clocks that are years off."""

from __future__ import annotations

import pytest

from eaves.testing.daemons import find_ports, run_program
from eaves.testing.registry import Registry
from eaves.testing.system import EAVES, ControllerHost, fetch, want_app
from tests.system.conftest import MakeNode, make_namespace

pytestmark = pytest.mark.system

SERVE = "echo $TOKEN > /www/token; exec httpd -f -p 80 -h /www"


@pytest.mark.timeout(180)
def test_a_node_that_was_away_takes_rotated_certificates(
    own_controller: ControllerHost, registry: Registry, make_node: MakeNode
) -> None:
    controller = own_controller
    controller.start()
    namespace = make_namespace(controller, registry.server)
    node = make_node(controller)
    port = find_ports(1)[0]
    env = [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "web", "key": "token"}}}]
    networks = [{"name": "default", "ports": [{"port": 80, "nodePort": port}]}]
    shell = f"{registry.server}/shop/shell:1"
    app = want_app(node, "web", shell, command=["sh", "-c", SERVE], env=env, networks=networks)
    controller.operator.create("secrets", {"metadata": {"name": "web"}, "stringData": {"token": "first"}}, namespace)
    controller.operator.create("apps", app, namespace)
    node.wait("the first secret", lambda: fetch(port, "/token") == "first\n")
    container = node.containers()[0]["Id"]

    node.daemon.stop()
    run_program([EAVES, "controller", "rotate-certs", "--config", str(controller.settings_file)])
    node.wait("the new keys to be used", lambda: "certificates changed" in controller.daemon.log.read_text())
    node.start()

    node.daemon.wait("the new keys", lambda: is_config_applied(controller, node.name))
    assert [each["Id"] for each in node.containers()] == [container]
    controller.operator.patch("secrets", "web", {"stringData": {"token": "second"}}, namespace)
    node.daemon.wait("the second secret", lambda: fetch(port, "/token") == "second\n")


def is_config_applied(controller: ControllerHost, name: str) -> bool:
    """Whether the node reports the config that was made for it last, and does so now."""
    applied = controller.operator.condition("edgenodes", name, "ConfigApplied")
    ready = controller.operator.condition("edgenodes", name, "Ready")
    return applied.get("status") == "True" and ready.get("status") == "True"
