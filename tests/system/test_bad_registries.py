"""Registries that are down, slow, cut connections or serve wrong bytes: told to the operator, and no other app waits for them."""

from __future__ import annotations

import contextlib

import pytest

from eaves.kube.resource import Object
from eaves.testing.daemons import find_ports
from eaves.testing.fault_proxy import Faults
from eaves.testing.loop_thread import open_fault_proxy
from eaves.testing.registry import Registry
from eaves.testing.system import ControllerHost, want_app, want_datastore
from tests.system.conftest import HTTPD, MakeNode

pytestmark = pytest.mark.system

FAULTS = {
    "slow": Faults(bytes_per_s=200_000),
    "cut": Faults(cut_after_bytes=500_000),
    "wrong": Faults(is_corrupt=True),
}
PADDING_BYTES = 2 << 20


@pytest.mark.timeout(240)
def test_bad_registries_are_told_and_hold_up_nobody(
    controller: ControllerHost, registry: Registry, namespace: str, make_node: MakeNode
) -> None:
    operator = controller.operator
    node = make_node(controller)
    with contextlib.ExitStack() as stack:
        proxies = {name: stack.enter_context(open_fault_proxy(registry.server)) for name in FAULTS}
        servers = {name: proxy.server for name, proxy in proxies.items()} | {"down": f"127.0.0.1:{find_ports(1)[0]}"}
        for name, server in servers.items():
            digest = registry.push(f"shop/{name}:1", HTTPD, padding_bytes=PADDING_BYTES)
            datastore = want_datastore(server)
            datastore["metadata"]["name"] = name
            operator.create("datastores", datastore, namespace)
            if name in FAULTS:
                proxies[name].faults = FAULTS[name]
            image = f"{server}/shop/{name}@{digest}" if name == "wrong" else f"{server}/shop/{name}:1"
            app = want_app(node, name, image, datastoreRef={"name": name})
            operator.create("apps", app, namespace)
        operator.create("apps", want_app(node, "good", f"{registry.server}/shop/web:1"), namespace)

        def message(name: str) -> str:
            status = (operator.get("apps", name, namespace) or {}).get("status") or {}
            return f"{status.get('phase')}: {status.get('waitingFor')} {status.get('message')}"

        def is_ready(name: str) -> bool:
            return operator.condition("apps", name, "Ready", namespace).get("status") == "True"

        node.wait("the good app to run", lambda: is_ready("good"))
        node.wait("the registry that is down to be told", lambda: "refused" in message("down"))
        node.wait("the wrong digest to be told", lambda: "when asked for sha256:" in message("wrong"))
        node.wait("the slow app to run all the same", lambda: is_ready("slow"))
        node.wait("the app to run whose registry cuts each connection", lambda: is_ready("cut"))
        assert not any(is_ready(name) for name in ("down", "wrong"))

        for proxy in proxies.values():
            proxy.faults = Faults()
        node.wait("the app with the wrong digest to run", lambda: is_ready("wrong"))
        repaired: Object = {"spec": {"url": f"http://{registry.server}"}}
        operator.patch("datastores", "down", repaired, namespace)
        operator.patch("apps", "down", {"spec": {"image": f"{registry.server}/shop/down:1"}}, namespace)
        node.wait("the app to run from another registry", lambda: is_ready("down"))
        assert is_ready("good")
