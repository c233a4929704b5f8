"""What an app's network tells and is told, from the app to kubectl: custom status, flow logs, rules by host name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from eaves.testing.registry import Registry
from eaves.testing.system import ControllerHost, want_app
from tests.system.conftest import MakeNode

pytestmark = pytest.mark.system

METADATA = "169.254.169.254"
BODY = '{"queue": 7}'
POST = f"POST /eve/v1/app/appCustomStatus HTTP/1.1\\r\\nhost: x\\r\\ncontent-type: application/json\\r\\ncontent-length: {len(BODY)}\\r\\n"
SCRIPT = f"""
exec 3<>/dev/tcp/{METADATA}/80 && printf '{POST}connection: close\\r\\n\\r\\n{BODY}' >&3 && cat <&3
while :; do timeout 2 bash -c 'exec 3<>/dev/tcp/peer/80 && printf "GET / HTTP/1.0\\r\\n\\r\\n" >&3 && cat <&3'
timeout 1 bash -c 'exec 3<>/dev/tcp/peer/81'; sleep 1; done
"""


def test_custom_status_and_flows_reach_the_operator(
    controller: ControllerHost, registry: Registry, namespace: str, make_node: MakeNode
) -> None:
    node = make_node(controller)
    kubectl, operator = controller.kubectl, controller.operator
    network = {
        "apiVersion": "eaves.dev/v1alpha1",
        "kind": "Network",
        "metadata": {"name": "logged"},
        "spec": {"disableFlowlog": False},
    }
    operator.create("networks", network, namespace)
    rule = {"name": "to-peer", "host": "peer", "protocol": "tcp", "remotePort": "80", "direction": "Egress"}
    networks: list[dict[str, Any]] = [{"name": "logged", "acl": [rule]}]
    talker = want_app(node, "talker", f"{registry.server}/shop/shell:1", networks=networks)
    talker["spec"] |= {"command": ["/bin/bash"], "args": ["-c", SCRIPT]}
    peer_networks = [{"name": "logged", "ports": [{"port": 80}]}]
    operator.create("apps", want_app(node, "peer", f"{registry.server}/shop/web:1", networks=peer_networks), namespace)
    operator.create("apps", talker, namespace)

    def status() -> str:
        app = json.loads(kubectl.ok("get", "-n", namespace, "app/talker", "-o", "json").out)
        return str(app.get("status", {}).get("customStatus", ""))

    node.wait("the status that the app posted", lambda: status() == BODY, limit_s=90)

    def flows() -> list[tuple[str, str, int]]:
        path = f"/apis/eaves.dev/v1alpha1/namespaces/{namespace}/apps/talker/flows"
        found = json.loads(kubectl.ok("get", "--raw", path).out)["flows"]
        return [(flow["action"], flow["rule"], flow["farPort"]) for flow in found]

    wanted = {("Accept", "to-peer", 80), ("Drop", "", 81)}
    node.wait("the records of what it did", lambda: wanted <= set(flows()), limit_s=150)
    shown = controller.eaves_kubectl("-n", namespace, "flows", "talker")
    assert "to-peer" in shown
    assert "Drop" in shown
    assert "peer" in controller.eaves_kubectl("-n", namespace, "flows", "talker", "--dns")
