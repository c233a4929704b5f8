"""kubectl logs -f against a real container: lines come as they are written, none is lost or shown twice."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from datetime import datetime

import pytest

from eaves.testing.registry import Registry
from eaves.testing.system import ControllerHost, NodeHost, want_app
from tests.system.conftest import MakeNode

pytestmark = pytest.mark.system

COUNT = "n=0; while true; do n=$((n+1)); echo line $n; sleep 0.05; done"


@pytest.fixture
def node(controller: ControllerHost, registry: Registry, namespace: str, make_node: MakeNode) -> Iterator[NodeHost]:
    """With the running app ``counter``, which writes 20 lines a second."""
    node = make_node(controller)
    app = want_app(node, "counter", f"{registry.server}/shop/shell:1", command=["sh", "-c"], args=[COUNT])
    controller.operator.create("apps", app, namespace)
    node.wait(
        "the app to be ready",
        lambda: controller.operator.condition("apps", "counter", "Ready", namespace).get("status") == "True",
    )
    yield node
    controller.operator.delete("apps", "counter", namespace)


def test_lines_come_as_they_are_written(controller: ControllerHost, namespace: str, node: NodeHost) -> None:
    arguments = ("logs", "-f", "--timestamps", "-n", namespace, "counter")
    delays, numbers = [], []
    with controller.kubectl.start(*arguments) as following:
        for line in following.lines():
            stamp, _, text = line.partition(" ")
            numbers.append(int(text.split()[1]))
            # Nanoseconds are more than Python reads.
            delays.append(time.time() - datetime.fromisoformat(stamp[:26] + "+00:00").timestamp())
            if len(numbers) == 400:
                break
    assert numbers == list(range(1, 401))
    # Uploads come a second apart, so an uploaded line is half a second old when it is shown, and then some.
    assert statistics.median(delays[-100:]) < 0.4


def test_no_line_is_lost_or_shown_twice_while_the_node_comes_and_goes(
    controller: ControllerHost, namespace: str, node: NodeHost
) -> None:
    with controller.kubectl.start("logs", "-f", "-n", namespace, "counter") as following:
        numbers = []
        for line in following.lines():
            numbers.append(int(line.split()[1]))
            if len(numbers) == 150:
                node.daemon.kill()
                node.start()
            if len(numbers) == 700:
                break
        assert numbers == list(range(1, 701))
