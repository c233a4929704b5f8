"""Ten thousand junk requests and slow clients on the gateway while a good node is served."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from eaves.testing.daemons import find_ports
from eaves.testing.flood import Flood
from eaves.testing.loop_thread import LoopThread
from eaves.testing.registry import Registry
from eaves.testing.system import ControllerHost, fetch, want_app
from tests.system.conftest import MakeNode, make_namespace

pytestmark = pytest.mark.system

SERVE = "echo $NUMBER > /www/number; exec httpd -f -p 80 -h /www"
JUNK = 10_000
SLOW_CLIENTS = 120
GROWTH_BYTES = 96 << 20
"""The gateway's own bound on bodies under way is 64 MiB; the rest is connections and the allocator's slack."""


@pytest.mark.timeout(240)
def test_a_good_node_is_served_through_a_flood_and_memory_stays_bounded(
    own_controller: ControllerHost, registry: Registry, make_node: MakeNode
) -> None:
    controller = own_controller
    controller.start()
    namespace = make_namespace(controller, registry.server)
    node = make_node(controller)
    port = find_ports(1)[0]
    networks = [{"name": "default", "ports": [{"port": 80, "nodePort": port}]}]
    shell = f"{registry.server}/shop/shell:1"
    env = [{"name": "NUMBER", "value": "0"}]
    app = want_app(node, "web", shell, command=["sh", "-c", SERVE], networks=networks, env=env)
    controller.operator.create("apps", app, namespace)
    node.wait("the first answer", lambda: fetch(port, "/number"))
    before = controller.daemon.resident_bytes()
    highest = before

    root_pem = Path(node.settings_file.parent / "root-certificate.pem").read_bytes()
    flood = Flood(controller.gateway_port, root_pem, source="127.0.0.66")
    attack = threading.Thread(target=run_attack, args=(flood,), name="attack")
    attack.start()
    try:
        changes = 0
        while attack.is_alive():
            changes += 1
            env = [{"name": "NUMBER", "value": str(changes)}]
            controller.operator.patch("apps", "web", {"spec": {"env": env}}, namespace)
            wanted = f"{changes}\n"
            node.wait("a change to arrive during the flood", lambda wanted=wanted: fetch(port, "/number") == wanted)  # type: ignore[misc]
            highest = max(highest, controller.daemon.resident_bytes())
    finally:
        attack.join(120)

    print(
        f"{flood.sent} junk requests, {changes} changes, answers {dict(flood.answers)}, grown by {(highest - before) >> 20} MiB"
    )
    assert flood.sent == JUNK
    assert changes >= 2
    assert highest - before < GROWTH_BYTES
    assert not any(status.startswith(("2", "5")) for status in flood.answers if status != "503"), flood.answers
    assert controller.operator.condition("edgenodes", node.name, "Ready")["status"] == "True"
    assert len(controller.operator.find("edgenodes")) == 1


def run_attack(flood: Flood) -> None:
    """Junk and slow clients together, until the junk is sent."""

    async def attack() -> None:
        stopping = asyncio.Event()
        holding = asyncio.create_task(flood.hold(SLOW_CLIENTS, stopping))
        try:
            await flood.send_junk(JUNK)
        finally:
            stopping.set()
            await holding

    with LoopThread() as loop:
        loop.call(attack(), 200)
