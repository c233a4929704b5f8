"""A node that loses everything in memory while its controller is away."""

from __future__ import annotations

import pytest

from eaves.testing import power
from eaves.testing.daemons import find_ports
from eaves.testing.registry import Registry
from eaves.testing.system import ControllerHost, fetch, want_app
from tests.system.conftest import MakeNode, make_namespace

pytestmark = pytest.mark.system

COUNT_BOOTS = "echo boot >> /data/boots; echo boot; cp /data/boots /www/boots; exec httpd -f -p 80 -h /www"


@pytest.mark.timeout(180)
def test_apps_run_again_after_a_power_cut_without_a_controller(
    own_controller: ControllerHost, registry: Registry, make_node: MakeNode
) -> None:
    own_controller.start()
    namespace = make_namespace(own_controller, registry.server)
    node = make_node(own_controller)
    port = find_ports(1)[0]
    app = want_app(
        node,
        "web",
        f"{registry.server}/shop/shell:1",
        command=["sh", "-c", COUNT_BOOTS],
        env=[{"name": "TOKEN", "value": "of no use"}],
        volumes=[{"name": "data", "size": "10Mi", "mountPath": "/data"}],
        networks=[{"name": "default", "ports": [{"port": 80, "nodePort": port}]}],
    )
    own_controller.operator.create("apps", app, namespace)
    node.wait("the first answer", lambda: fetch(port, "/boots"))
    node.wait("its line", lambda: own_controller.operator.logs("web", namespace))

    own_controller.daemon.kill()
    node.cut_power()
    assert not power.list_links(node.instance)
    assert not power.list_keepers(node.instance)
    assert fetch(port) is None
    node.start()

    answer = node.daemon.wait("an answer without a controller", lambda: fetch(port, "/boots"))
    assert answer == "boot\nboot\n"
    assert len(node.containers()) == 1

    own_controller.start()
    node.wait_ready()
    operator = own_controller.operator
    node.wait("the line of the second boot", lambda: operator.logs("web", namespace) == ["boot"])
    node.wait("the line of the first boot", lambda: operator.logs("web", namespace, previous=True) == ["boot"])
