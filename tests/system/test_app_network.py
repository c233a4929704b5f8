"""What an app's network tells and is told, from the app to kubectl: custom status, flow logs, rules by host name."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

import pytest

from eaves.testing.file_server import FileServer
from eaves.testing.registry import Registry
from eaves.testing.system import ControllerHost, NodeHost, want_app
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


def test_a_patch_envelope_reaches_a_running_app(
    controller: ControllerHost, registry: Registry, namespace: str, make_node: MakeNode
) -> None:
    node = make_node(controller)
    kubectl = controller.kubectl
    app = want_app(node, "patched", f"{registry.server}/shop/shell:1")
    kubectl.ok("apply", "-n", namespace, "-f", "-", stdin=json.dumps(app))
    kubectl.ok("wait", "-n", namespace, "--for=condition=Ready", "app/patched", "--timeout=60s")
    started = kubectl.ok("get", "-n", namespace, "app/patched", "-o", "jsonpath={.status.containerID}").out
    kubectl.ok("create", "-n", namespace, "secret", "generic", "license", "--from-literal=key=s3cr3t")
    envelope = {
        "apiVersion": "eaves.dev/v1alpha1",
        "kind": "PatchEnvelope",
        "metadata": {"name": "settings"},
        "spec": {
            "apps": ["patched"],
            "version": "7",
            "files": [
                {"name": "app.yaml", "content": "threshold: 7"},
                {"name": "license", "secretKeyRef": {"name": "license", "key": "key"}},
            ],
        },
    }
    kubectl.ok("apply", "-n", namespace, "-f", "-", stdin=json.dumps(envelope))

    def state() -> str:
        return kubectl.ok("get", "-n", namespace, "patch/settings", "-o", "jsonpath={.status.nodes[0].state}").out

    node.wait("the node to have it", lambda: state() == "Ready", limit_s=90)
    assert ask(node, "/eve/v1/patch/description.json") == ""
    kubectl.ok("patch", "-n", namespace, "patch/settings", "--type=merge", "-p", '{"spec": {"active": true}}')
    node.wait("the app to see it", lambda: state() == "Active", limit_s=90)
    described = json.loads(ask(node, "/eve/v1/patch/description.json"))
    assert (described[0]["Version"], len(described[0]["BinaryBlobs"])) == ("7", 2)
    urls = {blob["fileName"]: blob["url"].removeprefix(f"http://{METADATA}") for blob in described[0]["BinaryBlobs"]}
    assert ask(node, urls["app.yaml"]) == "threshold: 7"
    assert ask(node, urls["license"]) == "s3cr3t"
    assert kubectl.ok("get", "-n", namespace, "app/patched", "-o", "jsonpath={.status.containerID}").out == started
    kubectl.ok("delete", "-n", namespace, "patch/settings", "--timeout=60s")
    node.wait("the app to see it no more", lambda: ask(node, urls["license"]) != "s3cr3t")


def test_a_file_of_a_volume_reaches_a_running_app_byte_for_byte(
    controller: ControllerHost, registry: Registry, namespace: str, make_node: MakeNode
) -> None:
    node = make_node(controller)
    kubectl = controller.kubectl
    content = os.urandom((3 << 20) + 77)
    kind = {"apiVersion": "eaves.dev/v1alpha1"}
    with FileServer() as origin:
        digest = origin.add("/models/line-3.onnx", content)
        files = {"type": "HTTP", "url": origin.url, "path": "models"}
        source = {"image": f"line-3.onnx@{digest}", "format": "Raw", "datastoreRef": {"name": "files"}}
        volume = {"nodeName": node.name, "mode": "File", "size": "64Mi", "source": source}
        plain = {"nodeName": node.name, "size": "64Mi"}
        patch: dict[str, Any] = {
            "apps": ["patched"],
            "version": "3",
            "active": True,
            "files": [{"name": "line.onnx", "volumeName": "model", "metadata": "layers=3"}],
        }
        for name, what, spec in (
            ("files", "Datastore", files),
            ("model", "Volume", volume),
            ("plain", "Volume", plain),
            ("model", "PatchEnvelope", patch),
        ):
            written = {**kind, "kind": what, "metadata": {"name": name}, "spec": spec}
            kubectl.ok("apply", "-n", namespace, "-f", "-", stdin=json.dumps(written))
        wrong = {"spec": {"files": [{"name": "line.onnx", "volumeName": "plain"}]}}
        refused = kubectl.run("patch", "-n", namespace, "patch/model", "--type=merge", "-p", json.dumps(wrong))
        assert "spec.files[0].volumeName" in refused.err
        assert "mode File" in refused.err
        app = want_app(node, "patched", f"{registry.server}/shop/shell:1")
        kubectl.ok("apply", "-n", namespace, "-f", "-", stdin=json.dumps(app))

        def state() -> str:
            return kubectl.ok("get", "-n", namespace, "patch/model", "-o", "jsonpath={.status.nodes[0].state}").out

        node.wait("the app to see it", lambda: state() == "Active", limit_s=120)
    (described,) = json.loads(ask(node, "/eve/v1/patch/description.json"))
    (blob,) = described["BinaryBlobs"]
    assert (blob["fileName"], blob["fileMetaData"], blob["size"]) == ("line.onnx", "layers=3", len(content))
    assert f"sha256:{blob['fileSha']}" == digest
    assert fetch(node, blob["url"].removeprefix(f"http://{METADATA}")) == content
    status = json.loads(kubectl.ok("get", "-n", namespace, "volume/model", "-o", "json").out)["status"]
    assert (status["mode"], status["phase"], status.get("format")) == ("File", "Ready", None)


def ask(node: NodeHost, path: str) -> str:
    return fetch(node, path).decode()


def fetch(node: NodeHost, path: str) -> bytes:
    """What the only app of the node gets from its metadata server."""
    (netns,) = node.instance.netns_dir.iterdir()
    argv = ["nsenter", f"--net={netns}", "curl", "-s", "-m", "10", f"http://{METADATA}{path}"]
    return subprocess.run(argv, capture_output=True, check=False).stdout
