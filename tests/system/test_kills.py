"""kill -9 of the controller and of the node at random moments, under load."""

from __future__ import annotations

import random
import threading
from collections import Counter

import pytest

from eaves.testing.daemons import find_ports
from eaves.testing.load import OperatorLoad
from eaves.testing.registry import Registry
from eaves.testing.system import ControllerHost, NodeHost, Operator, fetch, want_app
from tests.system.conftest import MakeNode, make_namespace

pytestmark = pytest.mark.system

COUNT = 'i=0; while true; do i=$((i+1)); echo "line $i"; sleep 0.1; done'
SERVE = "echo $NUMBER > /www/number; exec httpd -f -p 80 -h /www"
LONGEST_LIFE_S = 4.0
"""Starting takes a second or two of it, so that kills hit starts as well as work."""


@pytest.mark.timeout(280)
def test_eight_kills_of_each_lose_nothing(
    own_controller: ControllerHost, registry: Registry, make_node: MakeNode
) -> None:
    run_kills(own_controller, registry, make_node, 8)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_hundred_kills_of_each_lose_nothing(
    own_controller: ControllerHost, registry: Registry, make_node: MakeNode
) -> None:
    run_kills(own_controller, registry, make_node, 100)


def run_kills(controller: ControllerHost, registry: Registry, make_node: MakeNode, kills: int) -> None:
    controller.start()
    namespace = make_namespace(controller, registry.server)
    node = make_node(controller)
    port = find_ports(1)[0]
    shell = f"{registry.server}/shop/shell:1"
    networks = [{"name": "default", "ports": [{"port": 80, "nodePort": port}]}]
    env = [{"name": "NUMBER", "value": "0"}]
    serving = want_app(node, "serving", shell, command=["sh", "-c", SERVE], networks=networks, env=env)
    controller.operator.create("apps", serving, namespace)
    counting = want_app(node, "counting", shell, command=["sh", "-c", COUNT])
    controller.operator.create("apps", counting, namespace)
    node.wait("the first answer", lambda: fetch(port, "/number"))
    node.wait("the first lines", lambda: controller.operator.logs("counting", namespace))

    def change(operator: Operator, number: int) -> None:
        env = [{"name": "NUMBER", "value": str(number)}]
        operator.patch("apps", "serving", {"spec": {"env": env}}, namespace)

    with OperatorLoad(controller, namespace, change) as load:
        kill_both(controller, node, kills)

    assert load.changed_to > 0
    node.wait("the last number", lambda: fetch(port, "/number") == f"{load.changed_to}\n")
    check_objects(controller, namespace, load)
    check_containers(controller, namespace, node)
    check_lines(controller, namespace, node)


def kill_both(controller: ControllerHost, node: NodeHost, kills: int) -> None:
    """Each is killed ``kills`` times, in random order, after a random time of life."""
    seed = random.randrange(1 << 32)
    print(f"kills in the order of seed {seed}")
    chance = random.Random(seed)
    targets = [controller.daemon, node.daemon] * kills
    chance.shuffle(targets)
    never = threading.Event()
    for target in targets:
        never.wait(chance.uniform(0, LONGEST_LIFE_S))
        assert target.is_running, target.tail()
        target.kill()
        target.start()
    controller.daemon.wait("the operator API", lambda: controller.operator.is_ready())


def check_objects(controller: ControllerHost, namespace: str, load: OperatorLoad) -> None:
    there = {obj["metadata"]["name"]: obj["data"] for obj in controller.operator.find("configmaps", namespace)}
    assert len(load.created) > 10
    lost = {name: value for name, value in load.created.items() if there.get(name) != {"value": value}}
    assert not lost


def check_containers(controller: ControllerHost, namespace: str, node: NodeHost) -> None:
    """One for each app, and the one that nobody changed is the first one still."""
    counts = Counter(container["Labels"]["eaves.app"] for container in node.containers())
    apps = [obj["metadata"]["uid"] for obj in controller.operator.find("apps", namespace)]
    assert counts == dict.fromkeys(apps, 1)


def check_lines(controller: ControllerHost, namespace: str, node: NodeHost) -> None:
    """Every line once, in order: the app was never restarted, and no line that it wrote is missing or doubled."""
    before = len(controller.operator.logs("counting", namespace))
    node.wait("further lines", lambda: len(controller.operator.logs("counting", namespace)) > before + 20)
    lines = controller.operator.logs("counting", namespace)
    assert lines == [f"line {number + 1}" for number in range(len(lines))]
