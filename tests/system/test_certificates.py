"""Controller keys that change while a node is away, and clocks that are years off."""

from __future__ import annotations

import pytest

from eaves.testing import shifted_clock
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


@pytest.mark.timeout(240)
@pytest.mark.parametrize("years", [-20, 15])
def test_a_node_whose_clock_is_years_off_runs_its_apps(
    controller: ControllerHost, registry: Registry, namespace: str, make_node: MakeNode, years: int
) -> None:
    """Behind, it is managed as ever. Ahead, certificates have expired for it: it says so, and is managed once its clock is right."""
    operator = controller.operator
    node = make_node(controller)
    port = find_ports(1)[0]
    networks = [{"name": "default", "ports": [{"port": 80, "nodePort": port}]}]
    shell = f"{registry.server}/shop/shell:1"
    env = [{"name": "TOKEN", "value": "first"}]
    app = want_app(node, "web", shell, command=["sh", "-c", SERVE], env=env, networks=networks)
    operator.create("apps", app, namespace)
    node.wait("the first answer", lambda: fetch(port, "/token") == "first\n")

    node.cut_power()
    node.daemon.prefix = shifted_clock.want_prefix(years)
    node.start()
    node.wait("the app to run with a wrong clock", lambda: fetch(port, "/token") == "first\n")
    operator.patch("apps", "web", {"spec": {"env": [{"name": "TOKEN", "value": "second"}]}}, namespace)
    if years > 0:
        node.wait("the node to say what is wrong", lambda: "check the clock" in node.status())
        node.daemon.stop()
        node.daemon.prefix = []
        node.start()
    node.wait("the change to arrive", lambda: fetch(port, "/token") == "second\n")
    assert len(node.containers()) == 1


def test_a_node_joins_with_a_clock_that_is_years_behind(
    controller: ControllerHost, registry: Registry, namespace: str, make_node: MakeNode
) -> None:
    node = make_node(controller, prefix=shifted_clock.want_prefix(-20))
    port = find_ports(1)[0]
    networks = [{"name": "default", "ports": [{"port": 80, "nodePort": port}]}]
    app = want_app(node, "web", f"{registry.server}/shop/web:1", networks=networks)
    controller.operator.create("apps", app, namespace)
    node.wait("the first answer", lambda: fetch(port))


def is_config_applied(controller: ControllerHost, name: str) -> bool:
    """Whether the node reports the config that was made for it last, and does so now."""
    applied = controller.operator.condition("edgenodes", name, "ConfigApplied")
    ready = controller.operator.condition("edgenodes", name, "Ready")
    return applied.get("status") == "True" and ready.get("status") == "True"
