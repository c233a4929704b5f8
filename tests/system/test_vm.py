"""kubectl apply runs a virtual machine on an edge node: a disk image from a web server, first-boot data, network, serial log, end."""

from __future__ import annotations

import hashlib
import json
import secrets
from pathlib import Path
from typing import Any

import pytest

from eaves.testing.daemons import find_ports
from eaves.testing.file_server import FileServer
from eaves.testing.guest_image import READY, want_guest_disk
from eaves.testing.system import ControllerHost, NodeHost, fetch
from tests.system.conftest import MakeNode

pytestmark = pytest.mark.system

BOOT_LIMIT_S = 180
"""A guest without hardware virtualisation on a busy machine."""


def manifest(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "eaves.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def want_vm(node: NodeHost, disk: Path, port: int, **vm: Any) -> dict[str, Any]:
    digest = hashlib.sha256(disk.read_bytes()).hexdigest()
    spec = {
        "nodeName": node.name,
        "type": "VirtualMachine",
        "image": f"guest.raw@sha256:{digest}",
        "datastoreRef": {"name": "files"},
        "resources": {"cpus": 1, "memory": "256Mi"},
        "vm": vm,
        "volumes": [{"name": "data", "size": "64Mi"}],
        "networks": [{"name": "default", "ports": [{"port": 80, "nodePort": port}]}],
    }
    return manifest("App", "plc", spec)


def test_an_applied_machine_boots_answers_and_goes(
    controller: ControllerHost, namespace: str, make_node: MakeNode
) -> None:
    kubectl, disk = controller.kubectl, want_guest_disk()
    node = make_node(controller)
    port, secret = find_ports(1)[0], f"known-{secrets.token_hex(8)}"
    with FileServer({"/guest.raw": disk.read_bytes()}) as files:
        objects = [
            manifest("Datastore", "files", {"type": "HTTP", "url": files.url}),
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "plc"}, "stringData": {"user-data": secret}},
            want_vm(
                node, disk, port, cloudInit={"userDataFrom": {"secretKeyRef": {"name": "plc", "key": "user-data"}}}
            ),
        ]
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        kubectl.ok("apply", "-n", namespace, "-f", "-", stdin=text)
        ready = kubectl.run(
            "wait", "-n", namespace, "--for=condition=Ready", "app/plc", f"--timeout={BOOT_LIMIT_S}s", timeout_s=200
        )
        assert ready.code == 0, f"{ready.err}\n{node.explain()}"
    node.wait("the guest", lambda: READY in kubectl.ok("logs", "-n", namespace, "plc").out, limit_s=BOOT_LIMIT_S)
    node.wait("an answer of the guest", lambda: fetch(port), limit_s=BOOT_LIMIT_S)

    def app_status() -> dict[str, Any]:
        app = controller.operator.get("apps", "plc", namespace)
        assert app is not None
        status: dict[str, Any] = app["status"]
        return status

    def agent() -> str:
        conditions = app_status()["conditions"]
        return next((entry["status"] for entry in conditions if entry["type"] == "AgentConnected"), "")

    node.wait("the guest's agent", lambda: agent() == "True", limit_s=BOOT_LIMIT_S)
    status = app_status()
    assert status["vm"]["accelerator"] in ("KVM", "TCG")
    assert status["vm"]["firmware"] == "UEFI"
    (address,) = status["addresses"]
    assert address["addresses"]
    pods = kubectl.ok("get", "pods", "-n", namespace, "-o", "wide").out
    assert "Running" in pods
    assert address["addresses"][0] in pods
    assert "app/plc is as asked" in controller.eaves_kubectl("-n", namespace, "why", "app/plc")
    assert secret not in kubectl.ok("get", "apps,pods,events", "-n", namespace, "-o", "yaml").out
    (seed,) = find_seeds(node)
    assert secret.encode() in seed.read_bytes()
    assert seed.stat().st_mode & 0o077 == 0

    assert len(find_machines(node)) == 1
    kubectl.ok("delete", "app/plc", "-n", namespace, "--timeout=120s")
    node.wait("the machine to go", lambda: not find_machines(node))
    assert fetch(port) is None
    assert find_seeds(node) == []


def find_seeds(node: NodeHost) -> list[Path]:
    """Images with first-boot data on this node."""
    return [path for path in node.instance.run_dir.rglob("*.iso") if path.is_file()]


def find_machines(node: NodeHost) -> list[str]:
    """Command lines of this node's QEMU processes."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if "qemu-system" in line.split(" ")[0] and str(node.instance.run_dir) in line:
            found.append(line)
    return found
